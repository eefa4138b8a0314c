//! The queue: whenever something changes, looks which jobs start where, starts them, and says what the others wait for.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use ftl_core::JobId;
use ftl_core::job::{QueueSettings, Waiting, WaitingReason};
use ftl_core::spec::resolved::DeviceKind;
use ftl_store::Queued;
use ftl_trainer::doctor;
use tracing::{error, info};

use super::keep::RETRY_AFTER;
use super::schedule::{Candidate, Schedule, Start, World, schedule};
use super::{Jobs, recover, supervisor};
use crate::error::ServiceError;
use crate::leases::{Devices, Holder, Lease};
use crate::worker::Given;

/// How often GPUs and the disk are looked at while a job waits for them: nobody tells when they change.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The setting of [`QueueSettings::min_free_disk_bytes`].
const MIN_FREE_DISK: &str = "queue.min_free_disk_bytes";
/// What is kept free where nobody set it: an adapter with its optimizer state at rank 64 for a model of 8 billion
/// parameters takes about that much, and a smaller reserve would be gone within one step of a full disk's other writers.
const DEFAULT_MIN_FREE_DISK_BYTES: u64 = 1 << 30;
/// While a checkpoint is written, the ones before it are still there.
const CHECKPOINTS_AT_ONCE: u64 = 2;

/// Works on queued jobs until the service ends.
pub(super) async fn work(jobs: Jobs) {
    let mut freed = jobs.0.workers.leases().freed();
    while !jobs.0.ending.is_cancelled() {
        freed.borrow_and_update();
        let look_again = match pass(&jobs).await {
            Ok(look_again) => look_again,
            Err(cause) => {
                error!(cause = &cause as &dyn std::error::Error, "the queue stands still for a moment");
                Some(RETRY_AFTER)
            }
        };
        // A permit of `notify_one` stays and `freed` counts, so nothing that happened since the pass began is missed.
        tokio::select! {
            () = jobs.0.queued.notified() => {}
            // Its sender lives as long as the leases.
            _ = freed.changed() => {}
            () = sleep_if(look_again) => {}
            () = jobs.0.ending.cancelled() => {}
        }
    }
}

async fn sleep_if(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// What a start waits for beside a free place.
pub(super) async fn settings(jobs: &Jobs) -> Result<QueueSettings, ServiceError> {
    let set = jobs.0.store.setting(MIN_FREE_DISK).await?;
    let min_free_disk_bytes = set.and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_MIN_FREE_DISK_BYTES);
    Ok(QueueSettings { min_free_disk_bytes })
}

pub(super) async fn set_settings(jobs: &Jobs, settings: QueueSettings) -> Result<(), ServiceError> {
    let QueueSettings { min_free_disk_bytes } = settings;
    jobs.0.store.set_setting(MIN_FREE_DISK, &min_free_disk_bytes.to_string()).await?;
    jobs.0.queued.notify_one();
    Ok(())
}

/// Goes through the queue once. Gives how long until it should at the latest be gone through again.
async fn pass(jobs: &Jobs) -> Result<Option<Duration>, ServiceError> {
    let (queue, told) = candidates(jobs).await?;
    if queue.is_empty() {
        return Ok(None);
    }
    let leases = jobs.0.workers.leases();
    let devices = match queue.iter().any(|candidate| candidate.device != DeviceKind::Cpu) {
        true => leases.machine().devices().await?,
        false => Devices { cuda: Err(String::new()), vulkan: Err(String::new()) },
    };
    let free_disk_bytes = free_bytes(jobs.0.dir.root()).await?;
    let world = World { devices, held: leases.held(), free_disk_bytes };
    let Schedule { starts, waits, wanted } = schedule(&queue, &world);
    for place in wanted {
        leases.want(place);
    }
    for (id, start) in starts {
        // An answer may have taken it since; when it is free again there is another pass.
        if let Some(lease) = leases.take(start.place, Holder::Job(id.clone())) {
            begin(jobs, id, start, lease);
        }
    }
    let is_watched = |reason| match reason {
        WaitingReason::GpuUnavailable | WaitingReason::DiskLow => true,
        WaitingReason::CpuBusy | WaitingReason::GpuBusy => false,
    };
    let look_again = waits.iter().any(|(_, waiting)| is_watched(waiting.reason)).then_some(LOOK_EVERY);
    // What is written already costs no transaction, since the same is found again every few seconds.
    let news: Vec<_> = waits.into_iter().filter(|(id, waiting)| told.get(id) != Some(waiting)).collect();
    if !news.is_empty() {
        jobs.0.store.set_waiting(news).await?;
    }
    Ok(look_again)
}

/// The queued jobs whose last worker is gone, and what was told of why they wait.
async fn candidates(jobs: &Jobs) -> Result<(Vec<Candidate>, HashMap<JobId, Waiting>), ServiceError> {
    let QueueSettings { min_free_disk_bytes } = settings(jobs).await?;
    let queue = jobs.0.store.queue().await?.into_iter();
    // The others' supervisors are about to leave, and tell when they have.
    let free = queue.filter(|queued| !jobs.0.active.has(&queued.id));
    let (mut candidates, mut told) = (Vec::new(), HashMap::new());
    for Queued { id, device, waiting, checkpoint_bytes } in free {
        told.extend(waiting.map(|waiting| (id.clone(), waiting)));
        candidates.push(Candidate {
            id,
            // Specs are judged before they are kept. What an older version let through is the worker's to refuse.
            device: device.parse().unwrap_or(DeviceKind::Cpu),
            needed_bytes: min_free_disk_bytes
                .saturating_add(checkpoint_bytes.saturating_mul(CHECKPOINTS_AT_ONCE)),
        });
    }
    Ok((candidates, told))
}

async fn free_bytes(directory: &Path) -> Result<Option<u64>, ServiceError> {
    let directory = directory.to_owned();
    let asked = tokio::task::spawn_blocking(move || doctor::free_bytes(&directory)).await;
    asked.map_err(|error| ServiceError::Internal(Box::new(error)))
}

/// Makes an attempt at a job beside the queue.
fn begin(jobs: &Jobs, id: JobId, Start { place, why }: Start, lease: Lease) {
    // The door first: whoever stops the job as soon as it is STARTING must find it, and the next pass sees it taken.
    let orders = jobs.0.active.enter(&id);
    let jobs = jobs.clone();
    info!(job.id = %id, %place, why, "a job starts");
    jobs.0.tasks.clone().spawn(async move {
        let given = Given { device: place.device().to_string(), why };
        if let Err(cause) = supervisor::attempt(&jobs, &id, given, orders).await {
            error!(job.id = %id, cause = &cause as &dyn std::error::Error, "an attempt was left by its supervisor");
            recover::left_by_its_supervisor(&jobs, &id).await;
        }
        jobs.0.active.leave(&id);
        drop(lease);
        jobs.0.queued.notify_one();
    });
}
