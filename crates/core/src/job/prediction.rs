//! What a job's model answered to held-out prompts, on its way through the training.

use serde::{Deserialize, Serialize};

use crate::event::Sampled;

/// An answer, with its place among the job's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// The number of the event that told of it.
    pub seq: u64,
    /// The attempt whose model answered.
    pub attempt: u32,
    /// When.
    pub time_unix_ms: u64,
    /// Step, prompt and answer.
    #[serde(flatten)]
    pub sampled: Sampled,
}
