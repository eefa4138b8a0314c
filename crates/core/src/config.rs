//! Specs that were kept for later, and presets that come with the program.

use serde::{Deserialize, Serialize};

use crate::id::ConfigId;
use crate::spec::JobSpec;

/// A kept spec, as the user wrote it. It need not be complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Its id.
    pub id: ConfigId,
    /// What the user calls it; no two configs share a name.
    pub name: String,
    /// The spec.
    pub spec: JobSpec,
    /// When it was created.
    pub created_unix_ms: u64,
    /// When it last changed.
    pub updated_unix_ms: u64,
}

/// A spec to start from. It names no model and no data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// When to choose it, in one sentence.
    pub description: String,
    /// The spec.
    pub spec: JobSpec,
}
