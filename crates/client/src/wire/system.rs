//! The machine and the service on it.

use std::path::PathBuf;

use ftl_core::job::State;
use ftl_core::system::{GpuReading, Gpus, JobCount, SystemInfo};

use super::time::{timestamp, unix_ms};
use super::{Numbered as _, WireError, each, text, v1};
use v1::gpus::Kind;

impl From<SystemInfo> for v1::SystemInfo {
    fn from(info: SystemInfo) -> Self {
        let SystemInfo {
            version,
            pid,
            started_unix_ms,
            data_directory,
            free_disk_bytes,
            cpu,
            n_threads,
            memory_bytes,
            available_bytes,
            is_built_with_cuda,
            jobs,
        } = info;
        Self {
            version,
            pid,
            start_time: Some(timestamp(started_unix_ms)),
            data_directory: text(data_directory),
            free_disk_bytes,
            cpu,
            thread_count: n_threads,
            memory_bytes,
            available_bytes,
            built_with_cuda: is_built_with_cuda,
            jobs: jobs.into_iter().map(v1::JobCount::from).collect(),
        }
    }
}

impl TryFrom<v1::SystemInfo> for SystemInfo {
    type Error = WireError;

    fn try_from(info: v1::SystemInfo) -> Result<Self, WireError> {
        const NAME: &str = "SystemInfo";
        let v1::SystemInfo {
            version,
            pid,
            start_time,
            data_directory,
            free_disk_bytes,
            cpu,
            thread_count,
            memory_bytes,
            available_bytes,
            built_with_cuda,
            jobs,
        } = info;
        Ok(Self {
            version,
            pid,
            started_unix_ms: unix_ms(NAME, "start_time", start_time)?,
            data_directory: PathBuf::from(data_directory),
            free_disk_bytes,
            cpu,
            n_threads: thread_count,
            memory_bytes,
            available_bytes,
            is_built_with_cuda: built_with_cuda,
            jobs: each(NAME, "jobs", jobs)?,
        })
    }
}

impl From<JobCount> for v1::JobCount {
    fn from(count: JobCount) -> Self {
        let JobCount { state, n_jobs } = count;
        Self { state: state.number(), job_count: n_jobs }
    }
}

impl TryFrom<v1::JobCount> for JobCount {
    type Error = WireError;

    fn try_from(count: v1::JobCount) -> Result<Self, WireError> {
        let v1::JobCount { state, job_count } = count;
        Ok(Self { state: State::required("JobCount", "state", state)?, n_jobs: job_count })
    }
}

impl From<Gpus> for v1::Gpus {
    fn from(gpus: Gpus) -> Self {
        let kind = match gpus {
            Gpus::Absent { reason } => Kind::Absent(reason),
            Gpus::Present { driver_version, gpus } => Kind::Driver(v1::NvidiaDriver {
                version: driver_version,
                gpus: gpus.into_iter().map(v1::Gpu::from).collect(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Gpus> for Gpus {
    type Error = WireError;

    fn try_from(gpus: v1::Gpus) -> Result<Self, WireError> {
        let v1::Gpus { kind } = gpus;
        match kind {
            Some(Kind::Absent(reason)) => Ok(Self::Absent { reason }),
            Some(Kind::Driver(v1::NvidiaDriver { version, gpus })) => Ok(Self::Present {
                driver_version: version,
                gpus: gpus.into_iter().map(GpuReading::from).collect(),
            }),
            None => Err(WireError::new("Gpus", "kind", "must be given, `absent` or `driver`")),
        }
    }
}

impl From<GpuReading> for v1::Gpu {
    fn from(reading: GpuReading) -> Self {
        let GpuReading {
            index,
            uuid,
            name,
            compute_capability,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        } = reading;
        Self {
            index,
            uuid,
            name,
            compute_capability,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        }
    }
}

impl From<v1::Gpu> for GpuReading {
    fn from(gpu: v1::Gpu) -> Self {
        let v1::Gpu {
            index,
            uuid,
            name,
            compute_capability,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        } = gpu;
        Self {
            index,
            uuid,
            name,
            compute_capability,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        }
    }
}
