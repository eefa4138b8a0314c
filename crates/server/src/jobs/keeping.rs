//! Keeping what a worker reports, also where the store can't be written for a while: a full disk must not end a worker
//! that does well.
//!
//! Nothing is gathered in memory meanwhile. The worker's journal has every event, so whatever the store did not take
//! is read from there when it takes something again, and only then what is newer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::job::{Job, State};
use ftl_core::{EventRecord, JobId};
use ftl_store::{Change, StoreError};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Shared;
use super::supervisor::catch_up;
use crate::error::ServiceError;
use crate::worker::Training;

/// How long to wait after the store refused, before it is asked again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What of an attempt's reports is kept, and what is still owed to the store.
pub(super) struct Keeping<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Job,
    attempt: u32,
    running: Kept,
    events: Kept,
    /// When the store refused last.
    refused: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Or there is nothing to keep.
    All,
    /// The store refused, and has not taken it since.
    Owed,
}

impl<'a> Keeping<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, job: &'a Job, attempt: u32) -> Self {
        Self { shared, job, attempt, running: Kept::All, events: Kept::All, refused: None }
    }

    pub(super) fn shared(&self) -> &'a Arc<Shared> {
        self.shared
    }

    /// The worker has the job's lock: RUNNING, unless somebody stopped or cancelled the job in the meantime.
    pub(super) async fn started(&mut self, training: &Training) {
        match run(self.shared, &self.job.id).await {
            Ok(Started::Runs) => self.running = Kept::All,
            Ok(Started::IsStopping) => {
                self.running = Kept::All;
                training.stop();
            }
            Ok(Started::IsOver) => {
                self.running = Kept::All;
                training.kill();
            }
            Err(cause) => {
                self.running = Kept::Owed;
                self.refused_by(&cause);
            }
        }
    }

    /// Events of the worker, which are in its journal too.
    pub(super) async fn events(&mut self, records: Vec<EventRecord>) {
        // Newer ones must not overtake those that are owed: what is kept of an attempt has no gaps.
        if self.events == Kept::Owed {
            return;
        }
        if let Err(error) = self.shared.store.append_events(&self.job.id, self.attempt, records).await {
            self.events = Kept::Owed;
            self.refused_by(&error.into());
        }
    }

    /// Asks the store again for what it refused, not too often. The worker's heartbeat calls it.
    pub(super) async fn again(&mut self, training: &Training) {
        if self.refused.is_some_and(|refused| refused.elapsed() < RETRY_AFTER) {
            return;
        }
        if self.running == Kept::Owed {
            self.started(training).await;
        }
        if self.running == Kept::All && self.events == Kept::Owed {
            match catch_up(self.shared, self.job, self.attempt).await {
                Ok(()) => self.events = Kept::All,
                Err(cause) => self.refused_by(&cause),
            }
        }
        if self.refused.is_some() && (self.running, self.events) == (Kept::All, Kept::All) {
            self.refused = None;
            info!(job.id = %self.job.id, attempt = self.attempt, "the store takes what the worker reports again");
        }
    }

    fn refused_by(&mut self, cause: &ServiceError) {
        self.refused = Some(Instant::now());
        warn!(
            job.id = %self.job.id,
            attempt = self.attempt,
            cause = cause as &dyn std::error::Error,
            "what a worker reported can't be kept now; it works on, and its journal has it"
        );
    }
}

/// Where a job stands whose worker has begun.
pub(super) enum Started {
    Runs,
    /// Somebody asked to stop it before it ran.
    IsStopping,
    /// Somebody cancelled it before it ran.
    IsOver,
}

/// Makes a job whose worker has begun RUNNING.
pub(super) async fn run(shared: &Arc<Shared>, id: &JobId) -> Result<Started, ServiceError> {
    let change = Change { to: State::Running, reason: None, problems: Vec::new() };
    match shared.store.transition(id, change).await {
        Ok(_) => Ok(Started::Runs),
        Err(StoreError::Illegal(illegal)) => match illegal.from {
            // An earlier try was stored, though nobody could say so.
            State::Running => Ok(Started::Runs),
            State::Stopping => Ok(Started::IsStopping),
            State::Queued
            | State::Starting
            | State::Stopped
            | State::Interrupted
            | State::Succeeded
            | State::Failed
            | State::Cancelled => Ok(Started::IsOver),
        },
        Err(error) => Err(error.into()),
    }
}

/// Does what must not be left undone, again and again until the store takes it, or the service ends: the next one
/// finds the job as it is and goes on from there.
pub(super) async fn until_kept<T, F: Future<Output = Result<T, ServiceError>>>(
    shared: &Shared,
    id: &JobId,
    mut what: impl FnMut() -> F,
) -> Result<T, ServiceError> {
    loop {
        let cause = match what().await {
            Ok(done) => return Ok(done),
            // Not the store's fault, and no different the next time.
            Err(cause @ (ServiceError::NotFound { .. } | ServiceError::Transition(_))) => return Err(cause),
            Err(cause) => cause,
        };
        warn!(job.id = %id, cause = &cause as &dyn std::error::Error, "what became of a job can't be kept now");
        tokio::select! {
            () = tokio::time::sleep(RETRY_AFTER) => {}
            () = shared.ending.cancelled() => return Err(cause),
        }
    }
}
