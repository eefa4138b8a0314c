//! Keeps what a worker reports, and goes on where the store can't for a while: a disk that is full or does not answer is no
//! reason to end a worker that trains. Its journal has all that it says, so what could not be kept is taken from there
//! when the store is back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ftl_core::EventRecord;
use ftl_core::job::Job;
use ftl_store::StoreError;
use tracing::{info, warn};

use super::Shared;
use crate::worker::journal::{journal_path, read_journal};

/// How long to wait before a store that refused is asked again. Each time the journal is read up to what is kept.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Records of a journal that are kept in one go.
const RECORDS_AT_ONCE: usize = 1_000;

/// Keeps the events of one attempt.
pub(super) struct Keeper<'a> {
    shared: &'a Arc<Shared>,
    job: &'a Job,
    attempt: u32,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// All that was reported is kept.
    Current,
    /// The store refused something at this moment; the rest waits in the journal.
    Behind { refused: Instant },
}

impl<'a> Keeper<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, job: &'a Job, attempt: u32) -> Self {
        Self { shared, job, attempt, standing: Standing::Current }
    }

    /// Keeps these, now or later.
    ///
    /// # Errors
    /// Events that the store will never take.
    pub(super) async fn keep(&mut self, records: Vec<EventRecord>) -> Result<(), StoreError> {
        match self.standing {
            Standing::Current => {}
            Standing::Behind { refused: _ } => return Ok(()),
        }
        match self.shared.store.append_events(&self.job.id, self.attempt, records).await {
            Ok(_) => Ok(()),
            Err(error) if error.may_pass() => {
                warn!(job.id = %self.job.id, %error, "events can't be kept for now; they are in the worker's journal");
                self.standing = Standing::Behind { refused: Instant::now() };
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes from the journal what could not be kept, where it is time to ask again and the store takes it now.
    ///
    /// # Errors
    /// Events that the store will never take.
    pub(super) async fn try_again(&mut self) -> Result<(), StoreError> {
        match self.standing {
            Standing::Behind { refused } if refused.elapsed() >= RETRY_AFTER => {}
            Standing::Current | Standing::Behind { refused: _ } => return Ok(()),
        }
        self.standing = match catch_up(self.shared, self.job, self.attempt).await {
            Ok(()) => Standing::Current,
            Err(error) if error.may_pass() => Standing::Behind { refused: Instant::now() },
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// Asks the store until it answers, or refuses for a reason that does not pass. When the service ends it is asked once
/// more: the next service finds the job as it is.
pub(super) async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    shared: &Shared,
    mut ask: impl FnMut() -> F,
) -> Result<T, StoreError> {
    loop {
        match ask().await {
            Err(error) if error.may_pass() && !shared.ending.is_cancelled() => {
                warn!(%error, "the store can't answer for now and is asked again");
                tokio::select! {
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                    () = shared.ending.cancelled() => {}
                }
            }
            answer => return answer,
        }
    }
}

/// Keeps what the worker wrote into its journal and nobody has kept yet: what a dead server did not read, or a store did
/// not take.
///
/// # Errors
/// What the store refuses, and a journal that can't be opened. A damaged one is none: what could be read is kept.
pub(super) async fn catch_up(shared: &Arc<Shared>, job: &Job, attempt: u32) -> Result<(), StoreError> {
    let after = shared.store.last_attempt_seq(&job.id, attempt).await?;
    let (store, id, directory) = (shared.store.clone(), job.id.clone(), job.directory.clone());
    let reading = tokio::task::spawn_blocking(move || -> Result<u64, StoreError> {
        let opened = read_journal(&directory, attempt, after);
        let mut journal = opened.map_err(|source| StoreError::File {
            path: journal_path(&directory, attempt),
            source: Arc::new(source),
        })?;
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
    let n_kept = reading.await.map_err(|error| StoreError::Panicked(error.to_string()))??;
    if n_kept > 0 {
        info!(job.id = %job.id, attempt, n_events = n_kept, "events were taken from the worker's journal");
    }
    Ok(())
}
