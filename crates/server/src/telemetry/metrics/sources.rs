//! What is looked at when somebody asks for the metrics.

use std::sync::Arc;

use ftl_core::job::{Exit, Job, State};
use ftl_core::metrics::Stepped;
use ftl_core::system::{Gpus, JobCount};
use ftl_core::{Event, JobId};
use ftl_store::{CommitTimes, Store, StoreError};
use ftl_trainer::doctor::free_bytes;
use tokio::sync::Semaphore;
use tracing::debug;

use super::process::{self, Process};
use crate::data_dir::DataDir;
use crate::telemetry::gpus::GpuReader;

/// Events among which a job's last step is looked for. A step is one, and between two there is little else.
const LAST_EVENTS: u64 = 64;

/// Where the service's numbers are.
#[derive(Clone)]
pub struct Sources {
    /// Jobs, attempts, steps.
    pub store: Store,
    /// The disk.
    pub dir: DataDir,
    /// The GPUs.
    pub gpus: GpuReader,
    /// Streams that may still be opened.
    pub streams: Vec<(Arc<Semaphore>, usize)>,
    /// When the service was started.
    pub started_unix_ms: u64,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The numbers of a moment.
pub(super) struct Moment {
    pub(super) jobs: Vec<JobCount>,
    pub(super) attempts: Vec<(Exit, u64)>,
    pub(super) at_work: Vec<AtWork>,
    pub(super) commits: CommitTimes,
    pub(super) n_streams: usize,
    pub(super) most_streams: usize,
    pub(super) gpus: Gpus,
    pub(super) process: Option<Process>,
    pub(super) started_unix_ms: u64,
    pub(super) free_disk_bytes: Option<u64>,
    pub(super) database_bytes: Option<u64>,
}

/// A job that a worker is at.
pub(super) struct AtWork {
    pub(super) id: JobId,
    pub(super) step: u64,
    pub(super) total_steps: Option<u64>,
    /// The last step that it told of.
    pub(super) last: Option<Stepped>,
}

impl Sources {
    /// Looks at everything.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn look(&self) -> Result<Moment, StoreError> {
        let jobs = self.store.job_counts().await?;
        let attempts = self.store.exit_counts().await?;
        let mut at_work = Vec::new();
        for job in self.store.jobs_in(&[State::Running, State::Stopping]).await? {
            at_work.push(self.at_work(job).await?);
        }
        let (dir, reader) = (self.dir.clone(), self.gpus.clone());
        // The driver and a disk may take their time.
        let looked = tokio::task::spawn_blocking(move || {
            let database_bytes = std::fs::metadata(dir.database()).ok().map(|file| file.len());
            (reader.read(), process::read(), free_bytes(dir.root()), database_bytes)
        });
        let (gpus, process, free_disk_bytes, database_bytes) = looked.await.unwrap_or_else(|error| {
            debug!(%error, "the machine could not be looked at");
            (Gpus::Absent { reason: "it could not be looked at".to_owned() }, None, None, None)
        });
        Ok(Moment {
            jobs,
            attempts,
            at_work,
            commits: self.store.commit_times(),
            n_streams: self
                .streams
                .iter()
                .map(|(free, most)| most.saturating_sub(free.available_permits()))
                .sum(),
            most_streams: self.streams.iter().map(|(_, most)| most).sum(),
            gpus,
            process,
            started_unix_ms: self.started_unix_ms,
            free_disk_bytes,
            database_bytes,
        })
    }

    async fn at_work(&self, job: Job) -> Result<AtWork, StoreError> {
        let after = job.seq.saturating_sub(LAST_EVENTS);
        let events = match self.store.metrics_after(&job.id, after, LAST_EVENTS as u32).await {
            Ok(events) => events,
            // Deleted since the list was read.
            Err(StoreError::NotFound) => Vec::new(),
            Err(error) => return Err(error),
        };
        let last = events.into_iter().rev().find_map(|event| match event.record.event {
            Event::Stepped(stepped) => Some(stepped),
            Event::State { .. }
            | Event::Phase { .. }
            | Event::Note { .. }
            | Event::Evaluated(_)
            | Event::Sampled(_)
            | Event::Saved { .. }
            | Event::Removed { .. }
            | Event::Damaged { .. }
            | Event::Exported { .. } => None,
        });
        Ok(AtWork { id: job.id, step: job.progress.step, total_steps: job.progress.total_steps, last })
    }
}
