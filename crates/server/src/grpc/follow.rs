//! Streams of a job's events: pulled by a cursor, so that a slow subscriber holds nothing but its own place.
//!
//! What lies far back is replayed: read from the store in parts, a few readers at a time and in the order in which they
//! asked. A permit to read is given back before anything is sent, so a client that does not read holds nobody up; and
//! the more streams replay, the smaller the parts that each has in memory. What was committed last is taken from the
//! job's [`tail`](super::tail), which is read once for all that follow it. A stream ends when the job is at rest and
//! everything was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_stream::try_stream;
use ftl_client::wire::v1;
use ftl_core::job::JobEvent;
use ftl_core::{Event, JobId, Problem, ProblemKind};
use ftl_store::{Reply, Store, StoreError};
use futures_util::StreamExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::tail::{Behind, Standing, Tails};
use super::{Answers, Api};
use crate::error::ServiceError;

/// Streams of events that may be open at once. Each that waits for news costs some KiB.
pub const MAX_FOLLOWERS: usize = 4_096;
/// Parts that are read at once: as many as the store has readers, less one for short questions.
const MAX_READING: usize = 3;
/// Events of all replays that are in memory together, as far as their smallest parts allow.
const MAX_REPLAYED: usize = 16_384;
/// Events of a part of a replay.
const PART: std::ops::RangeInclusive<usize> = 32..=1_000;
/// Events that are taken from a tail at once, so that one who does not read holds few.
const N_TAKEN: usize = 64;
/// A stream that says nothing for so long sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What is read of a job, and as what it is sent.
pub(super) struct Kind<T> {
    /// Reads events after a number, at most so many.
    pub(super) read: fn(&Store, &JobId, u64, u32) -> Reply<Vec<JobEvent>>,
    /// Whether an event is among those that `read` reads.
    pub(super) has: fn(&Event) -> bool,
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

/// What all streams of events share.
pub(super) struct Following {
    pub(super) open: Arc<Semaphore>,
    reading: Semaphore,
    n_replaying: AtomicUsize,
    tails: Tails,
}

impl Following {
    pub(super) fn new() -> Self {
        Self {
            open: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            reading: Semaphore::new(MAX_READING),
            n_replaying: AtomicUsize::new(0),
            tails: Tails::default(),
        }
    }

    /// Counts a stream that replays, until the guard is dropped.
    fn replaying(&self) -> Replaying<'_> {
        self.n_replaying.fetch_add(1, Ordering::Relaxed);
        Replaying(&self.n_replaying)
    }
}

struct Replaying<'a>(&'a AtomicUsize);

impl Replaying<'_> {
    /// How large a part may be now.
    fn part(&self) -> u32 {
        let n_replaying = self.0.load(Ordering::Relaxed).max(1);
        let part = (MAX_REPLAYED / n_replaying).clamp(*PART.start(), *PART.end());
        u32::try_from(part).unwrap_or(u32::MAX)
    }
}

impl Drop for Replaying<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
        let slot = self.follower()?;
        let job = self.job(&id).await?;
        let committed_seq = job.seq;
        if after_seq > committed_seq {
            return Err(beyond(after_seq, committed_seq));
        }
        let api = self.clone();
        let stream = try_stream! {
            let _slot = slot;
            let shutdown = api.0.parts.shutdown.clone();
            let following = &api.0.following;
            let tail = following.tails.of(api.store(), &api.0.parts.commits, &job);
            let mut news = tail.news();
            let mut cursor = after_seq;
            let mut last_sent = Instant::now();
            drop(job);
            // A tail that others follow may not have come so far yet.
            api.until_shutdown(async { Ok(news.wait_for(|until| *until >= committed_seq).await.map(drop)) })
                .await?
                .map_err(|_| ServiceError::ShuttingDown)?;
            loop {
                // First what lies further back than the tail.
                let mut replaying = None;
                let (events, standing) = loop {
                    if until == Until::Rest {
                        news.mark_unchanged();
                        let behind = tail.behind(cursor, N_TAKEN).map_err(|error| gone(error, &id))?;
                        if let Behind::Events(events, standing) = behind {
                            break (events, standing);
                        }
                    }
                    let replaying = replaying.get_or_insert_with(|| following.replaying());
                    let known = if until == Until::Rest { tail.until() } else { committed_seq };
                    let size = replaying.part();
                    let part = api.part(&id, cursor, size, &kind).await?;
                    let is_last = part.len() < size as usize;
                    for event in part {
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
                    if is_last && until == Until::Committed {
                        return;
                    }
                    if is_last {
                        // What is no event of this kind needs no sending.
                        cursor = cursor.max(known);
                    }
                };
                drop(replaying);
                for event in events {
                    cursor = event.record.seq;
                    if (kind.has)(&event.record.event) {
                        yield (kind.event)(event.into());
                        last_sent = Instant::now();
                    }
                    if shutdown.is_cancelled() {
                        Err(ServiceError::ShuttingDown)?;
                    }
                }
                match standing {
                    None => continue,
                    Some(Standing::AtRest) => return,
                    Some(Standing::GoesOn) => {}
                }
                let woken = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => Woken::Shutdown,
                    // The sender is in the tail, which is held here.
                    _ = news.changed() => Woken::Committed,
                    () = tokio::time::sleep_until(last_sent + HEARTBEAT) => Woken::Silence,
                };
                match woken {
                    Woken::Committed => {}
                    Woken::Silence => {
                        // A job that was deleted commits nothing any more.
                        api.job(&id).await?;
                        yield (kind.heartbeat)(v1::Heartbeat { seq: cursor });
                        last_sent = Instant::now();
                    }
                    Woken::Shutdown => Err(ServiceError::ShuttingDown)?,
                }
            }
        };
        Ok(stream.map(|item: Result<T, ServiceError>| item.map_err(Status::from)).boxed())
    }

    /// A part of a replay, when it is this stream's turn. Read by a task of its own: a stream whose client does not read
    /// is not polled, and would keep the permit that it was given or waits for.
    async fn part<T>(
        &self,
        id: &JobId,
        after_seq: u64,
        size: u32,
        kind: &Kind<T>,
    ) -> Result<Vec<JobEvent>, ServiceError> {
        let (api, of, read) = (self.clone(), id.clone(), kind.read);
        let reading = AbortOnDropHandle::new(tokio::spawn(async move {
            let turn = api.0.following.reading.acquire().await;
            let _turn = turn.map_err(|_| StoreError::Closed)?;
            read(api.store(), &of, after_seq, size).await
        }));
        let done = self
            .until_shutdown(async { reading.await.map_err(|error| ServiceError::Internal(Box::new(error))) });
        done.await?.map_err(|error| gone(error, id))
    }
}

/// Of a job that was deleted while it was followed.
fn gone(error: StoreError, id: &JobId) -> ServiceError {
    ServiceError::from(error).about("job", id)
}

fn beyond(after_seq: u64, seq: u64) -> ServiceError {
    let message = format!("{after_seq} is beyond the job's last event, which is {seq}");
    Problem::new(ProblemKind::InvalidValue, message)
        .at("after_seq")
        .hint("send the number of the last event that you have of this job, or 0")
        .into()
}
