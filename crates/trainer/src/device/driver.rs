//! What the NVIDIA driver says of itself and its GPUs, through its management library: without starting CUDA.

use serde::Serialize;

use super::cuda;
use super::judge::{Capability, ComputeMode, CudaVersion};

/// The driver and its GPUs.
#[derive(Clone, Debug, Serialize)]
pub struct NvidiaDriver {
    /// Its version.
    pub version: String,
    /// The newest CUDA that it knows.
    pub cuda: Option<CudaVersion>,
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
    pub compute_capability: Option<Capability>,
    /// Whom it lets compute.
    pub compute_mode: ComputeMode,
    /// How many processes compute on it.
    pub n_processes: u64,
}

/// Asks the NVIDIA driver.
///
/// # Errors
/// Why it does not answer.
pub fn nvidia_driver() -> Result<NvidiaDriver, String> {
    cuda::driver()
}

/// GPU memory that this process holds, as the driver counts it, contexts and kernels included; `None`: the driver does
/// not tell.
pub fn process_gpu_bytes() -> Option<u64> {
    cuda::process_bytes()
}

/// The compiler of kernels, by its own words; `None`: it can't be loaded. Needs no GPU.
pub fn nvrtc() -> Option<super::Nvrtc> {
    cuda::nvrtc()
}
