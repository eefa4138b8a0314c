//! Which devices the machine has for us now. GPUs come from the driver through a source that tests replace.

use std::sync::Arc;

use ftl_core::system::{GpuReading, Gpus};
use ftl_trainer::device::{self, toolkit};

use crate::error::ServiceError;
use crate::telemetry::gpus::GpuReader;

/// Tells which GPUs there are now.
pub trait GpuSource: Send + Sync + 'static {
    /// Reads them; may take some milliseconds.
    fn read(&self) -> Gpus;
}

impl GpuSource for GpuReader {
    fn read(&self) -> Gpus {
        Self::read(self)
    }
}

/// What can be computed on now. An `Err` says why nothing can, as part of a sentence for users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// NVIDIA GPUs that can be used, by the index that a worker knows them by, in order; one at least.
    pub cuda: Result<Vec<usize>, String>,
    /// Whether this build computes through Vulkan. Which devices Vulkan has is found out by the worker.
    pub vulkan: Result<(), String>,
}

/// The machine's devices. Clones ask the same source.
#[derive(Clone)]
pub struct Machine {
    source: Arc<dyn GpuSource>,
    build: Build,
}

/// What the program and the files beside it can do with devices.
#[derive(Clone)]
struct Build {
    cuda: fn() -> Result<(), String>,
    vulkan: Result<(), String>,
    /// `CUDA_VISIBLE_DEVICES`, by which the driver shows a process some GPUs and numbers them anew.
    visible: Option<String>,
}

impl Machine {
    /// This machine, for this build.
    pub fn here() -> Self {
        let vulkan = if device::BUILT_WITH_VULKAN {
            Ok(())
        } else {
            Err("this build of the service can't compute through Vulkan".to_owned())
        };
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        Self {
            source: Arc::new(GpuReader::new()),
            build: Build { cuda: cuda_of_this_build, vulkan, visible },
        }
    }

    /// A machine with other GPUs, for a build that can compute on all of them.
    pub fn simulated(source: Arc<dyn GpuSource>) -> Self {
        Self { source, build: Build { cuda: || Ok(()), vulkan: Ok(()), visible: None } }
    }

    /// Looks at the devices, on a thread that may wait for the driver.
    ///
    /// # Errors
    /// The thread panicked.
    pub async fn devices(&self) -> Result<Devices, ServiceError> {
        let machine = self.clone();
        let looked = tokio::task::spawn_blocking(move || machine.look()).await;
        looked.map_err(|error| ServiceError::Internal(Box::new(error)))
    }

    fn look(&self) -> Devices {
        let Build { cuda, vulkan, visible } = &self.build;
        let cuda = cuda().and_then(|()| usable(self.source.read(), visible.as_deref()));
        Devices { cuda, vulkan: vulkan.clone() }
    }
}

/// What CUDA needs beside a card. Looks at files and starts nothing; the worker looks with the same functions.
fn cuda_of_this_build() -> Result<(), String> {
    if !device::BUILT_WITH_CUDA {
        return Err("this build of the service can't compute on NVIDIA GPUs".to_owned());
    }
    if toolkit::find_nvrtc().is_none() {
        let hint = toolkit::NVRTC_HINT;
        return Err(format!("NVRTC (libnvrtc.so), which compiles kernels, can't be found; {hint}"));
    }
    match toolkit::headers() {
        Ok(_) => Ok(()),
        Err(missing) => Err(format!("{missing}; {}", toolkit::HEADERS_HINT)),
    }
}

