//! What this machine can train on, and what is missing. Looks at files and asks the system; nothing here starts
//! CUDA, so nothing can hang or bring the process down.
//!
//! What a GPU needs beside the driver: NVRTC on the loader's path, since kernels are compiled when they are first
//! used, and the CUDA headers, which CubeCL looks for in `CUDA_PATH`, /usr/local/cuda and /opt/cuda.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::device::{self, NvidiaDriver};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Devices that can be trained on, as `--device` takes them.
    pub devices: Vec<String>,
    /// The CPU.
    pub cpu: Cpu,
    /// NVIDIA GPUs and what they need.
    pub cuda: Cuda,
    /// Room on disk.
    pub disks: Vec<Disk>,
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

/// NVIDIA GPUs and what they need.
#[derive(Clone, Debug, Serialize)]
pub struct Cuda {
    /// Whether this program was built for them.
    pub is_built_in: bool,
    /// The driver; `None`: it does not answer.
    pub driver: Option<NvidiaDriver>,
    /// The driver's library.
    pub libcuda: Option<PathBuf>,
    /// The compiler of kernels.
    pub nvrtc: Option<PathBuf>,
    /// The directory of CUDA's headers.
    pub headers: Option<PathBuf>,
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
/// The header that every kernel includes.
const A_HEADER: &str = "cuda_fp16.h";

/// Looks at the machine.
pub fn diagnose() -> Diagnosis {
    let mut findings = Vec::new();
    let cpu = cpu();
    cpu_findings(&cpu, &mut findings);
    let (cuda, gpus) = cuda(&mut findings);
    let mut devices = gpus;
    devices.push("cpu".to_owned());
    Diagnosis { devices, cpu, cuda, disks: disks(&mut findings), findings }
}

fn finding(level: Level, message: impl Into<String>, hint: &str) -> Finding {
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

/// What there is for GPUs, and the names of those that can be used.
fn cuda(findings: &mut Vec<Finding>) -> (Cuda, Vec<String>) {
    let libraries = library_directories();
    let library = |name: &str| find_library(&libraries, name);
    let has_gpu = Path::new("/proc/driver/nvidia/version").exists();
    let driver = device::nvidia_driver();
    let cuda = Cuda {
        is_built_in: device::BUILT_WITH_CUDA,
        libcuda: library("libcuda.so"),
        nvrtc: library("libnvrtc.so"),
        headers: cuda_directory().map(|dir| dir.join("include")).filter(|dir| dir.join(A_HEADER).exists()),
        driver: driver.as_ref().ok().cloned(),
    };
    let n_gpus = cuda.driver.as_ref().map_or(0, |driver| driver.gpus.len());
    if !cuda.is_built_in {
        let level = if has_gpu { Level::Warning } else { Level::Info };
        let hint = if has_gpu { "build it with `--features cuda` to use the NVIDIA GPU" } else { "" };
        findings.push(finding(level, "this program was built without CUDA", hint));
        return (cuda, Vec::new());
    }
    if n_gpus == 0 {
        let message = match (has_gpu, driver) {
            (true, Err(reason)) => format!("the NVIDIA driver does not answer: {reason}"),
            (true, Ok(_)) => "the NVIDIA driver has no GPU for this process".to_owned(),
            (false, _) => "this machine has no NVIDIA driver".to_owned(),
        };
        let level = if has_gpu { Level::Error } else { Level::Info };
        findings.push(finding(
            level,
            message,
            "check with `nvidia-smi`; in a container, pass the GPU through",
        ));
        return (cuda, Vec::new());
    }
    let mut is_complete = true;
    for (part, what, hint) in [
        (&cuda.libcuda, "the driver's library libcuda.so", "install the NVIDIA driver's libraries"),
        (
            &cuda.nvrtc,
            "NVRTC (libnvrtc.so), which compiles kernels",
            "install the CUDA toolkit or the wheel nvidia-cuda-nvrtc, and put it on LD_LIBRARY_PATH",
        ),
        (
            &cuda.headers,
            "the CUDA headers",
            "install the CUDA toolkit or the wheels nvidia-cuda-runtime and nvidia-cuda-cccl, and set CUDA_PATH to \
             the directory above `include`",
        ),
    ] {
        if part.is_none() {
            is_complete = false;
            findings.push(finding(Level::Error, format!("{what} can't be found"), hint));
        }
    }
    let names =
        if is_complete { (0..n_gpus).map(|index| format!("cuda:{index}")).collect() } else { Vec::new() };
    (cuda, names)
}

/// Where CubeCL looks for CUDA.
fn cuda_directory() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CUDA_PATH") {
        return Some(PathBuf::from(path));
    }
    let usual = ["/usr/local/cuda", "/opt/cuda"].into_iter().map(PathBuf::from).find(|path| path.exists());
    usual.or_else(|| Path::new("/usr/bin/nvcc").exists().then(|| PathBuf::from("/usr")))
}

/// Where the loader looks for libraries: `LD_LIBRARY_PATH`, its configuration, and the usual places.
fn library_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> =
        std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths).collect();
    let mut files = vec![PathBuf::from("/etc/ld.so.conf")];
    let more = fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten();
    files.extend(more.map(|entry| entry.path()));
    for text in files.iter().filter_map(|file| fs::read_to_string(file).ok()) {
        let paths = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
        directories.extend(paths.map(PathBuf::from));
    }
    for usual in ["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"] {
        directories.push(PathBuf::from(usual));
        directories.push(Path::new(usual).join(format!("{}-linux-gnu", std::env::consts::ARCH)));
    }
    directories.retain(|directory| !directory.as_os_str().is_empty());
    directories
}

/// The first file that is called so, with or without a version behind.
fn find_library(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().find_map(|directory| {
        let plain = directory.join(name);
        if plain.exists() {
            return Some(plain);
        }
        let mut versions: Vec<PathBuf> = fs::read_dir(directory)
            .ok()?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}.")))
            .map(|entry| entry.path())
            .collect();
        versions.sort();
        versions.into_iter().next()
    })
}

fn disks(findings: &mut Vec<Finding>) -> Vec<Disk> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home.map(|home| home.join(".cache")));
    let places = [
        ("working directory", std::env::current_dir().ok()),
        ("caches", cache),
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
