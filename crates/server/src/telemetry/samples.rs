//! Samples of the GPUs that jobs are trained on, kept beside the jobs' metrics.
//!
//! A machine without a driver costs one look a minute for the driver's library; nothing else is asked there, and
//! nothing is written. With one, the GPUs are read while a job that may compute on them is at work.

use std::time::Duration;

use ftl_core::job::{Job, State};
use ftl_core::system::{GpuReading, GpuSample, Gpus};
use ftl_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::gpus::GpuReader;
use crate::data_dir::now_unix_ms;
use crate::leases::{Holder, Leases, Place};

/// How often samples are taken.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// While jobs are trained.
    pub sample_every: Duration,
    /// Where there is no driver, until it is looked for again.
    pub look_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        // A training's use of a GPU changes with its phases, which last seconds. NVML averages over less than a second,
        // so more samples would show single steps and fill the database.
        Self { sample_every: Duration::from_secs(5), look_every: Duration::from_secs(60) }
    }
}

/// Takes samples until the service ends. The leases say on which GPU a job computes.
pub async fn sample(
    (store, leases): (Store, Leases),
    reader: GpuReader,
    pace: Pace,
    shutdown: CancellationToken,
) {
    loop {
        let pause = match taken(&store, &leases, &reader).await {
            Taken::NoDriver => pace.look_every,
            Taken::Samples => pace.sample_every,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// What a look at the GPUs came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    NoDriver,
    /// Or no job is trained.
    Samples,
}

async fn taken(store: &Store, leases: &Leases, reader: &GpuReader) -> Taken {
    if !reader.was_present() {
        // The driver first: without one, what is trained is trained on the CPU, whatever its spec allows.
        match read(reader).await {
            Gpus::Absent { .. } => return Taken::NoDriver,
            Gpus::Present { .. } => {}
        }
    }
    let jobs = match store.jobs_in(&[State::Running, State::Stopping]).await {
        Ok(jobs) => jobs,
        Err(error) => return unkept(&error),
    };
    let held = leases.held();
    let jobs: Vec<(Job, Wanted)> =
        jobs.into_iter().filter_map(|job| Wanted::of(&job, &held).map(|wanted| (job, wanted))).collect();
    if jobs.is_empty() {
        return Taken::Samples;
    }
    let gpus = match read(reader).await {
        Gpus::Absent { .. } => return Taken::NoDriver,
        Gpus::Present { driver_version: _, gpus } => gpus,
    };
    let time_unix_ms = now_unix_ms();
    let samples = jobs.iter().flat_map(|(job, wanted)| {
        gpus.iter().filter(|gpu| wanted.has(gpu.index)).map(|gpu| sample_of(job, gpu, time_unix_ms))
    });
    match store.append_gpu_samples(samples.collect()).await {
        Ok(()) => Taken::Samples,
        Err(error) => unkept(&error),
    }
}

/// Asking the driver may take a while.
async fn read(reader: &GpuReader) -> Gpus {
    let reader = reader.clone();
    let reading = tokio::task::spawn_blocking(move || reader.read()).await;
    reading.unwrap_or_else(|error| Gpus::Absent { reason: error.to_string() })
}

/// A sample that is missing harms nobody; whoever looks after the store is told by others.
fn unkept(error: &StoreError) -> Taken {
    match error {
        StoreError::Closed => debug!("no more samples of GPUs are kept"),
        error => warn!(%error, "samples of the GPUs were not kept"),
    }
    Taken::Samples
}

/// On which GPUs a job may compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Which one is not known; it is among them.
    Any,
    Index(usize),
}

impl Wanted {
    /// None for a job on the CPU. By its lease; where a worker of an earlier service still works there is none for it alone,
    /// and its spec says what it may be on.
    fn of(job: &Job, held: &[(Place, Holder)]) -> Option<Self> {
        let mut places = held.iter().filter(|(_, holder)| *holder == Holder::Job(job.id.clone()));
        let place = match (places.next(), places.next()) {
            (Some((place, _)), None) => Some(*place),
            (_, _) => None,
        };
        match (place, job.spec.device.kind.as_deref()) {
            (Some(Place::Cpu), _) | (None, Some("cpu")) => None,
            (Some(Place::Cuda(index)), _) => Some(Self::Index(index)),
            // Vulkan counts its devices in an order of its own.
            (Some(Place::Vulkan(_)), _) => Some(Self::Any),
            (None, kind) => match kind.and_then(|kind| kind.strip_prefix("cuda:")).map(str::parse) {
                Some(Ok(index)) => Some(Self::Index(index)),
                Some(Err(_)) | None => Some(Self::Any),
            },
        }
    }

    fn has(self, gpu: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Index(index) => usize::try_from(gpu) == Ok(index),
        }
    }
}

fn sample_of(job: &Job, gpu: &GpuReading, time_unix_ms: u64) -> GpuSample {
    let GpuReading {
        index,
        uuid,
        name: _,
        compute_capability: _,
        memory_total_bytes,
        memory_used_bytes,
        utilization_percent,
        temperature_celsius,
        power_watts,
    } = gpu;
    GpuSample {
        job: job.id.clone(),
        time_unix_ms,
        index: *index,
        uuid: uuid.clone(),
        memory_total_bytes: *memory_total_bytes,
        memory_used_bytes: *memory_used_bytes,
        utilization_percent: *utilization_percent,
        temperature_celsius: *temperature_celsius,
        power_watts: *power_watts,
    }
}
