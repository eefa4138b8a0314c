//! NVML, the driver's management library: it answers without starting CUDA, and for other processes too.

use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::ComputeMode as NvmlMode;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;

use crate::device::driver::{Gpu, NvidiaDriver};
use crate::device::judge::{Capability, ComputeMode};

pub(in crate::device) fn driver() -> Result<NvidiaDriver, String> {
    let ask = || {
        let nvml = Nvml::init()?;
        let mut gpus = Vec::new();
        for index in 0..nvml.device_count()? {
            gpus.push(gpu(&nvml.device_by_index(index)?)?);
        }
        let cuda = nvml.sys_cuda_driver_version().ok();
        let cuda = cuda.map(|number| Capability(number as u32 / 1000, number as u32 % 1000 / 10));
        Ok(NvidiaDriver { version: nvml.sys_driver_version()?, cuda, gpus })
    };
    ask().map_err(|error: NvmlError| error.to_string())
}

fn gpu(device: &nvml_wrapper::Device<'_>) -> Result<Gpu, NvmlError> {
    let memory = device.memory_info()?;
    let capability = device.cuda_compute_capability().ok();
    Ok(Gpu {
        name: device.name()?,
        memory_bytes: memory.total,
        free_bytes: memory.free,
        compute_capability: capability.map(|c| Capability(c.major as u32, c.minor as u32)),
        compute_mode: match device.compute_mode() {
            Ok(NvmlMode::Prohibited) => ComputeMode::Prohibited,
            Ok(NvmlMode::ExclusiveProcess | NvmlMode::ExclusiveThread) => ComputeMode::Exclusive,
            Ok(NvmlMode::Default) | Err(_) => ComputeMode::Shared,
        },
        n_processes: device.running_compute_processes().map_or(0, |processes| processes.len() as u64),
    })
}

pub(in crate::device) fn process_bytes() -> Option<u64> {
    let nvml = Nvml::init().ok()?;
    let pid = std::process::id();
    let mut bytes = None;
    for index in 0..nvml.device_count().ok()? {
        let Ok(processes) = nvml.device_by_index(index).and_then(|device| device.running_compute_processes())
        else {
            continue;
        };
        for process in processes.into_iter().filter(|process| process.pid == pid) {
            if let UsedGpuMemory::Used(used) = process.used_gpu_memory {
                bytes = Some(bytes.unwrap_or(0) + used);
            }
        }
    }
    bytes
}
