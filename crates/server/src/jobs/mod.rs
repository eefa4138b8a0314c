//! The jobs of the service: what people ask of them, the queue that works on them, one in each place at a time, and what
//! happens to those that a dead server left behind.
//!
//! The store is the only truth about a job's state. Whoever wants to change it asks the store for a transition and
//! acts when the store has said yes, so that of two who ask at once one is told that it was too late.
//!
//! | file | does |
//! |---|---|
//! | this one | create, stop, resume, cancel, delete, and the order of the queue |
//! | `start_from` | the checkpoint of another job that a new one begins with |
//! | `queue` | looks who can start whenever something changes, and starts them |
//! | `schedule` | who starts where, and what the others wait for: a pure function |
//! | `supervisor` | one attempt: a worker, its events, its end |
//! | `keep` | keeps what a worker reports, also where the store can't for a while |
//! | `stall` | whether a worker still gets on |
//! | `advice` | what would take less memory |
//! | `verdict` | what the end of a worker means for its job |
//! | `recover` | at start: attempts that nobody saw end |
//! | `removal` | the files of deleted jobs |
//! | `checkpoints` | what people do with what jobs saved |

mod advice;
mod checkpoints;
mod keep;
mod queue;
mod recover;
mod removal;
mod schedule;
mod stall;
mod start_from;
mod supervisor;
mod verdict;

pub use stall::Patience;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftl_core::job::{Job, Move, QueueSettings, StartFrom, State};
use ftl_core::{CheckedSpec, JobId, JobSpec, Problem, ProblemKind};
use ftl_store::{Change, Created, NewJob, Store, StoreError};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::data_dir::DataDir;
use crate::error::ServiceError;
use crate::worker::Workers;

/// How long a worker has to save after the service was told to end. The service itself has 30 seconds.
const SAVE_WITHIN: Duration = Duration::from_secs(25);
/// How long `delete` waits for the worker of a cancelled job, which was killed already.
const WORKER_GONE_WITHIN: Duration = Duration::from_secs(10);

/// All jobs of the service. Clones share them.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    store: Store,
    workers: Workers,
    dir: DataDir,
    patience: Patience,
    /// A job was queued, or a place became free.
    queued: Notify,
    active: Active,
    /// No new worker is started any more, and those at work save and end.
    ending: CancellationToken,
    /// They were given their time.
    killing: CancellationToken,
    tasks: TaskTracker,
}

/// What a supervisor is told about its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Save and stop.
    Stop,
    /// Save and go on.
    Save,
    /// End at once.
    Kill,
}

/// Supervisors at work, each with its door.
struct Active {
    orders: Mutex<HashMap<JobId, mpsc::UnboundedSender<Order>>>,
    /// How many; tells those who wait for one to leave.
    count: watch::Sender<usize>,
}

