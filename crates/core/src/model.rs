//! Models that the service knows: imported ones, and those in the Hugging Face cache.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::ModelId;

/// A model directory that the service knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// What the user calls it; `org/name` in the Hugging Face cache.
    pub name: String,
    /// Its directory, which is referred to and not copied.
    pub path: PathBuf,
    /// Where it is known from.
    pub source: ModelSource,
}

/// Where a model is known from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelSource {
    /// A person imported it.
    Imported {
        /// Its id; `model.path` takes it in place of a path.
        id: ModelId,
        /// What its directory held when it was imported.
        facts: ModelFacts,
        /// When it was imported.
        created_unix_ms: u64,
    },
    /// Another program downloaded it. `model.path` takes `org/name` in place of a path.
    HuggingFaceCache {
        /// The commit.
        revision: String,
    },
}

/// What a model directory holds, found out without loading a weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The entry of config.json's `architectures`.
    pub architecture: String,
    /// Its family.
    pub model_type: String,
    /// Weights, a tied head counted once.
    pub parameters: u64,
    /// Bytes of the weight files; `None`: there is only a config.json.
    pub weight_bytes: Option<u64>,
    /// Longest sequence.
    pub context_tokens: u64,
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Blocks.
    pub n_layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// What `adapter.target_modules` can name.
    pub lora_targets: Vec<String>,
    /// Where the chat template is; `None`: there is none.
    pub chat_template: Option<String>,
}
