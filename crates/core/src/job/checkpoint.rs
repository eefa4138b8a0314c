//! A checkpoint as the service keeps it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A directory from which a job can go on, or could.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The step it was taken after.
    pub step: u64,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// The number of the event that told of it.
    pub seq: u64,
    /// Its directory; the last part is its name within the job.
    pub path: PathBuf,
    /// All its files.
    pub bytes: u64,
    /// When it was complete.
    pub created_unix_ms: u64,
    /// What became of it.
    pub state: CheckpointState,
    /// What is wrong with it; only while `state` is DAMAGED.
    pub damage: Option<String>,
    /// When it was last compared with what was written, by a person's wish.
    pub verified_unix_ms: Option<u64>,
    /// Held-out loss after the same step, where it was evaluated there.
    pub eval_loss_nats: Option<f64>,
    /// Whether a person wants it kept, whatever the spec says.
    pub pinned: bool,
    /// Whether the job would go on from here: the newest that is complete.
    pub last: bool,
    /// Whether no other complete one has a lower held-out loss; of equals the first.
    pub best: bool,
}

impl Checkpoint {
    /// Its name within the job, `checkpoint-500`.
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// What became of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CheckpointState {
    /// It was written whole, and nothing else is known.
    Complete,
    /// It is on disk and is not what was written; no job goes on from it.
    Damaged,
    /// It is not on disk any more.
    Removed,
}
