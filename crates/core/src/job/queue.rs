//! The queue: why a job in it is not started yet, where it stands, and how it is moved.

use serde::{Deserialize, Serialize};

use crate::id::JobId;

/// Why a queued job is not started yet. It changes as things change, and is gone when the job leaves the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What it waits for; a program branches on this.
    pub reason: WaitingReason,
    /// One sentence for people.
    pub message: String,
}

/// What a queued job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WaitingReason {
    /// Another job trains on the CPU: one does at a time.
    CpuBusy,
    /// Every GPU that it may have is in use, by a job or by a model that answers.
    GpuBusy,
    /// It asks for a GPU, and there is none that it can have.
    GpuUnavailable,
    /// The disk has too little room for what it will write.
    DiskLow,
}

/// Where in the queue a job is moved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveTo {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
    /// Right before this queued job.
    Before(JobId),
    /// Right behind this queued job.
    After(JobId),
}

/// A change of the queue's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The job that is moved.
    pub job: JobId,
    /// Where to.
    pub to: MoveTo,
    /// Only where the job is at this place now, counted from 1: so of two who saw the same queue one is told that it has
    /// changed. `None`: wherever it is.
    pub from_place: Option<u64>,
}

/// Where a new job begins: at a checkpoint of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFrom {
    /// The other job.
    pub job: JobId,
    /// After which step the checkpoint was taken; `None`: the newest.
    pub step: Option<u64>,
}

/// The checkpoint of another job that a job began with. Its copy belongs to the job, so the other may be gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The other job.
    pub job: JobId,
    /// After which of its steps the checkpoint was taken.
    pub step: u64,
}

/// What a start waits for beside a free place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// A job is started while the disk of the data directory has this much room, and twice its largest checkpoint so far.
    pub min_free_disk_bytes: u64,
}
