//! Where to compute. Probing never panics: a device that can't be used is a [`Problem`] that says why.

use std::fmt;

use burn::tensor::Device;
use ftl_core::spec::resolved::{DeviceKind, ModelDtype};
use ftl_core::{Problem, ProblemKind};
use serde::Serialize;

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
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl OpenDevice {
    /// The CPU.
    pub fn cpu() -> Self {
        Self { device: Device::flex(), name: DeviceName::Cpu, precision: Precision::F32, reason: None }
    }
}

/// Opens a device to compute in `dtype`.
///
/// # Errors
/// A GPU that this build or this machine does not have, or a type that the device does not compute in.
pub fn open(kind: DeviceKind, dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    match kind {
        DeviceKind::Cpu => cpu(dtype),
        DeviceKind::Cuda(index) => cuda(index, dtype),
        DeviceKind::Auto => match cuda(0, dtype) {
            Ok(found) => Ok(OpenDevice { reason: Some("the first CUDA device".to_owned()), ..found }),
            Err(problem) => Ok(OpenDevice { reason: Some(problem.message), ..cpu(dtype)? }),
        },
    }
}

fn cpu(dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    let refused = match dtype {
        ModelDtype::Auto | ModelDtype::F32 => return Ok(OpenDevice::cpu()),
        ModelDtype::Bf16 => "bf16",
        ModelDtype::F16 => "f16",
    };
    Err(Problem::new(ProblemKind::Device, format!("the CPU computes in f32 only, not in `{refused}`"))
        .at("model.dtype")
        .hint("use `auto` or `f32` on the CPU"))
}

#[cfg(feature = "cuda")]
fn cuda(index: usize, dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    use burn::tensor::{DType, DeviceType};

    let n_devices = Device::enumerate(DeviceType::Cuda).into_vec().len();
    if index < n_devices {
        let device = Device::cuda(index);
        let precision = match dtype {
            ModelDtype::F32 => Precision::F32,
            ModelDtype::F16 => Precision::F16,
            ModelDtype::Bf16 => Precision::Bf16,
            ModelDtype::Auto if device.supports_dtype(DType::BF16) => Precision::Bf16,
            ModelDtype::Auto => Precision::F16,
        };
        return Ok(OpenDevice { device, name: DeviceName::Cuda(index), precision, reason: None });
    }
    let problem = match n_devices {
        0 => Problem::new(ProblemKind::Device, "no CUDA device was found on this machine")
            .hint("check the driver with `nvidia-smi`, or use `--device cpu`"),
        n => {
            Problem::new(ProblemKind::Device, format!("there is no CUDA device {index}, the machine has {n}"))
                .hint(format!("choose an index up to {}", n - 1))
        }
    };
    Err(problem.at("device.kind"))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize, _dtype: ModelDtype) -> Result<OpenDevice, Problem> {
    Err(Problem::new(ProblemKind::Device, "this program was built without CUDA")
        .at("device.kind")
        .hint("build it with `--features cuda`, or use `--device cpu`"))
}

/// Whether this program can compute on NVIDIA GPUs at all.
pub const BUILT_WITH_CUDA: bool = cfg!(feature = "cuda");

/// What the NVIDIA driver says of itself and its GPUs.
#[derive(Clone, Debug, Serialize)]
pub struct NvidiaDriver {
    /// Its version.
    pub version: String,
    /// Its GPUs, by index.
    pub gpus: Vec<Gpu>,
}

/// A GPU.
#[derive(Clone, Debug, Serialize)]
pub struct Gpu {
    /// What NVIDIA calls it.
    pub name: String,
    /// Its memory.
    pub memory_bytes: u64,
    /// How much of it nobody uses.
    pub free_bytes: u64,
    /// Which instructions it has, `9.0`.
    pub compute_capability: Option<String>,
}

/// Asks the NVIDIA driver through its management library, without starting CUDA.
///
/// # Errors
/// Why it does not answer.
#[cfg(feature = "cuda")]
pub fn nvidia_driver() -> Result<NvidiaDriver, String> {
    use nvml_wrapper::Nvml;
    use nvml_wrapper::error::NvmlError;

    let ask = || {
        let nvml = Nvml::init()?;
        let mut gpus = Vec::new();
        for index in 0..nvml.device_count()? {
            let device = nvml.device_by_index(index)?;
            let memory = device.memory_info()?;
            let capability = device.cuda_compute_capability().ok();
            gpus.push(Gpu {
                name: device.name()?,
                memory_bytes: memory.total,
                free_bytes: memory.free,
                compute_capability: capability.map(|c| format!("{}.{}", c.major, c.minor)),
            });
        }
        Ok(NvidiaDriver { version: nvml.sys_driver_version()?, gpus })
    };
    ask().map_err(|error: NvmlError| error.to_string())
}

/// Asks the NVIDIA driver.
///
/// # Errors
/// Always: this program was built without CUDA.
#[cfg(not(feature = "cuda"))]
pub fn nvidia_driver() -> Result<NvidiaDriver, String> {
    Err("this program was built without CUDA".to_owned())
}

/// Tells glibc to keep freed memory for the next step.
///
/// A step frees and takes the same large buffers again and again. By default glibc gives them back to the kernel,
/// which then faults every page in anew: about a tenth of the time of a CPU step. Changes the whole process, so
/// programs call it and the library does not.
pub fn keep_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the allocator; it is called before other threads exist.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
