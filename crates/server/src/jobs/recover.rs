//! At start: attempts that nobody saw end, because the server or the host died.
//!
//! Their jobs are INTERRUPTED before the API opens. A worker may live on for some seconds, since it saves when its
//! server is gone: the job is queued again when the worker's lock on the job's directory is free and its journal has
//! been read.

use std::time::Duration;

use ftl_core::job::{Exit, Job, State};
use ftl_core::{Problem, ProblemKind};
use ftl_store::{AttemptEnd, Change};
use tracing::{error, info};

use super::Jobs;
use super::checkpoints::look_over;
use super::keep::{catch_up, insist};
use super::supervisor::go_on;
use super::verdict::after_exit;
use crate::error::ServiceError;
use crate::worker::lock;

/// How often an orphan's lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Marks what was left behind, and lets each job go on when its worker is gone.
pub(super) async fn recover(jobs: &Jobs) -> Result<(), ServiceError> {
    let states = [State::Starting, State::Running, State::Stopping, State::Interrupted];
    for job in jobs.0.store.jobs_in(&states).await? {
        info!(job.id = %job.id, job.state = %job.state, "a job was left behind by an earlier service");
        let job = match job.state {
            State::Starting | State::Running => lost(jobs, &job).await?,
            // STOPPING stays until its worker has saved; INTERRUPTED it is already.
            State::Stopping | State::Interrupted => job,
            State::Queued | State::Stopped | State::Succeeded | State::Failed | State::Cancelled => continue,
        };
        let going_on = jobs.clone();
        jobs.0.tasks.spawn(async move {
            if let Err(cause) = settle(&going_on, &job).await {
                error!(job.id = %job.id, cause = &cause as &dyn std::error::Error, "a job that was left behind does not go on");
            }
        });
    }
    Ok(())
}

async fn lost(jobs: &Jobs, job: &Job) -> Result<Job, ServiceError> {
    let problem =
        Problem::new(ProblemKind::Worker, "the service or the computer went down while it was trained");
    let end = AttemptEnd {
        exit: Exit::Lost,
        log_tail: None,
        change: after_exit(Exit::Lost, job.state, vec![problem]),
    };
    Ok(jobs.0.store.end_attempt(&job.id, job.n_attempts, end).await?)
}

async fn settle(jobs: &Jobs, job: &Job) -> Result<(), ServiceError> {
    while !lock::is_free(&job.directory)? {
        tokio::select! {
            () = tokio::time::sleep(TRY_EVERY) => {}
            // The next service finds the job as it is.
            () = jobs.0.ending.cancelled() => return Ok(()),
        }
    }
    insist(&jobs.0, || async { catch_up(&jobs.0, job, job.n_attempts).await }).await?;
    look_over(&jobs.0, job, job.n_attempts).await;
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