impl Jobs {
    /// Takes care of what an earlier service left behind, then begins to work on the queue.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn start(store: Store, workers: Workers, dir: DataDir) -> Result<Self, ServiceError> {
        Self::start_with(store, workers, dir, Patience::default()).await
    }

    /// [`start`](Self::start) with another patience for workers that do not get on.
    ///
    /// # Errors
    /// What the store refuses.
    pub async fn start_with(
        store: Store,
        workers: Workers,
        dir: DataDir,
        patience: Patience,
    ) -> Result<Self, ServiceError> {
        let jobs = Self(Arc::new(Shared {
            store,
            workers,
            dir,
            patience,
            queued: Notify::new(),
            active: Active::new(),
            ending: CancellationToken::new(),
            killing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }));
        removal::finish(&jobs).await?;
        recover::recover(&jobs).await?;
        jobs.0.tasks.spawn(queue::work(jobs.clone()));
        Ok(jobs)
    }

    /// Judges `spec`, whose paths are absolute, and queues the job, behind all others. With `from` it begins with a
    /// checkpoint of another job, of which it gets a copy.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] with all problems of the spec; [`ServiceError::AlreadyExists`] where `request_id`
    /// belongs to a job with another spec or beginning; [`ServiceError::NotFound`] and [`ServiceError::Precondition`]
    /// where there is nothing to begin with.
    pub async fn create(
        &self,
        spec: JobSpec,
        from: Option<StartFrom>,
        request_id: Option<String>,
    ) -> Result<Job, ServiceError> {
        if self.0.ending.is_cancelled() {
            return Err(ServiceError::ShuttingDown);
        }
        let checked: CheckedSpec = spec.check()?;
        let id = JobId::from_bits(random_bits()?);
        let directory = self.0.dir.job(&id);
        let (name, spec) = (checked.name.clone(), checked.to_spec());
        let parent = match from {
            Some(from) => Some(start_from::copy(self, from, &directory).await?),
            None => None,
        };
        let has_copy = parent.is_some();
        let made = NewJob { id, name, spec, directory: directory.clone(), request_id, parent };
        let made = self.0.store.create_job(made).await;
        match &made {
            _ if !has_copy => {}
            Ok(Created::New(_)) => start_from::keep(&directory).await,
            // The job may be there: the next service finds out.
            Err(StoreError::OutcomeUnknown(_)) => {}
            Ok(Created::Existing(_)) | Err(_) => start_from::forget(&directory).await,
        }
        match made? {
            Created::New(job) => {
                info!(job.id = %job.id, job.name, "a job was queued");
                self.0.queued.notify_one();
                Ok(job)
            }
            Created::Existing(job) => Ok(job),
        }
    }

    /// Changes a job's place in the queue.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where a job is not in the queue, or not at the place where the caller saw it.
    pub async fn move_to(&self, change: Move) -> Result<Job, ServiceError> {
        let job = self.0.store.move_job(change).await?;
        info!(job.id = %job.id, place = job.queue_place, "a job was moved in the queue");
        self.0.queued.notify_one();
        Ok(job)
    }

    /// What a start waits for beside a free place.
    ///
    /// # Errors
    /// The store refused.
    pub async fn queue_settings(&self) -> Result<QueueSettings, ServiceError> {
        queue::settings(self).await
    }

    /// Changes it.
    ///
    /// # Errors
    /// The store refused.
    pub async fn set_queue_settings(&self, settings: QueueSettings) -> Result<(), ServiceError> {
        queue::set_settings(self, settings).await
    }

    /// Asks the worker to save and stop.
    ///
    /// # Errors
    /// [`ServiceError::Transition`] where no worker is at it, or where one was asked already.
    pub async fn stop(&self, id: &JobId) -> Result<Job, ServiceError> {
        let job = self.change(id, State::Stopping, Some("asked by a client")).await?;
        self.0.active.order(id, Order::Stop);
        Ok(job)
    }

    /// Queues a job again. It goes on from its newest valid checkpoint.
    ///
    /// # Errors
    /// [`ServiceError::Transition`] where it is not stopped, failed or interrupted.
    pub async fn resume(&self, id: &JobId) -> Result<Job, ServiceError> {
        let job = self.change(id, State::Queued, Some("resumed by a client")).await?;
        self.0.queued.notify_one();
        Ok(job)
    }

    /// Gives a job up. Its worker is killed; checkpoints are whole or absent, so they stay usable.
    ///
    /// # Errors
    /// [`ServiceError::Transition`] where it is over already.
    pub async fn cancel(&self, id: &JobId) -> Result<Job, ServiceError> {
        let job = self.change(id, State::Cancelled, Some("asked by a client")).await?;
        self.0.active.order(id, Order::Kill);
        Ok(job)
    }

    /// Removes a job at rest with all its files.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where it is not at rest, or where its files can't be removed.
    pub async fn delete(&self, id: &JobId) -> Result<(), ServiceError> {
        let job = self.job(id).await?;
        if job.state.is_at_rest() {
            // Its worker may be about to end: it must not write into a directory that is being removed.
            self.0.active.wait_until_gone(id, WORKER_GONE_WITHIN).await?;
            removal::mark(&job.directory);
        }
        let directory = match self.0.store.delete_job(id).await {
            Ok(job) => job.directory,
            Err(error) => {
                // Where it is not known whether the job is there, the next service finds out.
                if !matches!(error, StoreError::OutcomeUnknown(_)) {
                    removal::unmark(&job.directory);
                }
                return Err(error.into());
            }
        };
        let removed = tokio::task::spawn_blocking(move || (std::fs::remove_dir_all(&directory), directory));
        match removed.await.map_err(|error| ServiceError::Internal(Box::new(error)))? {
            (Err(error), directory) if error.kind() != std::io::ErrorKind::NotFound => {
                warn!(job.id = %id, path = %directory.display(), %error, "the files of a deleted job stay");
                let message = format!(
                    "the job is deleted, but `{}` could not be removed: {error}",
                    directory.display()
                );
                Err(ServiceError::Precondition(
                    Problem::new(ProblemKind::Storage, message).hint("remove the directory by hand"),
                ))
            }
            (Ok(()) | Err(_), _) => {
                info!(job.id = %id, "a job was deleted");
                Ok(())
            }
        }
    }

    /// Lets the worker save and end; the job goes on when the service is back. Returns when no worker is left.
    pub async fn shut_down(&self) {
        self.0.ending.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(SAVE_WITHIN, self.0.tasks.wait()).await.is_err() {
            warn!("a worker did not save in time and is killed");
            self.0.killing.cancel();
            self.0.tasks.wait().await;
        }
    }

    async fn job(&self, id: &JobId) -> Result<Job, ServiceError> {
        let job = self.0.store.job(id).await?;
        job.ok_or_else(|| ServiceError::NotFound { what: "job", id: id.to_string() })
    }

    async fn change(&self, id: &JobId, to: State, reason: Option<&str>) -> Result<Job, ServiceError> {
        let change = Change { to, reason: reason.map(str::to_owned), problems: Vec::new() };
        let job = self.0.store.transition(id, change).await?;
        info!(job.id = %id, job.state = %job.state, reason, "a job changed its state");
        Ok(job)
    }
}

impl Active {
    fn new() -> Self {
        Self { orders: Mutex::default(), count: watch::Sender::new(0) }
    }

    /// Opens a door for the supervisor of `id`; it stays until the guard is dropped.
    fn enter(&self, id: &JobId) -> mpsc::UnboundedReceiver<Order> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.insert(id.clone(), sender);
        self.count.send_replace(orders.len());
        receiver
    }

    fn leave(&self, id: &JobId) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.remove(id);
        self.count.send_replace(orders.len());
    }

    /// Tells the supervisor of `id`, where there is one.
    fn order(&self, id: &JobId, order: Order) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = orders.get(id) {
            // A supervisor that is leaving has its worker behind it.
            let _ = door.send(order);
        }
    }

    fn has(&self, id: &JobId) -> bool {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    async fn wait_until_gone(&self, id: &JobId, limit: Duration) -> Result<(), ServiceError> {
        let mut count = self.count.subscribe();
        let gone = count.wait_for(|_| !self.has(id));
        match tokio::time::timeout(limit, gone).await {
            // The sender lives as long as `self`.
            Ok(Ok(_) | Err(_)) => Ok(()),
            Err(_) => Err(ServiceError::Precondition(
                Problem::new(ProblemKind::Worker, "the job's worker is still ending")
                    .hint("try again in some seconds"),
            )),
        }
    }
}

fn random_bits() -> Result<u64, ServiceError> {
    getrandom::u64().map_err(|error| ServiceError::Internal(Box::new(error)))
}
