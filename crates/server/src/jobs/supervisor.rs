//! One attempt at a job: starts a worker, keeps what it reports, and says what its end means.

use std::sync::Arc;

use ftl_core::job::{Attempt, Exit, Job, State};
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_store::{AttemptEnd, Change};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::verdict::{Onward, after_exit, onward};
use super::{Jobs, Order, Shared, start_from};
use crate::error::ServiceError;
use crate::worker::journal::read_journal;
use crate::worker::{Ending, Given, Report, TrainTask, Training};

/// Records of a journal that are kept in one go.
const RECORDS_AT_ONCE: usize = 1_000;

/// Makes an attempt at a queued job, where it was `given` to compute, and returns when its worker is gone and all is kept.
pub(super) async fn attempt(
    jobs: &Jobs,
    id: &JobId,
    given: Given,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Result<(), ServiceError> {
    let shared = &jobs.0;
    let attempt = match shared.store.begin_attempt(id).await {
        Ok(attempt) => attempt,
        // Cancelled or deleted since the queue was read.
        Err(ftl_store::StoreError::Illegal(_) | ftl_store::StoreError::NotFound) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let job = jobs.job(id).await?;
    info!(job.id = %id, attempt = attempt.number, "an attempt begins");
    let from = start_from::copy_of(&job);
    let (spec, directory) = (job.spec, job.directory);
    let task = TrainTask { spec, directory, attempt: attempt.number, from, given: Some(given) };
    let ending = match start(shared, task).await {
        Ok(training) => supervise(shared, id, &attempt, (training, &mut orders)).await?,
        Err(error) => not_started(&error),
    };
    settle(jobs, id, &attempt, ending).await
}

async fn start(shared: &Arc<Shared>, task: TrainTask) -> Result<Training, ServiceError> {
    std::fs::create_dir_all(&task.directory)?;
    shared.workers.train(task).await
}

fn not_started(error: &ServiceError) -> Ending {
    let problem = match error {
        ServiceError::Worker(problem) => problem.clone(),
        other => Problem::new(ProblemKind::Worker, format!("the worker could not be started: {other}")),
    };
    Ending { exit: Exit::SpawnFailed, problems: vec![problem], log_tail: None, finished: false }
}

/// Follows a worker to its end.
async fn supervise(
    shared: &Arc<Shared>,
    id: &JobId,
    attempt: &Attempt,
    (mut training, orders): (Training, &mut mpsc::UnboundedReceiver<Order>),
) -> Result<Ending, ServiceError> {
    let mut is_ending = false;
    loop {
        tokio::select! {
            report = training.next() => match report {
                Some(Report::Started) => started(shared, id, &training).await?,
                Some(Report::Events(records)) => {
                    shared.store.append_events(id, attempt.number, records).await?;
                }
                Some(Report::Heartbeat { step, phase }) => {
                    debug!(job.id = %id, step, ?phase, "the worker lives");
                }
                None => return Ok(training.wait().await),
            },
            Some(order) = orders.recv() => match order {
                Order::Stop => training.stop(),
                Order::Kill => training.kill(),
            },
            () = shared.ending.cancelled(), if !is_ending => {
                is_ending = true;
                training.terminate();
            }
            () = shared.killing.cancelled() => training.kill(),
        }
    }
}

/// The worker has the job's lock: RUNNING, unless somebody stopped or cancelled the job in the meantime.
async fn started(shared: &Arc<Shared>, id: &JobId, training: &Training) -> Result<(), ServiceError> {
    let change = Change { to: State::Running, reason: None, problems: Vec::new() };
    match shared.store.transition(id, change).await {
        Ok(_) => Ok(()),
        Err(ftl_store::StoreError::Illegal(illegal)) => {
            match illegal.from {
                State::Stopping => training.stop(),
                State::Queued
                | State::Starting
                | State::Running
                | State::Stopped
                | State::Interrupted
                | State::Succeeded
                | State::Failed
                | State::Cancelled => training.kill(),
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps the end of an attempt, and what it means for the job.
async fn settle(jobs: &Jobs, id: &JobId, attempt: &Attempt, ending: Ending) -> Result<(), ServiceError> {
    let shared = &jobs.0;
    let job = jobs.job(id).await?;
    catch_up(shared, &job, attempt.number).await?;
    let Ending { exit, problems, log_tail, finished: _ } = ending;
    let exit = match (job.state, exit) {
        (State::Cancelled, _) => Exit::Cancelled,
        (_, exit) => exit,
    };
    let change = after_exit(exit, job.state, problems);
    let is_interrupted = change.as_ref().is_some_and(|change| change.to == State::Interrupted);
    let end = AttemptEnd { exit, log_tail, change };
    let job = shared.store.end_attempt(id, attempt.number, end).await?;
    info!(job.id = %id, attempt = attempt.number, ?exit, job.state = %job.state, "an attempt ended");
    if is_interrupted && !shared.ending.is_cancelled() {
        go_on(jobs, id).await?;
    }
    Ok(())
}

/// Queues an interrupted job again, or gives it up.
pub(super) async fn go_on(jobs: &Jobs, id: &JobId) -> Result<(), ServiceError> {
    let shared = &jobs.0;
    let attempts = shared.store.attempts(id).await?;
    let checkpoints = shared.store.checkpoints(id).await?;
    let job = jobs.job(id).await?;
    let change = match onward(&attempts, &checkpoints) {
        Onward::Queue => {
            Change { to: State::Queued, reason: Some("goes on by itself".to_owned()), problems: Vec::new() }
        }
        Onward::GiveUp => {
            warn!(job.id = %id, "a job died too often without getting on");
            Change {
                to: State::Failed,
                reason: Some("its workers died one after the other without getting on".to_owned()),
                problems: job.problems,
            }
        }
    };
    match shared.store.transition(id, change).await {
        Ok(_) => {}
        // Resumed, cancelled or deleted by a person in the meantime.
        Err(ftl_store::StoreError::Illegal(_) | ftl_store::StoreError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    shared.queued.notify_one();
    Ok(())
}

/// Keeps what the worker wrote into its journal and nobody has kept yet: what a dead server did not read.
pub(super) async fn catch_up(shared: &Arc<Shared>, job: &Job, attempt: u32) -> Result<(), ServiceError> {
    let after = shared.store.last_attempt_seq(&job.id, attempt).await?;
    let (store, id, directory) = (shared.store.clone(), job.id.clone(), job.directory.clone());
    let reading = tokio::task::spawn_blocking(move || -> Result<u64, ServiceError> {
        let mut journal = read_journal(&directory, attempt, after)?;
        let mut n_kept = 0;
        loop {
            let mut records = Vec::new();
            let mut broken = None;
            for record in journal.by_ref().take(RECORDS_AT_ONCE) {
                match record {
                    Ok(record) => records.push(record),
                    Err(error) => broken = Some(error),
                }
            }
            n_kept += records.len() as u64;
            if !records.is_empty() {
                store.append_events(&id, attempt, records).wait()?;
            } else if broken.is_none() {
                return Ok(n_kept);
            }
            if let Some(error) = broken {
                // What could be read is kept, and the job is not held up by what could not.
                warn!(job.id = %id, attempt, %error, "the worker's journal is damaged");
                return Ok(n_kept);
            }
        }
    });
    let n_kept = reading.await.map_err(|error| ServiceError::Internal(Box::new(error)))??;
    if n_kept > 0 {
        info!(job.id = %job.id, attempt, n_events = n_kept, "events were taken from the worker's journal");
    }
    Ok(())
}
