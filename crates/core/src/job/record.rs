//! A job as the service keeps it, and its attempts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Parent, Phase, State, Waiting};
use crate::error::Problem;
use crate::event::EventRecord;
use crate::id::JobId;
use crate::spec::JobSpec;

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What the user calls it; several jobs may share a name.
    pub name: String,
    /// What it is asked to do, with every default written out and absolute paths. Never changes.
    pub spec: JobSpec,
    /// Where it stands.
    pub state: State,
    /// Why, where it is not obvious.
    pub reason: Option<String>,
    /// What is wrong; only while `state` is FAILED or INTERRUPTED.
    pub problems: Vec<Problem>,
    /// Why it is not started yet; only while `state` is QUEUED, and `None` there too until the queue has looked at it.
    pub waiting: Option<Waiting>,
    /// Its place in the queue, from 1; only while `state` is QUEUED.
    pub queue_place: Option<u64>,
    /// The checkpoint of another job that it began with.
    pub parent: Option<Parent>,
    /// What it is busy with; `None` unless a worker is at it.
    pub phase: Option<Phase>,
    /// How far it is.
    pub progress: Progress,
    /// Attempts so far.
    pub n_attempts: u32,
    /// Highest number of a committed event; 0: none.
    pub seq: u64,
    /// Where checkpoints, events and the result are.
    pub directory: PathBuf,
    /// When it was created.
    pub created_unix_ms: u64,
    /// When a worker first began on it.
    pub started_unix_ms: Option<u64>,
    /// When it entered a state in which no worker is at it and none will be by itself.
    pub ended_unix_ms: Option<u64>,
}

/// How far a job is. Comes from its events and is kept beside it, so that a list needs no replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// Steps that it will take; `None` until its data is read.
    pub total_steps: Option<u64>,
    /// Training loss of the last logged step.
    pub loss_nats: Option<f64>,
    /// Held-out loss before training.
    pub eval_loss_before_nats: Option<f64>,
    /// Held-out loss of the last evaluation.
    pub eval_loss_nats: Option<f64>,
}

/// One process that worked on a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts from 1 within the job.
    pub number: u32,
    /// When its worker was started.
    pub started_unix_ms: u64,
    /// When it ended.
    pub ended_unix_ms: Option<u64>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// The end of what it wrote to stdout and stderr, where that explains the exit.
    pub log_tail: Option<String>,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Exit {
    /// The job is done.
    Ok,
    /// It saved and stopped, because it was asked to.
    Stopped,
    /// It refused the spec, the model or the data.
    Data,
    /// The loss is no number any more.
    Nan,
    /// The GPU has too little memory, or the job took more of it than it may.
    OomGpu,
    /// The system killed it for want of memory, or the job took more than it may.
    OomHost,
    /// It died of a signal, or ended with a code that it does not use.
    Crashed {
        /// The signal.
        signal: Option<i32>,
        /// The exit code.
        code: Option<i32>,
    },
    /// It could not be started.
    SpawnFailed,
    /// Nobody saw how it ended: the server or the host died too.
    Lost,
    /// It was killed, because the job was cancelled.
    Cancelled,
}

/// An event with its job's attempt, as the service numbers and streams it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// The attempt that it belongs to; 0 before the first.
    pub attempt: u32,
    /// The event. Its `seq` counts from 1 within the job, across attempts, and gaps are possible in a stream that
    /// holds a part of the events.
    #[serde(flatten)]
    pub record: EventRecord,
}

/// Something that a job made and that is complete on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// `peft` or `model`.
    pub kind: String,
    /// Its directory.
    pub path: PathBuf,
    /// All its files.
    pub bytes: u64,
    /// When it was complete.
    pub created_unix_ms: u64,
}
