//! Streams of a job's events: pulled by a cursor, so that a slow subscriber holds nothing but its own place.
//!
//! What is committed is read in parts of a thousand and sent; then the stream waits until more is committed. It ends
//! when the job is at rest and everything was sent.

use std::time::Duration;

use async_stream::try_stream;
use ftl_client::wire::v1;
use ftl_core::job::JobEvent;
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_store::{Reply, Store};
use futures_util::StreamExt;
use tokio::time::Instant;
use tonic::Status;

use super::{Answers, Api};
use crate::error::ServiceError;

/// Events that are read at once.
const N_EVENTS: u32 = 1_000;
/// A stream that says nothing for so long sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What is read of a job, and as what it is sent.
pub(super) struct Kind<T> {
    /// Reads events after a number, at most so many.
    pub(super) read: fn(&Store, &JobId, u64, u32) -> Reply<Vec<JobEvent>>,
    /// An event as an item of the stream.
    pub(super) event: fn(v1::JobEvent) -> T,
    /// A heartbeat as an item of the stream.
    pub(super) heartbeat: fn(v1::Heartbeat) -> T,
}

/// How far a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The job is at rest.
    Rest,
    /// What was committed when it was asked for.
    Committed,
}

/// What ended a wait.
enum Woken {
    Committed,
    Silence,
    Shutdown,
}

impl Api {
    /// Follows a job's events after `after_seq`.
    pub(super) async fn follow<T: Send + 'static>(
        &self,
        id: JobId,
        after_seq: u64,
        until: Until,
        kind: Kind<T>,
    ) -> Result<Answers<T>, ServiceError> {
        let slot = self.slot()?;
        // Subscribe first and read then, so that nothing falls between.
        let mut commits = self.0.parts.commits.subscribe(&id);
        let committed_seq = self.job(&id).await?.seq;
        if after_seq > committed_seq {
            return Err(beyond(after_seq, committed_seq));
        }
        let api = self.clone();
        let stream = try_stream! {
            let _slot = slot;
            let shutdown = api.0.parts.shutdown.clone();
            let mut cursor = after_seq;
            let mut last_sent = Instant::now();
            loop {
                // The job before its events: what is at rest now has nothing after what is read next.
                let job = api.job(&id).await?;
                let events = (kind.read)(api.store(), &id, cursor, N_EVENTS).await.map_err(ServiceError::from)?;
                let is_all = events.len() < N_EVENTS as usize;
                for event in events {
                    if until == Until::Committed && event.record.seq > committed_seq {
                        return;
                    }
                    cursor = event.record.seq;
                    yield (kind.event)(event.into());
                    last_sent = Instant::now();
                    if shutdown.is_cancelled() {
                        Err(ServiceError::ShuttingDown)?;
                    }
                }
                if !is_all {
                    continue;
                }
                if until == Until::Committed || job.state.is_at_rest() {
                    return;
                }
                let woken = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => Woken::Shutdown,
                    // The sender lives as long as the service.
                    _ = commits.changed() => Woken::Committed,
                    () = tokio::time::sleep_until(last_sent + HEARTBEAT) => Woken::Silence,
                };
                match woken {
                    Woken::Committed => {}
                    Woken::Silence => {
                        yield (kind.heartbeat)(v1::Heartbeat { seq: job.seq });
                        last_sent = Instant::now();
                    }
                    Woken::Shutdown => Err(ServiceError::ShuttingDown)?,
                }
            }
        };
        Ok(stream.map(|item: Result<T, ServiceError>| item.map_err(Status::from)).boxed())
    }
}

fn beyond(after_seq: u64, seq: u64) -> ServiceError {
    let message = format!("{after_seq} is beyond the job's last event, which is {seq}");
    Problem::new(ProblemKind::InvalidValue, message)
        .at("after_seq")
        .hint("send the number of the last event that you have of this job, or 0")
        .into()
}
