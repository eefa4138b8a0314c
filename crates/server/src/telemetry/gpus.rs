//! Readings of the NVIDIA GPUs through the driver's management library (NVML), which does not start CUDA.
//!
//! A machine without a driver is no error: the reading says why there is nothing. The library is loaded at the first
//! reading and tried again at each, so that a driver that comes back is seen.

use std::sync::{Arc, Mutex, PoisonError};

use ftl_core::system::{GpuReading, Gpus};
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// Reads the GPUs. Clones share the loaded library.
#[derive(Clone)]
pub struct GpuReader(Source);

#[derive(Clone)]
enum Source {
    Driver(Arc<Mutex<Option<Nvml>>>),
    Given(Arc<dyn Fn() -> Gpus + Send + Sync>),
}

impl Default for GpuReader {
    fn default() -> Self {
        Self::new()
    }
}

impl GpuReader {
    /// Nothing is loaded yet.
    pub fn new() -> Self {
        Self(Source::Driver(Arc::default()))
    }

    /// A reader that asks somebody else than the driver.
    pub fn of(read: impl Fn() -> Gpus + Send + Sync + 'static) -> Self {
        Self(Source::Given(Arc::new(read)))
    }

    /// Whether the driver answered when it was asked last. Asks nobody.
    pub fn was_present(&self) -> bool {
        match &self.0 {
            Source::Driver(nvml) => nvml.lock().unwrap_or_else(PoisonError::into_inner).is_some(),
            Source::Given(_) => false,
        }
    }

    /// How the GPUs are now. Asks the driver, which takes some milliseconds: for a thread that may wait.
    pub fn read(&self) -> Gpus {
        let nvml = match &self.0 {
            Source::Driver(nvml) => nvml,
            Source::Given(read) => return read(),
        };
        let mut nvml = nvml.lock().unwrap_or_else(PoisonError::into_inner);
        let read = match &*nvml {
            Some(nvml) => gpus(nvml),
            None => Nvml::init().and_then(|loaded| {
                let read = gpus(&loaded);
                *nvml = Some(loaded);
                read
            }),
        };
        read.unwrap_or_else(|error| {
            // A driver that was exchanged under us answers a new handle only.
            *nvml = None;
            Gpus::Absent { reason: reason(&error) }
        })
    }
}

fn reason(error: &NvmlError) -> String {
    if let NvmlError::LibloadingError(error) = error {
        return format!("no NVIDIA driver is installed ({error})");
    }
    error.to_string()
}

fn gpus(nvml: &Nvml) -> Result<Gpus, NvmlError> {
    let driver_version = nvml.sys_driver_version()?;
    let mut gpus = Vec::new();
    for index in 0..nvml.device_count()? {
        match nvml.device_by_index(index) {
            Ok(device) => gpus.push(reading(index, &device)?),
            // A container may see a GPU that it must not use.
            Err(NvmlError::NoPermission) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Gpus::Present { driver_version, gpus })
}

fn reading(index: u32, device: &Device<'_>) -> Result<GpuReading, NvmlError> {
    // GPUs that share the machine's memory have none of their own to tell of.
    let (total, used) = match device.memory_info() {
        Ok(memory) => (memory.total, memory.used),
        Err(NvmlError::NotSupported) => (0, 0),
        Err(error) => return Err(error),
    };
    let capability = device.cuda_compute_capability().ok();
    Ok(GpuReading {
        index,
        uuid: device.uuid()?,
        name: device.name()?,
        compute_capability: capability.map(|capability| format!("{}.{}", capability.major, capability.minor)),
        memory_total_bytes: total,
        memory_used_bytes: used,
        utilization_percent: device.utilization_rates().ok().map(|rates| rates.gpu),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok(),
        power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
    })
}
