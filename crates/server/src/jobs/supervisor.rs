//! One attempt at a job: starts a worker, keeps what it reports, and says what its end means.

use std::sync::Arc;

use ftl_core::job::{Exit, Job, State};
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_store::{AttemptEnd, Change, StoreError};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::keeping::{Keeping, run, until_kept};
use super::verdict::{Onward, after_exit, onward};
use super::{Jobs, Order, Shared};
use crate::error::ServiceError;
use crate::worker::journal::read_journal;
use crate::worker::{Ending, Report, TrainTask, Training};

/// Records of a journal that are kept in one go.
const RECORDS_AT_ONCE: usize = 1_000;

/// Makes an attempt at a queued job and returns when its worker is gone and all is kept.
pub(super) async fn attempt(jobs: &Jobs, id: &JobId) -> Result<(), ServiceError> {
    let shared = &jobs.0;
    // The door first: whoever stops the job as soon as it is STARTING must find it.
    let mut orders = shared.active.enter(id);
    let result = attempt_with_door(jobs, id, &mut orders).await;
    shared.active.leave(id);
    result
}

async fn attempt_with_door(
    jobs: &Jobs,
    id: &JobId,
    orders: &mut mpsc::UnboundedReceiver<Order>,
) -> Result<(), ServiceError> {
    let shared = &jobs.0;
    // Before the attempt begins, so that nothing can fail between its beginning and its worker.
    let job = jobs.job(id).await?;
    let Some(attempt) = begin(jobs, &job).await? else { return Ok(()) };
    info!(job.id = %id, attempt, "an attempt begins");
    let task = TrainTask { spec: job.spec.clone(), directory: job.directory.clone(), attempt };
    let ending = match start(shared, task).await {
        Ok(training) => supervise(Keeping::new(shared, &job, attempt), (training, orders)).await,
        Err(error) => not_started(&error),
    };
    let end = until_kept(shared, id, || settle(jobs, id, attempt, &ending)).await?;
    if end == End::Interrupted && !shared.ending.is_cancelled() {
        until_kept(shared, id, || go_on(jobs, id)).await?;
    }
    Ok(())
}

/// The number of the attempt; none where the job is not queued any more.
async fn begin(jobs: &Jobs, job: &Job) -> Result<Option<u32>, ServiceError> {
    let shared = &jobs.0;
    match shared.store.begin_attempt(&job.id).await {
        Ok(attempt) => Ok(Some(attempt.number)),
        // Cancelled or deleted since the queue was read.
        Err(StoreError::Illegal(_) | StoreError::NotFound) => Ok(None),
        // It may have begun, and would have no worker for ever: nobody else looks for it.
        Err(error @ StoreError::OutcomeUnknown(_)) => {
            let now = until_kept(shared, &job.id, || jobs.job(&job.id)).await?;
            if now.n_attempts > job.n_attempts { Ok(Some(now.n_attempts)) } else { Err(error.into()) }
        }
        Err(error) => Err(error.into()),
    }
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

/// Follows a worker to its end. Nothing that the store refuses ends a worker.
async fn supervise(
    mut keeping: Keeping<'_>,
    (mut training, orders): (Training, &mut mpsc::UnboundedReceiver<Order>),
) -> Ending {
    let shared = keeping.shared();
    let mut is_ending = false;
    loop {
        tokio::select! {
            report = training.next() => match report {
                Some(Report::Started) => keeping.started(&training).await,
                Some(Report::Events(records)) => keeping.events(records).await,
                Some(Report::Heartbeat { step, phase }) => {
                    debug!(step, ?phase, "the worker lives");
                    keeping.again(&training).await;
                }
                None => return training.wait().await,
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

/// What the end of an attempt is for its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It may go on by itself.
    Interrupted,
    /// It is as its state says.
    Other,
}

/// Keeps the end of an attempt, and what it means for the job. May be called again where it failed.
async fn settle(jobs: &Jobs, id: &JobId, attempt: u32, ending: &Ending) -> Result<End, ServiceError> {
    let shared = &jobs.0;
    let mut job = jobs.job(id).await?;
    catch_up(shared, &job, attempt).await?;
    let Ending { exit, problems, log_tail, finished: _ } = ending;
    if (job.state, exit) == (State::Starting, &Exit::Ok) {
        // That it ran could not be kept while it did.
        run(shared, id).await?;
        job = jobs.job(id).await?;
    }
    let exit = match (job.state, *exit) {
        (State::Cancelled, _) => Exit::Cancelled,
        (_, exit) => exit,
    };
    let change = after_exit(exit, job.state, problems.clone());
    let job = match shared
        .store
        .end_attempt(id, attempt, AttemptEnd { exit, log_tail: log_tail.clone(), change })
        .await
    {
        Ok(job) => job,
        // An earlier try was stored, though nobody could say so.
        Err(StoreError::AttemptEnded(_)) => job,
        Err(error) => return Err(error.into()),
    };
    info!(job.id = %id, attempt, ?exit, job.state = %job.state, "an attempt ended");
    Ok(if job.state == State::Interrupted { End::Interrupted } else { End::Other })
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
        Err(StoreError::Illegal(_) | StoreError::NotFound) => {}
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
        let mut journal = match read_journal(&directory, attempt, after) {
            Ok(journal) => journal,
            Err(error) => {
                warn!(job.id = %id, attempt, %error, "the worker's journal can't be read");
                return Ok(0);
            }
        };
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
