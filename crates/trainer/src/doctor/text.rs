//! A diagnosis for people: one fact a line, findings at the end.

use std::fmt;

use super::{Cpu, Cuda, DataCache, Diagnosis, Disk, Finding, Level, gib};

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.findings.iter().map(Finding::to_string);
        let lines: Vec<String> = machine(self).into_iter().chain(found).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        write!(f, "{level}: {}{hint}", self.message)
    }
}

/// The machine without the findings.
fn machine(diagnosis: &Diagnosis) -> Vec<String> {
    let Diagnosis { devices, cpu, cuda, vulkan, disks, data_cache, findings: _ } = diagnosis;
    let mut lines = vec![format!("can train on    {}", devices.join(", "))];
    lines.push(format!("cpu             {}", cpu_text(cpu)));
    lines.extend(cuda_lines(cuda));
    for (index, device) in vulkan.iter().enumerate() {
        lines.push(format!("vulkan:{index:<9}{}", device.name));
    }
    for Disk { purpose, path, free_bytes } in disks {
        lines.push(format!("{purpose:<16} {} free in {}", gib(*free_bytes), path.display()));
    }
    match data_cache {
        Some(DataCache { path, bytes, limit_bytes }) => {
            let (kept, limit) = (gib(*bytes), gib(*limit_bytes));
            lines.push(format!("tokenized data  {kept} of at most {limit} in {}", path.display()));
        }
        None => lines.push("tokenized data  is not kept".to_owned()),
    }
    lines
}

fn cpu_text(cpu: &Cpu) -> String {
    let Cpu { name, features, n_threads, memory_bytes, available_bytes } = cpu;
    let mut parts: Vec<String> = name.iter().cloned().collect();
    parts.push(format!("{n_threads} threads"));
    if !features.is_empty() {
        parts.push(features.join(" "));
    }
    if let (Some(memory), Some(available)) = (memory_bytes, available_bytes) {
        parts.push(format!("{} of memory, {} available", gib(*memory), gib(*available)));
    }
    parts.join(", ")
}

fn cuda_lines(cuda: &Cuda) -> Vec<String> {
    let Cuda { is_built_in, driver, libcuda, nvrtc, nvrtc_version, headers } = cuda;
    let mut lines = Vec::new();
    if let Some(driver) = driver {
        let cuda = driver.cuda.map(|version| format!(", CUDA {version}")).unwrap_or_default();
        lines.push(format!("NVIDIA driver   {}{cuda}", driver.version));
        for (index, gpu) in driver.gpus.iter().enumerate() {
            let capability =
                gpu.compute_capability.map_or_else(|| "unknown".to_owned(), |found| found.to_string());
            lines.push(format!(
                "cuda:{index:<11}{}, compute capability {capability}, {} of memory, {} free",
                gpu.name,
                gib(gpu.memory_bytes),
                gib(gpu.free_bytes)
            ));
        }
    }
    if *is_built_in {
        let version =
            nvrtc_version.as_ref().map(|version| format!(", version {version}")).unwrap_or_default();
        for (name, path, more) in
            [("libcuda", libcuda, ""), ("NVRTC", nvrtc, &version), ("CUDA headers", headers, "")]
        {
            let found =
                path.as_ref().map_or_else(|| "not found".to_owned(), |path| path.display().to_string());
            lines.push(format!("{name:<16}{found}{more}"));
        }
    }
    lines
}