/// The indexes of the GPUs that can be used.
fn usable(gpus: Gpus, visible: Option<&str>) -> Result<Vec<usize>, String> {
    let gpus = match gpus {
        Gpus::Absent { reason } => return Err(reason),
        Gpus::Present { driver_version: _, gpus } => gpus,
    };
    let seen = seen(&gpus, visible);
    if seen.is_empty() {
        return Err(match visible {
            Some(list) if !gpus.is_empty() => format!("CUDA_VISIBLE_DEVICES shows `{list}` only"),
            Some(_) | None => "the NVIDIA driver shows no GPU".to_owned(),
        });
    }
    let new_enough: Vec<usize> =
        seen.iter().enumerate().filter(|(_, gpu)| is_new_enough(gpu)).map(|(index, _)| index).collect();
    match (new_enough.is_empty(), seen.first()) {
        (true, Some(GpuReading { name, compute_capability: Some(capability), .. })) => Err(format!(
            "`{name}` has compute capability {capability}, and {} is the least",
            device::LEAST_CAPABILITY
        )),
        (_, _) => Ok(new_enough),
    }
}

/// The GPUs that a worker sees, in its order. As CUDA reads the list, it ends at the first entry that names no GPU.
fn seen<'a>(gpus: &'a [GpuReading], visible: Option<&str>) -> Vec<&'a GpuReading> {
    let Some(list) = visible else { return gpus.iter().collect() };
    list.split(',')
        .map_while(|entry| {
            let entry = entry.trim();
            match entry.parse::<u32>() {
                Ok(index) => gpus.iter().find(|gpu| gpu.index == index),
                Err(_) if entry.is_empty() => None,
                Err(_) => gpus.iter().find(|gpu| gpu.uuid.starts_with(entry)),
            }
        })
        .collect()
}

/// A GPU that does not tell is newer than this check.
fn is_new_enough(gpu: &GpuReading) -> bool {
    let parts = gpu.compute_capability.as_deref().and_then(|text| text.split_once('.'));
    let capability = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    capability.is_none_or(|(major, minor)| device::Capability(major, minor) >= device::LEAST_CAPABILITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: u32, capability: &str) -> GpuReading {
        GpuReading {
            index,
            uuid: format!("GPU-{index}0000000-aaaa"),
            name: "Card".to_owned(),
            compute_capability: Some(capability.to_owned()),
            memory_total_bytes: 1 << 33,
            memory_used_bytes: 0,
            utilization_percent: None,
            temperature_celsius: None,
            power_watts: None,
        }
    }

    fn indexes(capabilities: &[&str], visible: Option<&str>) -> Result<Vec<usize>, String> {
        let gpus = (0..).zip(capabilities).map(|(index, capability)| gpu(index, capability)).collect();
        usable(Gpus::Present { driver_version: "570.1".to_owned(), gpus }, visible)
    }

    #[test]
    fn gpus_are_counted_as_a_worker_counts_them() {
        let two = ["9.0", "8.9"];
        type Case<'a> = (&'a [&'a str], Option<&'a str>, Result<&'a [usize], &'a str>);
        let cases: [Case<'_>; 12] = [
            (&two, None, Ok(&[0, 1])),
            (&[], None, Err("the NVIDIA driver shows no GPU")),
            (&["7.5"], None, Ok(&[0])),
            (&["6.1", "8.0"], None, Ok(&[1])),
            (&["6.1"], None, Err("`Card` has compute capability 6.1, and 7.5 is the least")),
            (&["10.0"], None, Ok(&[0])),
            (&two, Some("1"), Ok(&[0])),
            (&["6.1", "8.0"], Some("1,0"), Ok(&[0])),
            (&two, Some("GPU-1"), Ok(&[0])),
            (&two, Some("0,7,1"), Ok(&[0])),
            (&two, Some(""), Err("CUDA_VISIBLE_DEVICES shows `` only")),
            (&two, Some("-1"), Err("CUDA_VISIBLE_DEVICES shows `-1` only")),
        ];
        for (capabilities, visible, expected) in cases {
            let expected = expected.map(<[usize]>::to_vec).map_err(str::to_owned);
            assert_eq!(indexes(capabilities, visible), expected, "{capabilities:?} {visible:?}");
        }
        let absent = Gpus::Absent { reason: "no NVIDIA driver is installed".to_owned() };
        assert_eq!(usable(absent, None), Err("no NVIDIA driver is installed".to_owned()));
    }
}
