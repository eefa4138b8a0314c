//! What a GPU did at a moment.

use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use ftl_core::system::GpuSample;

use super::value::{count, id, integer};
use crate::error::StoreError;
use crate::schema::gpu_samples;

#[derive(Queryable, Selectable)]
#[diesel(table_name = gpu_samples, check_for_backend(Sqlite))]
pub(crate) struct GpuSampleRow {
    number: i64,
    job: String,
    time_unix_ms: i64,
    gpu: i64,
    uuid: String,
    memory_total_bytes: i64,
    memory_used_bytes: i64,
    utilization_percent: Option<i64>,
    temperature_celsius: Option<i64>,
    power_watts: Option<f64>,
}

#[derive(Insertable)]
#[diesel(table_name = gpu_samples)]
pub(crate) struct NewGpuSampleRow<'a> {
    job: &'a str,
    time_unix_ms: i64,
    gpu: i64,
    uuid: &'a str,
    memory_total_bytes: i64,
    memory_used_bytes: i64,
    utilization_percent: Option<i64>,
    temperature_celsius: Option<i64>,
    power_watts: Option<f64>,
}

impl<'a> TryFrom<&'a GpuSample> for NewGpuSampleRow<'a> {
    type Error = StoreError;

    fn try_from(sample: &'a GpuSample) -> Result<Self, StoreError> {
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
        Ok(Self {
            job: job.as_str(),
            time_unix_ms: integer("gpu_samples.time_unix_ms", *time_unix_ms)?,
            gpu: i64::from(*index),
            uuid,
            memory_total_bytes: integer("gpu_samples.memory_total_bytes", *memory_total_bytes)?,
            memory_used_bytes: integer("gpu_samples.memory_used_bytes", *memory_used_bytes)?,
            utilization_percent: utilization_percent.map(i64::from),
            temperature_celsius: temperature_celsius.map(i64::from),
            power_watts: *power_watts,
        })
    }
}

impl GpuSampleRow {
    /// With the number by which pages are cut.
    pub(crate) fn numbered(self) -> Result<(i64, GpuSample), StoreError> {
        let Self {
            number,
            job,
            time_unix_ms,
            gpu,
            uuid,
            memory_total_bytes,
            memory_used_bytes,
            utilization_percent,
            temperature_celsius,
            power_watts,
        } = self;
        let small = |field, number: Option<i64>| number.map(|number| count(field, number)).transpose();
        let sample = GpuSample {
            job: id("gpu_samples.job", job)?,
            time_unix_ms: count("gpu_samples.time_unix_ms", time_unix_ms)?,
            index: count("gpu_samples.gpu", gpu)?,
            uuid,
            memory_total_bytes: count("gpu_samples.memory_total_bytes", memory_total_bytes)?,
            memory_used_bytes: count("gpu_samples.memory_used_bytes", memory_used_bytes)?,
            utilization_percent: small("gpu_samples.utilization_percent", utilization_percent)?,
            temperature_celsius: small("gpu_samples.temperature_celsius", temperature_celsius)?,
            power_watts,
        };
        Ok((number, sample))
    }
}
