//! Workers of the real program, jobs for them, and programs that behave badly in their place.

#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ftl_core::{EventRecord, JobSpec};
use ftl_server::worker::{Report, TrainTask, Training, Workers};

/// Long enough for anything here on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The directory of the examples.
pub fn examples() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository").join("examples")
}

/// The model of the examples.
pub fn base_model() -> PathBuf {
    examples().join("base-model")
}

/// Workers of the real program.
pub fn workers(directory: &Path) -> Workers {
    workers_of(Path::new(env!("CARGO_BIN_EXE_ftl-server")), directory)
}

/// Workers of any program.
pub fn workers_of(program: &Path, directory: &Path) -> Workers {
    Workers::start(program.to_owned(), directory.join("workers")).expect("a directory for logs")
}

/// The first job of the examples, shortened and changed.
pub fn spec(changes: &[&str]) -> JobSpec {
    let mut overrides = vec!["train.max_steps=12", "train.save_steps=4", "data.max_samples=64"];
    overrides.extend(changes);
    let overrides: Vec<String> = overrides.into_iter().map(str::to_owned).collect();
    let spec = JobSpec::read_with(examples().join("first-run.toml"), &overrides).expect("a spec");
    spec.check().expect("a good spec").to_spec()
}

/// A training of the job in a directory.
pub fn task(spec: &JobSpec, directory: &Path, attempt: u32) -> TrainTask {
    TrainTask { spec: spec.clone(), directory: directory.to_owned(), attempt, from: None, given: None }
}

/// The trained weights of a run.
pub fn adapter(directory: &Path) -> Vec<u8> {
    fs::read(directory.join("final/adapter_model.safetensors")).expect("a trained adapter")
}

/// Everything that a training reports.
pub async fn reports(training: &mut Training) -> Vec<Report> {
    let mut reports = Vec::new();
    while let Some(report) = training.next().await {
        reports.push(report);
    }
    reports
}

/// The events among reports.
pub fn events(reports: &[Report]) -> Vec<EventRecord> {
    let events = reports.iter().filter_map(|report| match report {
        Report::Events(events) => Some(events.clone()),
        Report::Started | Report::Heartbeat { .. } => None,
    });
    events.flatten().collect()
}

/// A shell script in the place of the program; the worker's socket is its fd 3.
pub fn script(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("program.sh");
    // By another process: one that this test program starts meanwhile would inherit the file while it is open for
    // writing, and a file that anybody has open so can't be run.
    let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 700 \"$0\"";
    let written = std::process::Command::new("sh").args(["-c", write]).arg(&path).arg(text).status();
    assert!(written.expect("`sh` runs").success(), "a script that can be run");
    path
}

/// The program in whose place one ignored test of this test program is run.
pub fn this_test(directory: &Path, name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    script(directory, &format!("exec '{}' --exact {name} --ignored --nocapture", program.display()))
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is there, even as a zombie.
pub fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
