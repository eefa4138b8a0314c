//! Attempts that nobody saw end: at start, because the server or the host died; later, because the store refused what their
//! supervisor had to keep.
//!
//! At start their jobs are INTERRUPTED before the API opens. A worker may live on for some seconds, since it saves when its
//! server is gone: the job is queued again when the worker's lock on the job's directory is free and its journal has
//! been read. Until then its place is taken too, so that no other job computes beside it.

use std::time::Duration;

use ftl_core::job::{Exit, Job, State};
use ftl_core::spec::resolved::DeviceKind;
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_store::{AttemptEnd, Change, StoreError};
use tracing::{error, info};

use super::Jobs;
use super::checkpoints::look_over;
use super::keep::{RETRY_AFTER, catch_up, insist};
use super::supervisor::go_on;
use super::verdict::after_exit;
use crate::error::ServiceError;
use crate::leases::{Devices, Holder, Lease, Place};
use crate::worker::lock;

/// Why an attempt is LOST that an earlier service began.
const WENT_DOWN: &str = "the service or the computer went down while it was trained";
/// Why one is LOST that this service began.
const NOT_KEPT: &str = "what its worker reported could not be kept, so the worker was ended";
/// How often an orphan's lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Marks what was left behind, and lets each job go on when its worker is gone.
pub(super) async fn recover(jobs: &Jobs) -> Result<(), ServiceError> {
    end_cancelled(jobs).await?;
    let states = [State::Starting, State::Running, State::Stopping, State::Interrupted];
    for job in jobs.0.store.jobs_in(&states).await? {
        info!(job.id = %job.id, job.state = %job.state, "a job was left behind by an earlier service");
        let job = match job.state {
            State::Starting | State::Running => lost(jobs, &job, WENT_DOWN).await?,
            // STOPPING stays until its worker has saved; INTERRUPTED it is already.
            State::Stopping | State::Interrupted => job,
            State::Queued | State::Stopped | State::Succeeded | State::Failed | State::Cancelled => continue,
        };
        let places = if lock::is_free(&job.directory)? { Vec::new() } else { places_of(jobs, &job).await? };
        let going_on = jobs.clone();
        jobs.0.tasks.spawn(async move {
            if let Err(cause) = settle(&going_on, &job, places).await {
                error!(job.id = %job.id, cause = &cause as &dyn std::error::Error, "a job that was left behind does not go on");
            }
        });
    }
    Ok(())
}

/// Ends an attempt whose supervisor could not keep what happened, as soon as the store takes it. The worker was killed
/// when its supervisor left.
pub(super) async fn left_by_its_supervisor(jobs: &Jobs, id: &JobId) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            // The next service finds the job as it is.
            () = jobs.0.ending.cancelled() => return,
        }
        match end_left(jobs, id).await {
            Ok(()) => return,
            Err(cause) => {
                error!(job.id = %id, cause = &cause as &dyn std::error::Error, "an attempt that was left can't be ended yet");
            }
        }
    }
}

async fn end_left(jobs: &Jobs, id: &JobId) -> Result<(), ServiceError> {
    let Some(job) = jobs.0.store.job(id).await? else { return Ok(()) };
    let job = match job.state {
        State::Starting | State::Running => lost(jobs, &job, NOT_KEPT).await?,
        State::Stopping | State::Interrupted => job,
        State::Cancelled => return end_one_cancelled(jobs, id, job.n_attempts).await,
        State::Queued | State::Stopped | State::Succeeded | State::Failed => return Ok(()),
    };
    settle(jobs, &job, Vec::new()).await
}

/// Ends the attempts of jobs that were given up, where the end itself was not kept: nothing follows from it.
async fn end_cancelled(jobs: &Jobs) -> Result<(), ServiceError> {
    for (id, attempt) in jobs.0.store.open_attempts(State::Cancelled).await? {
        end_one_cancelled(jobs, &id, attempt).await?;
    }
    Ok(())
}

async fn end_one_cancelled(jobs: &Jobs, id: &JobId, attempt: u32) -> Result<(), ServiceError> {
    let end = AttemptEnd { exit: Exit::Cancelled, log_tail: None, change: None };
    match jobs.0.store.end_attempt(id, attempt, end).await {
        // A job that was cancelled in the queue has no attempt, or one that ended long ago.
        Ok(_) | Err(StoreError::AttemptEnded(_) | StoreError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn lost(jobs: &Jobs, job: &Job, why: &str) -> Result<Job, ServiceError> {
    let problem = Problem::new(ProblemKind::Worker, why);
    let end = AttemptEnd {
        exit: Exit::Lost,
        log_tail: None,
        change: after_exit(Exit::Lost, job.state, vec![problem]),
    };
    Ok(jobs.0.store.end_attempt(&job.id, job.n_attempts, end).await?)
}

/// All places where the worker of a job may be. Which one it was given is not known any more.
async fn places_of(jobs: &Jobs, job: &Job) -> Result<Vec<Lease>, ServiceError> {
    let leases = jobs.0.workers.leases();
    let device = job.spec.device.kind.as_deref().unwrap_or("auto").parse().unwrap_or(DeviceKind::Auto);
    let gpus = |Devices { cuda, vulkan: _ }: Devices| -> Vec<Place> {
        cuda.unwrap_or_default().into_iter().map(Place::Cuda).collect()
    };
    let places = match device {
        DeviceKind::Cpu => vec![Place::Cpu],
        DeviceKind::Cuda(index) => vec![Place::Cuda(index)],
        DeviceKind::Vulkan(index) => vec![Place::Vulkan(index)],
        DeviceKind::AnyCuda => gpus(leases.machine().devices().await?),
        DeviceKind::Auto => {
            let mut places = gpus(leases.machine().devices().await?);
            places.push(Place::Cpu);
            places
        }
    };
    Ok(places.into_iter().map(|place| leases.found(place, Holder::Job(job.id.clone()))).collect())
}

async fn settle(jobs: &Jobs, job: &Job, places: Vec<Lease>) -> Result<(), ServiceError> {
    while !lock::is_free(&job.directory)? {
        tokio::select! {
            () = tokio::time::sleep(TRY_EVERY) => {}
            // The next service finds the job as it is.
            () = jobs.0.ending.cancelled() => return Ok(()),
        }
    }
    drop(places);
    let kept = insist(&jobs.0, || async {
        catch_up(&jobs.0, job, job.n_attempts).await?;
        look_over(&jobs.0, job, job.n_attempts).await
    });
    kept.await?;
    match job.state {
        State::Stopping => {
            let end = AttemptEnd {
                exit: Exit::Lost,
                log_tail: None,
                change: Some(Change {
                    to: State::Stopped,
                    reason: Some("the service went down while it was stopping".to_owned()),
                    problems: Vec::new(),
                }),
            };
            let store = &jobs.0.store;
            insist(&jobs.0, || async { store.end_attempt(&job.id, job.n_attempts, end.clone()).await })
                .await?;
            Ok(())
        }
        State::Queued
        | State::Starting
        | State::Running
        | State::Stopped
        | State::Interrupted
        | State::Succeeded
        | State::Failed
        | State::Cancelled => go_on(jobs, &job.id).await,
    }
}
