//! The device, in each type that it computes in.

use std::sync::OnceLock;

use ftl_core::spec::resolved::{DeviceKind, ModelDtype};
use ftl_trainer::device::{DeviceName, OpenDevice, open};
use ftl_trainer::kernels::Precision;

/// How far numbers of a type may be from the reference.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Of logits and losses, relative to the largest.
    pub outputs: f64,
    /// Of the gradient of a weight: the length of the difference relative to the length of the gradient.
    pub gradients: f64,
}

/// The GPU in each of its types; empty where there is none.
pub fn devices() -> &'static [(OpenDevice, Tolerance)] {
    static DEVICES: OnceLock<Vec<(OpenDevice, Tolerance)>> = OnceLock::new();
    DEVICES.get_or_init(find)
}

#[expect(clippy::print_stdout, reason = "a test that did nothing should not look like one that passed")]
fn find() -> Vec<(OpenDevice, Tolerance)> {
    let kinds = [DeviceKind::Cuda(0), DeviceKind::Vulkan(0)];
    let Some(kind) = kinds.into_iter().find(|kind| {
        open(*kind, ModelDtype::F32).inspect_err(|problem| println!("{kind}: {problem}")).is_ok()
    }) else {
        println!("skipped: no GPU and no Vulkan device");
        return Vec::new();
    };
    let types = [ModelDtype::F32, ModelDtype::Bf16, ModelDtype::F16];
    let opened = types.into_iter().filter_map(|dtype| open(kind, dtype).ok());
    opened
        .map(|device| {
            let tolerance = tolerance(&device);
            (device, tolerance)
        })
        .collect()
}

/// transformers itself (5.23, on a CPU) is so far from its own f32 on these models: with bf16 weights and activations up to
/// 3.9e-2 in logits and 7.6e-2 in gradients, with operands of all linears cut to tf32 4.2e-3 and 6.5e-3.
fn tolerance(open: &OpenDevice) -> Tolerance {
    match (open.name, open.precision) {
        (DeviceName::Cuda(_), Precision::F32) => Tolerance { outputs: 5e-3, gradients: 1e-2 },
        (DeviceName::Cpu | DeviceName::Vulkan(_), Precision::F32) => {
            Tolerance { outputs: 1e-4, gradients: 1e-3 }
        }
        (_, Precision::Bf16) => Tolerance { outputs: 4e-2, gradients: 1e-1 },
        (_, Precision::F16) => Tolerance { outputs: 1e-2, gradients: 2e-2 },
    }
}
