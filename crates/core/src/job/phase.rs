//! What a running job is busy with; separate from its state.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a running job is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// Reading the spec against the files it names.
    Validating,
    /// Predicting and verifying memory.
    Planning,
    /// Fetching a model that the user asked for.
    Downloading,
    /// Reading weights.
    Loading,
    /// Turning the dataset into tokens.
    Tokenizing,
    /// Taking optimizer steps.
    Training,
    /// Scoring held-out data.
    Evaluating,
    /// Generating from held-out prompts.
    Sampling,
    /// Writing a checkpoint.
    Saving,
    /// Writing artifacts.
    Exporting,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validating => "validating",
            Self::Planning => "planning",
            Self::Downloading => "downloading",
            Self::Loading => "loading",
            Self::Tokenizing => "tokenizing",
            Self::Training => "training",
            Self::Evaluating => "evaluating",
            Self::Sampling => "sampling",
            Self::Saving => "saving",
            Self::Exporting => "exporting",
        })
    }
}
