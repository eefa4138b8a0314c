//! Where to compute. Probing never panics: a device that can't be used is a [`Problem`] that says why.

use std::fmt;

use burn::tensor::Device;
use ftl_core::spec::resolved::DeviceKind;
use ftl_core::{Problem, ProblemKind};
use serde::Serialize;

/// A device that can be used, and what the user should know of the choice.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    /// burn's handle.
    pub device: Device,
    /// What it is.
    pub name: DeviceName,
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

/// Opens a device.
///
/// # Errors
/// A GPU that this build or this machine does not have.
pub fn open(kind: DeviceKind) -> Result<OpenDevice, Problem> {
    match kind {
        DeviceKind::Cpu => Ok(OpenDevice { device: Device::flex(), name: DeviceName::Cpu, reason: None }),
        DeviceKind::Cuda(index) => cuda(index),
        DeviceKind::Auto => match cuda(0) {
            Ok(found) => Ok(OpenDevice { reason: Some("the first CUDA device".to_owned()), ..found }),
            Err(problem) => {
                let reason = Some(problem.message);
                Ok(OpenDevice { device: Device::flex(), name: DeviceName::Cpu, reason })
            }
        },
    }
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<OpenDevice, Problem> {
    use burn::tensor::DeviceType;

    let n_devices = Device::enumerate(DeviceType::Cuda).into_vec().len();
    if index < n_devices {
        return Ok(OpenDevice { device: Device::cuda(index), name: DeviceName::Cuda(index), reason: None });
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
fn cuda(_index: usize) -> Result<OpenDevice, Problem> {
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
