//! Jobs: where one stands ([`State`], [`Phase`], and the one function that says which state may follow which), and
//! what is kept of it.

mod checkpoint;
mod phase;
mod prediction;
mod record;
mod state;

pub use checkpoint::{Checkpoint, CheckpointState};
pub use phase::Phase;
pub use prediction::Prediction;
pub use record::{Artifact, Attempt, Exit, Job, JobEvent, Progress};
pub use state::{IllegalTransition, State};
