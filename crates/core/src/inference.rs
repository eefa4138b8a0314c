//! What is asked of a model, and what it answers piece by piece.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to answer, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferenceRequest {
    /// Which weights.
    pub weights: WeightsRef,
    /// What is gone on from.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: SamplingSpec,
    /// Where to compute, as in `device.kind`; `None`: `auto`.
    pub device: Option<String>,
}

/// Which weights answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WeightsRef {
    /// A model: a directory, a model's id, or `org/name` of the Hugging Face cache; with a PEFT adapter directory or
    /// without.
    Model {
        /// The model.
        model: String,
        /// The adapter.
        adapter: Option<PathBuf>,
    },
    /// What a job made.
    Job {
        /// The job's id.
        id: crate::id::JobId,
        /// Its result, or the model that it began with.
        weights: JobWeights,
    },
}

/// Which weights of a job answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobWeights {
    /// Those that it made.
    Trained,
    /// Those that it began with.
    Base,
}

/// What is gone on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// The beginning of a text.
    Text(String),
    /// A conversation, rendered with the model's chat template. A last message of the assistant is gone on with.
    Messages(Vec<ChatMessage>),
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplingSpec {
    /// At most this many tokens. Default: 256.
    pub max_new_tokens: Option<u64>,
    /// Higher is more varied; 0 is greedy, and the default, unless `top_p` or `top_k` is given (then 1).
    pub temperature: Option<f64>,
    /// Draw from the fewest tokens whose probabilities add up to this. Default: 1.
    pub top_p: Option<f64>,
    /// Draw from this many of the likeliest tokens; 0: from all, the default.
    pub top_k: Option<u64>,
    /// Where random numbers come from. Default: 0.
    pub seed: Option<u64>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum InferencePart {
    /// The weights are there, the answer begins.
    Started {
        /// Where it is computed, `cpu` or `cuda:0`.
        device: String,
        /// Tokens of the prompt.
        prompt_tokens: u64,
    },
    /// More text.
    Text {
        /// It.
        text: String,
    },
    /// The end.
    Finished {
        /// Why there is no more.
        stop_reason: FinishReason,
        /// Tokens of the answer.
        new_tokens: u64,
        /// From the first to the last token.
        elapsed_millis: u64,
    },
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its text.
    Eos,
    /// As many tokens as were asked for.
    MaxNewTokens,
    /// The model has no position for another token.
    ContextFull,
    /// Somebody asked to stop.
    Stopped,
}
