//! One attempt at a job: starts a worker, keeps what it reports, ends it when it does not get on, and says what its end
//! means.
//!
//! A store that can't answer for a while (a full disk, say) ends nothing here: the worker trains on, its journal has what
//! happened, and the state of the job is changed when the store is back.

use std::sync::Arc;
use std::time::Instant;

use ftl_core::job::{Exit, Job, State};
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_store::{AttemptEnd, Change, StoreError};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::advice::advised;
use super::checkpoints::look_over;
use super::keep::{Keeper, catch_up, insist};
use super::stall::{Beat, Condition, Watch};
use super::verdict::{Onward, after_exit, onward};
use super::{Jobs, Order, Shared, start_from};
use crate::error::ServiceError;
use crate::worker::{Ending, Given, Report, TrainTask, Training};

/// Makes an attempt at a queued job, where it was `given` to compute, and returns when its worker is gone and all is kept.
pub(super) async fn attempt(
    jobs: &Jobs,
    id: &JobId,
    given: Given,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Result<(), ServiceError> {
    let shared = &jobs.0;
    // Before the attempt begins, so that nothing can fail between its beginning and its worker.
    let job = existing(shared, id).await?;
    let Some(attempt) = begin(shared, &job).await? else { return Ok(()) };
    info!(job.id = %id, attempt, "an attempt begins");
    let device = given.device.clone();
    let task = TrainTask {
        spec: job.spec.clone(),
        directory: job.directory.clone(),
        attempt,
        from: start_from::copy_of(&job),
        given: Some(given),
    };
    let ending = match start(shared, task).await {
        Ok(training) => Supervision::new(shared, &job, attempt, training).follow(&mut orders).await,
        Err(error) => not_started(&error),
    };
    settle(jobs, (&job, device), attempt, ending).await
}

/// The number of the attempt; none where the job is not queued any more.
async fn begin(shared: &Shared, job: &Job) -> Result<Option<u32>, ServiceError> {
    match shared.store.begin_attempt(&job.id).await {
        Ok(attempt) => Ok(Some(attempt.number)),
        // Cancelled or deleted since the queue was read.
        Err(StoreError::Illegal(_) | StoreError::NotFound) => Ok(None),
        // It may have begun, and would have no worker for ever: nobody else looks for it.
        Err(error @ StoreError::OutcomeUnknown(_)) => {
            let now = existing(shared, &job.id).await?;
            if now.n_attempts > job.n_attempts { Ok(Some(now.n_attempts)) } else { Err(error.into()) }
        }
        Err(error) => Err(error.into()),
    }
}

async fn existing(shared: &Shared, id: &JobId) -> Result<Job, ServiceError> {
    let job = insist(shared, || async { shared.store.job(id).await }).await?;
    job.ok_or_else(|| ServiceError::NotFound { what: "job", id: id.to_string() })
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

/// A worker that is followed to its end.
struct Supervision<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Job,
    training: Training,
    keeper: Keeper<'a>,
    watch: Watch,
    entry: Entry,
    /// Why it was ended by us.
    ended_for: Option<Problem>,
}

/// Whether the job is known to be RUNNING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Its worker has not begun.
    NotYet,
    /// Its worker has begun, and the store has not taken it yet.
    Due,
    /// It is, or somebody stopped or cancelled it.
    Done,
}

impl<'a> Supervision<'a> {
    fn new(shared: &'a Arc<Shared>, job: &'a Job, attempt: u32, training: Training) -> Self {
        Self {
            shared,
            job,
            training,
            keeper: Keeper::new(shared, job, attempt),
            watch: Watch::new(shared.patience, Instant::now()),
            entry: Entry::NotYet,
            ended_for: None,
        }
    }

    async fn follow(mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Ending {
        let (ending, killing) = (self.shared.ending.clone(), self.shared.killing.clone());
        let mut is_ending = false;
        let mut looks = interval(self.watch.period());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What is left then is to read its journal to the end, which a look would interrupt again and again.
            let lives = !self.training.has_ended();
            tokio::select! {
                // Orders before reports, and reports before a look: what has been said counts.
                biased;
                () = killing.cancelled() => {
                    self.training.kill();
                    break;
                }
                () = ending.cancelled(), if !is_ending => {
                    is_ending = true;
                    self.training.terminate();
                }
                Some(order) = orders.recv() => match order {
                    Order::Stop => self.training.stop(),
                    Order::Save => self.training.save(),
                    Order::Kill => self.training.kill(),
                },
                report = self.training.next() => match report {
                    Some(report) => self.take(report).await,
                    None => break,
                },
                _ = looks.tick(), if lives => self.look().await,
            }
        }
        let ended = self.training.wait().await;
        match (self.ended_for, ended.exit) {
            (Some(problem), Exit::Crashed { .. }) => Ending { problems: vec![problem], ..ended },
            (Some(_) | None, _) => ended,
        }
    }

    async fn take(&mut self, report: Report) {
        match report {
            Report::Started => {
                self.watch.heard(Instant::now());
                self.entry = Entry::Due;
                self.enter().await;
            }
            Report::Events(records) => {
                self.watch.heard(Instant::now());
                if let Err(error) = self.keeper.keep(records).await {
                    self.refuse(&error);
                }
            }
            Report::Heartbeat { step, phase, pulse } => {
                self.watch.beat(Beat { step, phase, pulse }, Instant::now());
            }
        }
    }

