//! Other GPUs through Vulkan, in f32. On a computer without one Vulkan may offer a renderer on the CPU, which is for tests.

use burn::tensor::{Device, DeviceType};
use ftl_core::Problem;
use ftl_core::spec::resolved::ModelDtype;
use serde::Serialize;

use super::{DeviceName, OpenDevice, first_kernel, precision, settings, unusable};
use crate::kernels::Precision;

/// A device of Vulkan.
#[derive(Clone, Debug, Serialize)]
pub struct VulkanDevice {
    /// What its maker calls it.
    pub name: String,
}

/// Opens a device by its index.
///
/// # Errors
/// There is none, or it does not compute.
pub(super) fn open(index: usize, dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    precision::of_vulkan(dtype)?;
    let mut devices = enumerate()?;
    if index >= devices.len() {
        return Err(match devices.len() {
            0 => unusable(
                "no Vulkan device was found on this machine",
                "install the GPU's Vulkan driver and check with `vulkaninfo`, or use `--device cpu`",
            ),
            n => unusable(
                format!("there is no Vulkan device {index}, the machine has {n}"),
                format!("choose an index up to {}", n - 1),
            ),
        });
    }
    let (device, name) = (devices.swap_remove(index), DeviceName::Vulkan(index));
    first_kernel::run(&device, name)?;
    Ok(OpenDevice { device, name, precision: Precision::F32, reason: None })
}

/// All of them, with what can be said of each; empty where Vulkan does not work.
pub fn devices() -> Vec<VulkanDevice> {
    let named = |device: Device| {
        let identity = first_kernel::caught(move || device.identity()).ok().flatten();
        VulkanDevice { name: identity.map_or_else(|| "unknown".to_owned(), |identity| identity.name) }
    };
    enumerate().unwrap_or_default().into_iter().map(named).collect()
}

fn enumerate() -> Result<Vec<Device>, Problem> {
    settings::apply();
    first_kernel::caught(|| Device::enumerate(DeviceType::Wgpu).into_vec())
        .map_err(|reason| unusable(format!("Vulkan can't be started: {reason}"), "check with `vulkaninfo`"))
}
