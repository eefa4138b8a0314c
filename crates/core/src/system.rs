//! The machine and the service on it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::JobId;

/// The service and its machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemInfo {
    /// The service's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it was started.
    pub started_unix_ms: u64,
    /// Where jobs and the database are.
    pub data_directory: PathBuf,
    /// What can still be written there.
    pub free_disk_bytes: Option<u64>,
    /// What the CPU's maker calls it.
    pub cpu: Option<String>,
    /// Threads that the service may use.
    pub n_threads: u64,
    /// Memory of the machine, or of the container where that is less.
    pub memory_bytes: Option<u64>,
    /// Memory that can be had now.
    pub available_bytes: Option<u64>,
    /// Whether this build can compute on NVIDIA GPUs.
    pub is_built_with_cuda: bool,
    /// Jobs by state, only states with jobs.
    pub jobs: Vec<JobCount>,
}

/// How many jobs are in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCount {
    /// The state.
    pub state: crate::job::State,
    /// How many.
    pub n_jobs: u64,
}

/// The NVIDIA GPUs of the machine at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gpus {
    /// The driver does not answer: there is none, or it is broken. Not an error.
    Absent {
        /// What its management library says.
        reason: String,
    },
    /// The driver answers.
    Present {
        /// Its version.
        driver_version: String,
        /// Its GPUs, by index.
        gpus: Vec<GpuReading>,
    },
}

/// What a GPU did at a moment while a job was trained on it. A value that the GPU does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuSample {
    /// The job.
    pub job: JobId,
    /// The moment.
    pub time_unix_ms: u64,
    /// Counts from 0, as in `cuda:0`.
    pub index: u32,
    /// NVIDIA's id of the board.
    pub uuid: String,
    /// Its memory.
    pub memory_total_bytes: u64,
    /// Memory in use, by whomever.
    pub memory_used_bytes: u64,
    /// Share of the last sampling period in which a kernel ran, 0 to 100.
    pub utilization_percent: Option<u32>,
    /// Of the chip.
    pub temperature_celsius: Option<u32>,
    /// Of the board.
    pub power_watts: Option<f64>,
}

/// Which samples of GPUs are wanted; `None`: whichever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleFilter {
    /// Of this job.
    pub job: Option<JobId>,
    /// Not older than this.
    pub from_unix_ms: Option<u64>,
    /// Older than this.
    pub until_unix_ms: Option<u64>,
}

/// What the data directory of a service holds, in bytes of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The database with its log.
    pub database_bytes: u64,
    /// Copies of it from before a new version changed it.
    pub backups_bytes: u64,
    /// All jobs: checkpoints, results, journals and logs.
    pub jobs_bytes: u64,
    /// Datasets whose files the service owns.
    pub datasets_bytes: u64,
    /// Files that clients are sending.
    pub uploads_bytes: u64,
    /// What is there besides: logs of the service and of workers for models and data.
    pub other_bytes: u64,
    /// What can still be written there.
    pub free_bytes: Option<u64>,
    /// The jobs that take most, largest first.
    pub largest_jobs: Vec<JobStorage>,
}

/// What a job's directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStorage {
    /// The job.
    pub job: JobId,
    /// Its files.
    pub bytes: u64,
}

/// A GPU at a moment. A value that the GPU does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuReading {
    /// Counts from 0, as in `cuda:0`.
    pub index: u32,
    /// NVIDIA's id of the board.
    pub uuid: String,
    /// What NVIDIA calls it.
    pub name: String,
    /// Which instructions it has, `9.0`.
    pub compute_capability: Option<String>,
    /// Its memory.
    pub memory_total_bytes: u64,
    /// Memory in use, by whomever.
    pub memory_used_bytes: u64,
    /// Share of the last sampling period in which a kernel ran, 0 to 100.
    pub utilization_percent: Option<u32>,
    /// Of the chip.
    pub temperature_celsius: Option<u32>,
    /// Of the board.
    pub power_watts: Option<f64>,
}
