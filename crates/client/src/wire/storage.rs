//! What a service keeps beside its jobs' events: samples of GPUs, and how much its files take.

use ftl_core::system::{GpuSample, JobStorage, SampleFilter, Storage};

use super::error::id;
use super::time::{optional_unix_ms, timestamp, unix_ms};
use super::{WireError, each, v1};

impl From<GpuSample> for v1::GpuSample {
    fn from(sample: GpuSample) -> Self {
        let GpuSample {
            job,
            time_unix_ms,
            index,
            uuid,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        } = sample;
        Self {
            job_id: job.to_string(),
            time: Some(timestamp(time_unix_ms)),
            index,
            uuid,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        }
    }
}

impl TryFrom<v1::GpuSample> for GpuSample {
    type Error = WireError;

    fn try_from(sample: v1::GpuSample) -> Result<Self, WireError> {
        const NAME: &str = "GpuSample";
        let v1::GpuSample {
            job_id,
            time,
            index,
            uuid,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        } = sample;
        Ok(Self {
            job: id(NAME, "job_id", job_id)?,
            time_unix_ms: unix_ms(NAME, "time", time)?,
            index,
            uuid,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        })
    }
}

/// The request for a page of the samples that a filter lets through.
pub fn samples_request(
    filter: SampleFilter,
    page_size: u32,
    page_token: String,
) -> v1::ListGpuSamplesRequest {
    let SampleFilter { job, from_unix_ms, until_unix_ms } = filter;
    v1::ListGpuSamplesRequest {
        job_id: job.map(|job| job.to_string()),
        start_time: from_unix_ms.map(timestamp),
        end_time: until_unix_ms.map(timestamp),
        page_size,
        page_token,
    }
}

/// The filter of a request.
///
/// # Errors
/// [`WireError`] for an id or a moment that has no meaning.
pub fn sample_filter(
    job_id: Option<String>,
    start_time: Option<prost_types::Timestamp>,
    end_time: Option<prost_types::Timestamp>,
) -> Result<SampleFilter, WireError> {
    const NAME: &str = "ListGpuSamplesRequest";
    Ok(SampleFilter {
        job: job_id.map(|job| id(NAME, "job_id", job)).transpose()?,
        from_unix_ms: optional_unix_ms(NAME, "start_time", start_time)?,
        until_unix_ms: optional_unix_ms(NAME, "end_time", end_time)?,
    })
}

impl From<Storage> for v1::Storage {
    fn from(storage: Storage) -> Self {
        let Storage {
            database_bytes,
            backups_bytes,
            jobs_bytes,
            datasets_bytes,
            uploads_bytes,
            other_bytes,
            free_bytes,
            largest_jobs,
        } = storage;
        Self {
            database_bytes,
            backups_bytes,
            jobs_bytes,
            datasets_bytes,
            uploads_bytes,
            other_bytes,
            free_bytes,
            largest_jobs: largest_jobs.into_iter().map(v1::JobStorage::from).collect(),
        }
    }
}

impl TryFrom<v1::Storage> for Storage {
    type Error = WireError;

    fn try_from(storage: v1::Storage) -> Result<Self, WireError> {
        let v1::Storage {
            database_bytes,
            backups_bytes,
            jobs_bytes,
            datasets_bytes,
            uploads_bytes,
            other_bytes,
            free_bytes,
            largest_jobs,
        } = storage;
        Ok(Self {
            database_bytes,
            backups_bytes,
            jobs_bytes,
            datasets_bytes,
            uploads_bytes,
            other_bytes,
            free_bytes,
            largest_jobs: each("Storage", "largest_jobs", largest_jobs)?,
        })
    }
}

impl From<JobStorage> for v1::JobStorage {
    fn from(storage: JobStorage) -> Self {
        let JobStorage { job, bytes } = storage;
        Self { job_id: job.to_string(), bytes }
    }
}

impl TryFrom<v1::JobStorage> for JobStorage {
    type Error = WireError;

    fn try_from(storage: v1::JobStorage) -> Result<Self, WireError> {
        let v1::JobStorage { job_id, bytes } = storage;
        Ok(Self { job: id("JobStorage", "job_id", job_id)?, bytes })
    }
}