    /// Looks whether the worker gets on, and catches up on what the store did not take.
    async fn look(&mut self) {
        if self.entry == Entry::Due {
            self.enter().await;
        }
        if let Err(error) = self.keeper.try_again().await {
            self.refuse(&error);
        }
        let condition = if self.training.is_paused() { Condition::Paused } else { Condition::Runs };
        if let (Some(stall), None) = (self.watch.look(condition, Instant::now()), &self.ended_for) {
            warn!(job.id = %self.job.id, pid = self.training.pid(), %stall, "a worker is ended");
            self.ended_for = Some(stall.problem());
            self.training.kill();
        }
    }

    /// The worker has the job's lock: RUNNING, unless somebody stopped or cancelled the job in the meantime.
    async fn enter(&mut self) {
        let change = Change { to: State::Running, reason: None, problems: Vec::new() };
        match self.shared.store.transition(&self.job.id, change).await {
            Ok(_) => self.entry = Entry::Done,
            Err(StoreError::Illegal(illegal)) => {
                self.entry = Entry::Done;
                match illegal.from {
                    State::Stopping => self.training.stop(),
                    // It was kept, though the store could not say so.
                    State::Running => {}
                    State::Queued
                    | State::Starting
                    | State::Stopped
                    | State::Interrupted
                    | State::Succeeded
                    | State::Failed
                    | State::Cancelled => self.training.kill(),
                }
            }
            Err(error) if error.may_pass() => {
                warn!(job.id = %self.job.id, %error, "the store does not take that a job runs; it is asked again");
            }
            Err(error) => {
                self.entry = Entry::Done;
                self.refuse(&error);
            }
        }
    }

    /// Ends a worker whose reports will never be kept.
    fn refuse(&mut self, error: &StoreError) {
        warn!(job.id = %self.job.id, %error, "what a worker reports can't be kept, and it is ended");
        let message = "what the worker reported could not be kept, and it was ended";
        let hint = "look at the log of the service; `ftl-server db check` judges its database";
        self.ended_for.get_or_insert(Problem::new(ProblemKind::Storage, message).hint(hint));
        self.training.kill();
    }
}

/// Keeps the end of an attempt, and what it means for the job. Where the store refuses for a reason that passes it is asked
/// until it does, so that no job is left in a state that nobody looks after.
async fn settle(
    jobs: &Jobs,
    (job, device): (&Job, String),
    attempt: u32,
    ending: Ending,
) -> Result<(), ServiceError> {
    let (shared, id) = (&jobs.0, &job.id);
    let kept = insist(shared, || async {
        catch_up(shared, job, attempt).await?;
        look_over(shared, job, attempt).await
    });
    match kept.await {
        Err(error) if !error.may_pass() => {
            // The end of the attempt is worth more than the events that can't be kept.
            warn!(job.id = %id, %error, "events of an attempt are not kept");
        }
        caught_up => caught_up?,
    }
    let Ending { exit, problems, log_tail, finished: _ } = ending;
    let mut spec = job.spec.clone();
    spec.device.kind = Some(device);
    let problems = tokio::select! {
        biased;
        // Advice is worth a minute, but not to a service that has 30 seconds to end.
        () = shared.ending.cancelled() => problems,
        advised = advised(&shared.workers, &spec, exit, problems.clone()) => advised,
    };
    let end = |state| {
        let exit = if state == State::Cancelled { Exit::Cancelled } else { exit };
        AttemptEnd { exit, log_tail: log_tail.clone(), change: after_exit(exit, state, problems.clone()) }
    };
    let ended = insist(shared, || async {
        // Asked anew each time: somebody may have stopped or cancelled the job since.
        let job = shared.store.job(id).await?.ok_or(StoreError::NotFound)?;
        match shared.store.end_attempt(id, attempt, end(job.state)).await {
            // A COMMIT whose outcome was unknown.
            Err(StoreError::AttemptEnded(_)) => shared.store.job(id).await?.ok_or(StoreError::NotFound),
            // The state changed between the two lines above.
            Err(StoreError::Illegal(_)) => Err(StoreError::Busy("the job's state was changed".to_owned())),
            ended => ended,
        }
    });
    let job = ended.await?;
    info!(job.id = %id, attempt, ?exit, job.state = %job.state, "an attempt ended");
    if job.state == State::Interrupted && !shared.ending.is_cancelled() {
        go_on(jobs, id).await?;
    }
    Ok(())
}

/// Queues an interrupted job again, or gives it up.
pub(super) async fn go_on(jobs: &Jobs, id: &JobId) -> Result<(), ServiceError> {
    let shared = &jobs.0;
    let (attempts, checkpoints, job) = insist(shared, || async {
        let attempts = shared.store.attempts(id).await?;
        let checkpoints = shared.store.checkpoints(id).await?;
        Ok((attempts, checkpoints, shared.store.job(id).await?.ok_or(StoreError::NotFound)?))
    })
    .await?;
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
    match insist(shared, || async { shared.store.transition(id, change.clone()).await }).await {
        Ok(_) => {}
        // Resumed, cancelled or deleted by a person in the meantime.
        Err(StoreError::Illegal(_) | StoreError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    shared.queued.notify_one();
    Ok(())
}
