//! Where to compute. Probing never panics: a device that can't be used is a [`Problem`] that says why and what to do.
//!
//! A GPU is asked for everything that it needs (driver, card, compiler of kernels, headers) before CubeCL is, since CubeCL
//! panics where something is missing; then one small kernel is compiled and run. Only a device that did that is open.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "no_cuda.rs"]
mod cuda;
pub mod driver;
#[cfg(feature = "cube")]
mod first_kernel;
mod judge;
mod precision;
mod process;
#[cfg(feature = "cube")]
mod settings;
pub mod toolkit;
#[cfg(feature = "vulkan")]
mod vulkan;
#[cfg(not(feature = "vulkan"))]
#[path = "no_vulkan.rs"]
mod vulkan;

pub use judge::{Capability, Card, ComputeMode, LEAST_CAPABILITY, Nvrtc, Versions, of_card, of_compiler};
pub use process::{keep_heap, prepare};
pub use vulkan::{VulkanDevice, devices as vulkan_devices};

use std::fmt;

use burn::tensor::Device;
use ftl_core::spec::resolved::{DeviceKind, ModelDtype};
use ftl_core::{Problem, ProblemKind};

use crate::kernels::Precision;

/// A device that can be used, and what the user should know of the choice.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    /// burn's handle.
    pub device: Device,
    /// What it is.
    pub name: DeviceName,
    /// The type of activations and frozen weights.
    pub precision: Precision,
    /// Why it was chosen, where the user left the choice to us.
    pub reason: Option<String>,
}

/// A device by the name that users give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU by index.
    Cuda(usize),
    /// A device of Vulkan by index.
    Vulkan(usize),
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
        }
    }
}

/// Whether this program can compute on NVIDIA GPUs at all.
pub const BUILT_WITH_CUDA: bool = cfg!(feature = "cuda");

/// Whether this program can compute through Vulkan at all.
pub const BUILT_WITH_VULKAN: bool = cfg!(feature = "vulkan");

impl OpenDevice {
    /// The CPU.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), name: DeviceName::Cpu, precision: Precision::F32, reason: None }
    }

    /// Whether kernels are compiled when they are first used.
    pub fn compiles_kernels(&self) -> bool {
        match self.name {
            DeviceName::Cpu => false,
            DeviceName::Cuda(_) | DeviceName::Vulkan(_) => true,
        }
    }

    /// One sentence on where and how it computes, with the reason where the choice was ours.
    pub fn describe(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("computing in {} on {}{reason}", self.precision, self.name)
    }
}

/// Opens a device to compute in `dtype`.
///
/// # Errors
/// A GPU that this build or this machine does not have or can't use, or a type that the device does not compute in.
pub fn open(kind: DeviceKind, dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    match kind {
        DeviceKind::Cpu => cpu(dtype),
        DeviceKind::AnyCuda => cuda::open(0, dtype),
        DeviceKind::Cuda(index) => cuda::open(index, dtype),
        DeviceKind::Vulkan(index) => vulkan::open(index, dtype),
        // Vulkan is never chosen for a user: what it finds may be a renderer on the CPU.
        DeviceKind::Auto => match cuda::open(0, dtype) {
            Ok(found) => Ok(OpenDevice { reason: Some("the first CUDA device".to_owned()), ..found }),
            Err(problem) => match cpu(dtype) {
                Ok(found) => Ok(OpenDevice { reason: Some(problem.message), ..found }),
                Err(refused) => {
                    let message = format!("{}, and no GPU can be used: {}", refused.message, problem.message);
                    Err(Problem { message, ..refused })
                }
            },
        },
    }
}

fn cpu(dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    precision::of_cpu(dtype)?;
    Ok(OpenDevice::cpu())
}

/// A device that can't be used.
fn unusable(message: impl Into<String>, hint: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::Device, message).at("device.kind").hint(hint)
}
