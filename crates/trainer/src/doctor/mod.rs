//! What this machine can train on, and what is missing. Looks at files and asks the system; nothing here starts
//! CUDA, so nothing can hang or bring the process down.

mod gpu;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::data::cache::{Cache, user_directory};
use crate::device;

pub use gpu::Cuda;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Devices that can be trained on, as `--device` takes them.
    pub devices: Vec<String>,
    /// The CPU.
    pub cpu: Cpu,
    /// NVIDIA GPUs and what they need.
    pub cuda: Cuda,
    /// Devices of Vulkan, by index; empty also where this program was built without it.
    pub vulkan: Vec<device::VulkanDevice>,
    /// Room on disk.
    pub disks: Vec<Disk>,
    /// Tokenized data of earlier runs; `None`: they are not kept.
    pub data_cache: Option<DataCache>,
    /// What stands in the way of something, or may do so.
    pub findings: Vec<Finding>,
}

/// The CPU and its memory.
#[derive(Clone, Debug, Serialize)]
pub struct Cpu {
    /// What its maker calls it.
    pub name: Option<String>,
    /// Instructions that the kernels can use.
    pub features: Vec<&'static str>,
    /// Threads that this process may use.
    pub n_threads: u64,
    /// Memory of the machine, or of the container where that is less.
    pub memory_bytes: Option<u64>,
    /// Memory that can be had now.
    pub available_bytes: Option<u64>,
}

/// Room on the disk of a directory.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// What the directory is for.
    pub purpose: &'static str,
    /// The directory.
    pub path: PathBuf,
    /// What can still be written.
    pub free_bytes: u64,
}

/// Tokenized data of earlier runs.
#[derive(Clone, Debug, Serialize)]
pub struct DataCache {
    /// The directory.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: u64,
    /// What may be in it.
    pub limit_bytes: u64,
}

/// Something worth knowing.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// One sentence.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something will be slow, or may fail.
    Warning,
    /// A device can't be used although it is there.
    Error,
}

/// Less free than this, and a run may not be able to save.
const LITTLE_DISK_BYTES: u64 = 2 << 30;
/// Less than this, and only toys can be trained.
const LITTLE_MEMORY_BYTES: u64 = 2 << 30;

/// Looks at the machine.
pub fn diagnose() -> Diagnosis {
    let mut findings = Vec::new();
    let cpu = cpu();
    cpu_findings(&cpu, &mut findings);
    let (cuda, mut devices) = gpu::cuda(&mut findings);
    let vulkan = device::vulkan_devices();
    devices.extend((0..vulkan.len()).map(|index| format!("vulkan:{index}")));
    devices.push("cpu".to_owned());
    let disks = disks(&mut findings);
    Diagnosis { devices, cpu, cuda, vulkan, disks, data_cache: data_cache(), findings }
}

fn data_cache() -> Option<DataCache> {
    let cache = Cache::of_user();
    let bytes = cache.size_bytes();
    match cache {
        Cache::Off => None,
        Cache::Dir { path, limit_bytes } => Some(DataCache { path, bytes, limit_bytes }),
    }
}

/// Something worth knowing; without a `hint` there is nothing to be done.
pub fn finding(level: Level, message: impl Into<String>, hint: &str) -> Finding {
    Finding { level, message: message.into(), hint: (!hint.is_empty()).then(|| hint.to_owned()) }
}

/// Looks at the CPU and the memory.
pub fn cpu() -> Cpu {
    let memory = |key: &str| kib_in("/proc/meminfo", key);
    let in_container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    let limit = in_container.unwrap_or(u64::MAX);
    Cpu {
        name: cpu_name(),
        features: cpu_features(),
        n_threads: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        memory_bytes: memory("MemTotal:").map(|bytes| bytes.min(limit)),
        available_bytes: memory("MemAvailable:").map(|bytes| bytes.min(limit)),
    }
}

fn cpu_findings(cpu: &Cpu, findings: &mut Vec<Finding>) {
    if !cpu.features.contains(&"avx2") && cfg!(target_arch = "x86_64") {
        findings.push(finding(Level::Warning, "the CPU has no AVX2, so training on it will be slow", ""));
    }
    if let Some(bytes) = cpu.memory_bytes.filter(|bytes| *bytes < LITTLE_MEMORY_BYTES) {
        let message = format!("there are only {} of memory", gib(bytes));
        findings.push(finding(Level::Warning, message, "only very small models can be trained"));
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let found = [
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
    ];
    found.into_iter().filter_map(|(name, has)| has.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<&'static str> {
    if cfg!(target_arch = "aarch64") { vec!["neon"] } else { Vec::new() }
}

fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib_in(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn disks(findings: &mut Vec<Finding>) -> Vec<Disk> {
    let places = [
        ("working directory", std::env::current_dir().ok()),
        ("caches", user_directory()),
        ("temporary files", Some(std::env::temp_dir())),
    ];
    let mut disks = Vec::new();
    for (purpose, path) in places {
        let Some(path) = path else { continue };
        // A cache directory may not be there yet; the disk is that of the nearest one above.
        let Some(free_bytes) = path.ancestors().find(|path| path.exists()).and_then(free_bytes) else {
            continue;
        };
        if free_bytes < LITTLE_DISK_BYTES {
            let message = format!("the {purpose} `{}` has only {} left", path.display(), gib(free_bytes));
            findings.push(finding(Level::Warning, message, "make room before a run saves there"));
        }
        disks.push(Disk { purpose, path, free_bytes });
    }
    disks
}

/// What can still be written to the disk of a directory; `None` where the system does not tell.
#[cfg(unix)]
#[allow(
    clippy::unnecessary_cast,
    clippy::allow_attributes,
    reason = "the fields' width depends on the platform"
)]
pub fn free_bytes(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;

    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: all zeros is a valid `statvfs`, which the call below fills.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte and `stat` is valid for the call.
    let code = unsafe { libc::statvfs(path.as_ptr(), &mut stat) };
    (code == 0).then(|| (stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
}

/// What can still be written to the disk of a directory; `None`: the system does not tell.
#[cfg(not(unix))]
pub fn free_bytes(_path: &Path) -> Option<u64> {
    None
}

/// `12.3 GiB`.
pub fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}
