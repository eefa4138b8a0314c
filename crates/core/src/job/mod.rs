//! Jobs: where one stands ([`State`], [`Phase`], and the one function that says which state may follow which),
//! what is kept of it, and the queue.

mod checkpoint;
mod phase;
mod prediction;
mod queue;
mod record;
mod state;

pub use checkpoint::{Checkpoint, CheckpointState};
pub use phase::Phase;
pub use prediction::Prediction;
pub use queue::{Move, MoveTo, Parent, QueueSettings, StartFrom, Waiting, WaitingReason};
pub use record::{Artifact, Attempt, Exit, Job, JobEvent, Progress};
pub use state::{IllegalTransition, State};
