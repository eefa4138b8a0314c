//! What a run reports while it goes on: the lines of `events.jsonl` and, later, of the service's streams.

use serde::{Deserialize, Serialize};

use crate::job::{Phase, State};
use crate::metrics::{Evaluated, Stepped};

/// An [`Event`] with its place and time, as it is written to `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Counts from 1 within a run and never repeats, also across a resume.
    pub seq: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub time_unix_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The run entered a state.
    State {
        /// The new state.
        state: State,
        /// Why, where it is not obvious.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The run is busy with something, or got on with it.
    Phase {
        /// What it is busy with.
        phase: Phase,
        /// How much of it is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        done: Option<u64>,
        /// How much there is to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// What `done` and `total` count (`steps`, `rows`, `bytes`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// Something the user should know.
    Note {
        /// How much it matters.
        level: NoteLevel,
        /// One sentence.
        message: String,
    },
    /// An optimizer step was taken.
    Stepped(Stepped),
    /// The held-out data was scored.
    Evaluated(Evaluated),
    /// A held-out prompt was answered.
    Sampled(Sampled),
    /// A checkpoint is complete on disk.
    Saved {
        /// The step it was taken after.
        step: u64,
        /// Its directory.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// A checkpoint is no more, since newer ones took its place as the spec says.
    Removed {
        /// The step it was taken after.
        step: u64,
        /// Where it was.
        path: String,
    },
    /// A checkpoint is not what was written, so an older one is used.
    Damaged {
        /// The step it was taken after.
        step: u64,
        /// Where it was saved.
        path: String,
        /// Where it lies now: nothing is deleted because it can't be read.
        kept_at: String,
        /// What is wrong with it.
        message: String,
    },
    /// An artifact is complete on disk.
    Exported {
        /// Its directory or file.
        path: String,
        /// `peft` or `model`.
        kind: String,
    },
}

/// The answer to a held-out prompt at some point of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// The step after which it was given; 0 before training.
    pub step: u64,
    /// What was asked, as text.
    pub prompt: String,
    /// What the model answered.
    pub text: String,
    /// The answer of the held-out data, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteLevel {
    /// Good to know.
    Info,
    /// The run does something else than the user may expect.
    Warning,
}
