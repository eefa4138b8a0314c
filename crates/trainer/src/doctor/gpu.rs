//! NVIDIA GPUs: what they need, and which can be trained on.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Finding, Level, finding};
use crate::device::driver::{Gpu, NvidiaDriver, nvidia_driver, nvrtc};
use crate::device::{self, Card, ComputeMode, Versions, toolkit};

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
    /// The version that it says, where it can be loaded.
    pub nvrtc_version: Option<String>,
    /// The directory of CUDA's headers.
    pub headers: Option<PathBuf>,
}

/// What there is for NVIDIA GPUs, and the names of those that can be used.
pub(super) fn cuda(findings: &mut Vec<Finding>) -> (Cuda, Vec<String>) {
    let has_gpu = Path::new("/proc/driver/nvidia/version").exists();
    let driver = nvidia_driver();
    let compiler = nvrtc();
    let headers = toolkit::headers();
    let cuda = Cuda {
        is_built_in: device::BUILT_WITH_CUDA,
        libcuda: toolkit::find_library("libcuda.so"),
        nvrtc: toolkit::find_nvrtc(),
        nvrtc_version: compiler.as_ref().map(|compiler| compiler.version.to_string()),
        headers: headers.as_ref().ok().map(|headers| headers.directory.clone()),
        driver: driver.as_ref().ok().cloned(),
    };
    if !cuda.is_built_in {
        let level = if has_gpu { Level::Warning } else { Level::Info };
        let hint = if has_gpu { "build it with `--features cuda` to use the NVIDIA GPU" } else { "" };
        findings.push(finding(level, "this program was built without CUDA", hint));
        return (cuda, Vec::new());
    }
    let NvidiaDriver { gpus, cuda: newest, version: _ } = match driver {
        Ok(driver) if !driver.gpus.is_empty() => driver,
        without => {
            findings.push(no_gpu(has_gpu, without.err()));
            return (cuda, Vec::new());
        }
    };
    let n_findings = findings.len();
    findings.extend(missing_files(&cuda, headers.as_ref().err()));
    if findings.len() > n_findings {
        return (cuda, Vec::new());
    }
    let mut names = Vec::new();
    for (index, gpu) in gpus.into_iter().enumerate() {
        let Gpu { name, memory_bytes, free_bytes, compute_capability, compute_mode, n_processes } = gpu;
        if compute_mode == ComputeMode::Exclusive && n_processes > 0 {
            findings.push(finding(
                Level::Warning,
                format!("`{name}` is in use, and lets one process at a time compute"),
                "wait for it, or share the GPU with `nvidia-smi -c DEFAULT`",
            ));
        }
        // A driver that does not tell is newer than these checks.
        let capability = compute_capability.unwrap_or(device::LEAST_CAPABILITY);
        let memory = Some((memory_bytes, free_bytes));
        let card = Card { index, name, capability, mode: compute_mode, memory };
        let fits = |driver| match &compiler {
            Some(nvrtc) if compute_capability.is_some() => {
                let versions = Versions {
                    driver,
                    nvrtc,
                    headers: headers.as_ref().ok().and_then(|found| found.version),
                };
                device::of_compiler(versions, (&card.name, capability))
            }
            Some(_) | None => Ok(()),
        };
        match device::of_card(&card).and_then(|()| newest.map_or(Ok(()), fits)) {
            Ok(()) => names.push(format!("cuda:{index}")),
            Err(problem) => {
                findings.push(Finding { level: Level::Error, message: problem.message, hint: problem.hint });
            }
        }
    }
    if let Ok(list) = std::env::var("CUDA_VISIBLE_DEVICES") {
        let message = format!("CUDA_VISIBLE_DEVICES shows `{list}` only, and `cuda:0` is the first of these");
        findings.push(finding(Level::Info, message, ""));
    }
    (cuda, names)
}

fn no_gpu(has_gpu: bool, reason: Option<String>) -> Finding {
    let message = match (has_gpu, reason) {
        (true, Some(reason)) => format!("the NVIDIA driver does not answer: {reason}"),
        (true, None) => "the NVIDIA driver has no GPU for this process".to_owned(),
        (false, _) => "this machine has no NVIDIA driver".to_owned(),
    };
    let level = if has_gpu { Level::Error } else { Level::Info };
    finding(level, message, "check with `nvidia-smi`; in a container, pass the GPU through")
}

/// What there is to say of files that are missing.
fn missing_files(cuda: &Cuda, headers: Option<&String>) -> Vec<Finding> {
    let libcuda = "the driver's library libcuda.so can't be found".to_owned();
    let nvrtc = "NVRTC (libnvrtc.so), which compiles kernels, can't be found".to_owned();
    let missing = [
        (cuda.libcuda.is_none().then_some(libcuda), "install the NVIDIA driver's libraries"),
        (cuda.nvrtc_version.is_none().then_some(nvrtc), toolkit::NVRTC_HINT),
        (headers.cloned(), toolkit::HEADERS_HINT),
    ];
    missing.into_iter().filter_map(|(what, hint)| Some(finding(Level::Error, what?, hint))).collect()
}
