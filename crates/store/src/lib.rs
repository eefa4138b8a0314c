//! What FineTune Lab remembers: jobs, their attempts, events and metrics, checkpoints and artifacts, imported datasets and
//! models, kept configs and settings, in one SQLite file.
//!
//! The crate opens the file, migrates it (`migrations/` at the top of the repository), writes through one thread and reads
//! through four. It speaks `ftl-core`'s types at its surface: rows and diesel never leave it. What a job should do is the
//! server's business; here are only the rules that must hold in the file whoever asks:
//!
//! - A job's state changes by [`State::transition`](ftl_core::job::State::transition) alone, together with the event that
//!   tells of it, in one transaction.
//! - A job's events are numbered from 1 without gaps, across attempts and kinds of events, in the order of their commits.
//! - Who is answered, or told by the callback of [`Store::open`], can read what was written: both come after COMMIT, and a
//!   COMMIT waits for the disk.
//! - What a worker reports can be sent twice; it is kept once.
//! - An attempt begins and ends in one transaction with its job's change of state.
//! - Only a job that is QUEUED has a place in the queue's order, and something that it waits for.
//! - A file of a newer version, or of another program, is refused and stays as it is to the byte. One of an older version
//!   is copied before it is migrated. One store at a time has a file open.
//!
//! Nothing here is async: every method sends work to a thread and gives a [`Reply`], which can be awaited on any executor
//! or waited for.
//!
//! ```
//! use ftl_core::job::State;
//! use ftl_core::{Event, EventRecord, JobId, JobSpec};
//! use ftl_store::{Change, NewJob, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("ftl.db");
//! let store = Store::open(&path, |job, seq| println!("{job} has events up to {seq}"))?;
//! let id = JobId::from_bits(7);
//! let job = NewJob {
//!     id: id.clone(),
//!     name: "first".to_owned(),
//!     spec: JobSpec::default(),
//!     directory: "/data/jobs/first".into(),
//!     request_id: None,
//!     parent: None,
//! };
//! store.create_job(job).wait()?; // event 1: QUEUED
//! let attempt = store.begin_attempt(&id).wait()?; // event 2: STARTING
//! let phase = ftl_core::job::Phase::Loading;
//! let loading = Event::Phase { phase, done: None, total: None, unit: None };
//! let record = EventRecord { seq: 1, time_unix_ms: 1_700_000_000_000, event: loading };
//! let last = store.append_events(&id, attempt.number, vec![record]).wait()?;
//! assert_eq!(last, 3);
//!
//! let to_running = Change { to: State::Running, reason: None, problems: vec![] };
//! assert_eq!(store.transition(&id, to_running).wait()?.seq, 4);
//! let seqs: Vec<u64> =
//!     store.events_after(&id, 1, 100).wait()?.iter().map(|event| event.record.seq).collect();
//! assert_eq!(seqs, [2, 3, 4]);
//! # Ok(())
//! # }
//! ```

mod append;
mod attempts;
mod backup;
mod check;
mod checkpoints;
mod clock;
mod configs;
mod connection;
mod dataset_reports;
mod datasets;
mod error;
mod events;
mod exits;
mod fault;
mod files;
mod gpu_samples;
mod jobs;
mod models;
mod open;
mod page;
mod predictions;
mod queue;
mod readers;
mod reply;
mod rows;
mod schema;
mod settings;
mod standing;
mod times;
mod version;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use diesel::SqliteConnection;
use ftl_core::JobId;
use tracing::error;

pub use attempts::AttemptEnd;
pub use backup::back_up_file;
pub use check::{Checkup, Finding, FindingKind, Standing, check_file};
pub use checkpoints::{Listed, OnDisk};
pub use dataset_reports::{Checked, NewReport};
pub use error::StoreError;
pub use gpu_samples::MAX_GPU_SAMPLES;
pub use jobs::{Change, Created, NewJob};
pub use models::StoredModel;
pub use queue::Queued;
pub use reply::Reply;
pub use times::CommitTimes;
pub use version::Version;

use connection::Location;
use fault::Outcome;
use readers::{Question, Snapshot};
use times::Times;
use writer::{Message, Transaction, Work};

/// The database. A clone is another handle to the same; when the last is dropped, what was asked for is finished and the
/// file is closed, which blocks for as long.
#[derive(Clone)]
pub struct Store(Arc<Threads>);

struct Threads {
    /// `None` only while it is dropped.
    senders: Option<Senders>,
    writer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    times: Arc<Times>,
}

struct Senders {
    writer: Sender<Message>,
    readers: Sender<Question>,
}

impl Store {
    /// Opens the database, or makes it. `on_commit` is called on the thread that writes, after each COMMIT, for each job
    /// that has new events, with the highest number; it must be quick.
    ///
    /// # Errors
    /// [`StoreError::AlreadyOpen`], [`StoreError::NewerDatabase`], [`StoreError::NotOurs`], and what SQLite and the
    /// operating system refuse.
    pub fn open(path: &Path, on_commit: impl Fn(&JobId, u64) + Send + 'static) -> Result<Self, StoreError> {
        let location = Location::new(path)?;
        let lock = open::prepare(&location)?;
        let to_write = location.clone();
        let open = Box::new(move || to_write.open_to_write());
        let times = Arc::new(Times::default());
        let (writer, writer_thread) = writer::start(open, Box::new(on_commit), lock, Arc::clone(&times))?;
        let (readers, reader_threads) = readers::start(&location)?;
        Ok(Self(Arc::new(Threads {
            senders: Some(Senders { writer, readers }),
            writer: Some(writer_thread),
            readers: reader_threads,
            times,
        })))
    }

    /// Has a function run in a transaction on the thread that writes. It may be run twice.
    fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&mut Transaction<'_>) -> Outcome<T> + Send + 'static,
    ) -> Reply<T> {
        let (answer, reply) = Reply::channel();
        self.send(Message::Now(Box::new(Work { work, result: None, answer })));
        reply
    }

    /// Answers as soon as the thread that writes comes to it, after everything that was asked for before. Writes
    /// nothing, so an idle disk stays idle. Whoever wants to know whether that thread still works asks this.
    pub fn writer_lives(&self) -> Reply<()> {
        let (answer, reply) = Reply::channel();
        self.send(Message::Answer(answer));
        reply
    }

    /// How long transactions took since the store was opened.
    pub fn commit_times(&self) -> CommitTimes {
        self.0.times.read()
    }

    fn send(&self, message: Message) {
        // Where the thread is gone, the message goes with its answer, and the reply says that the store is closed.
        let _ = self.0.senders.as_ref().map(|senders| senders.writer.send(message));
    }

    /// Has a function run on a thread that reads. All that it reads is of one moment.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
    ) -> Reply<T> {
        self.ask(Snapshot::One, work)
    }

    /// Has a function run on a thread that reads, outside of a transaction.
    fn read_plain<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
    ) -> Reply<T> {
        self.ask(Snapshot::None, work)
    }

    fn ask<T: Send + 'static>(
        &self,
        snapshot: Snapshot,
        work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
    ) -> Reply<T> {
        let (answer, reply) = Reply::channel();
        let question = readers::question(snapshot, work, answer);
        let _ = self.0.senders.as_ref().map(|senders| senders.readers.send(question));
        reply
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        drop(self.senders.take());
        // The writer's connection is closed last: it can take the write-ahead log into the file, readers can't.
        let threads = self.readers.drain(..).chain(self.writer.take());
        for thread in threads {
            // The last handle may be dropped by a callback; a thread can't wait for itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                error!("a thread of the store panicked");
            }
        }
    }
}
