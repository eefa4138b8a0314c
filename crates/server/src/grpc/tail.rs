//! The last committed events of a job that is followed: read once for everybody who follows it.
//!
//! A thousand followers that each read the same five new rows would be a thousand questions to the store for each
//! COMMIT. One task for each job reads instead, and tells the followers, who copy. It is a task of its own since a
//! follower whose client does not read is not polled, and must hold up nobody. What lies further back is not here; who
//! needs it reads the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ftl_core::JobId;
use ftl_core::job::{Job, JobEvent};
use ftl_store::{Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::commits::Commits;

/// Events that are kept of a job: some seconds of the fastest one.
const MAX_EVENTS: usize = 1_024;
/// Events that are read at once.
const N_READ: u32 = 1_000;

/// The tails of all jobs that are followed.
#[derive(Default)]
pub(super) struct Tails(Mutex<HashMap<JobId, Weak<Tail>>>);

/// The last committed events of one job.
pub(super) struct Tail {
    known: Mutex<Known>,
    /// The number of the last event that is known.
    news: watch::Sender<u64>,
    /// Ends the task that reads.
    _reading: DropGuard,
}

struct Known {
    /// Without gaps; the last has the number `until`.
    events: VecDeque<JobEvent>,
    until: u64,
    standing: Standing,
    /// Why no more is read.
    failed: Option<StoreError>,
}

/// Whether more may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    GoesOn,
    /// It was at rest when its last event was read.
    AtRest,
}

/// What a tail has behind a number.
pub(super) enum Behind {
    /// These events, and where the job stood after the last one that is known, where these are all.
    Events(Vec<JobEvent>, Option<Standing>),
    /// They are further back.
    Older,
}

impl Tails {
    /// The tail of a job, shared with everybody who follows it.
    pub(super) fn of(&self, store: &Store, commits: &Commits, job: &Job) -> Arc<Tail> {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tails.get(&job.id).and_then(Weak::upgrade);
        if let Some(tail) = found.filter(|tail| tail.known().failed.is_none()) {
            return tail;
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let ended = CancellationToken::new();
        let known =
            Known { events: VecDeque::new(), until: job.seq, standing: standing(job, job.seq), failed: None };
        let tail = Arc::new(Tail {
            known: Mutex::new(known),
            news: watch::Sender::new(job.seq),
            _reading: ended.clone().drop_guard(),
        });
        tails.insert(job.id.clone(), Arc::downgrade(&tail));
        // What was committed since the job was read is read at once.
        let reading =
            read_on(store.clone(), job.id.clone(), commits.subscribe(&job.id), Arc::downgrade(&tail));
        tokio::spawn(ended.run_until_cancelled_owned(reading));
        tail
    }
}

impl Tail {
    /// Is told the number of the last event that is known.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The number of the last event that is known.
    pub(super) fn until(&self) -> u64 {
        self.known().until
    }

    /// At most `limit` events after the one with this number.
    ///
    /// # Errors
    /// Why no more is read; [`StoreError::NotFound`] where the job is gone.
    pub(super) fn behind(&self, seq: u64, limit: usize) -> Result<Behind, StoreError> {
        let known = self.known();
        let n_behind = known.until.saturating_sub(seq);
        let Some(skipped) = usize::try_from(n_behind).ok().and_then(|n| known.events.len().checked_sub(n))
        else {
            return Ok(Behind::Older);
        };
        if let (0, Some(error)) = (n_behind, &known.failed) {
            return Err(error.clone());
        }
        let events: Vec<JobEvent> = known.events.range(skipped..).take(limit).cloned().collect();
        let is_all = events.len() as u64 == n_behind && known.failed.is_none();
        Ok(Behind::Events(events, is_all.then_some(known.standing)))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is committed, as it is, until the store refuses or nobody follows any more.
async fn read_on(store: Store, id: JobId, mut commits: watch::Receiver<u64>, tail: Weak<Tail>) {
    loop {
        let Some(until) = tail.upgrade().map(|tail| tail.until()) else { return };
        let read = part(&store, &id, until).await;
        let Some(tail) = tail.upgrade() else { return };
        let is_all = match read {
            Ok((job, events)) => {
                let mut known = tail.known();
                let is_all = events.len() < N_READ as usize;
                known.until = events.last().map_or(until, |event| event.record.seq);
                known.standing = standing(&job, known.until);
                known.events.extend(events);
                let too_many = known.events.len().saturating_sub(MAX_EVENTS);
                known.events.drain(..too_many);
                is_all
            }
            Err(error) => {
                tail.known().failed = Some(error);
                // Whoever waits for a number stops waiting, and finds out why.
                tail.news.send_replace(u64::MAX);
                return;
            }
        };
        let until = tail.until();
        tail.news.send_if_modified(|told| std::mem::replace(told, until) != until);
        drop(tail);
        // The sender lives as long as the service.
        if is_all && commits.changed().await.is_err() {
            return;
        }
    }
}

async fn part(store: &Store, id: &JobId, after_seq: u64) -> Result<(Job, Vec<JobEvent>), StoreError> {
    // The job before its events: where it is at rest and has no later event, nothing follows.
    let job = store.job(id).await?.ok_or(StoreError::NotFound)?;
    Ok((job, store.events_after(id, after_seq, N_READ).await?))
}

fn standing(job: &Job, until: u64) -> Standing {
    if job.state.is_at_rest() && job.seq <= until { Standing::AtRest } else { Standing::GoesOn }
}
