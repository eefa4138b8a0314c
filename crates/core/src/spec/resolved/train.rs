//! Steps, rates, and what happens when.

use serde::{Deserialize, Serialize};

use super::schedule::{Schedule, Warmup};

/// Steps, rates, and what happens when.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// How long.
    pub duration: Duration,
    /// Rows in a microbatch.
    pub per_device_train_batch_size: u64,
    /// Microbatches in a step.
    pub gradient_accumulation_steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// How it starts.
    pub warmup: Warmup,
    /// AdamW's numbers.
    pub adamw: AdamW,
    /// How AdamW's moments are held.
    pub moments: MomentFormat,
    /// Gradients are scaled down to this global norm; `None`: never.
    pub max_grad_norm: Option<f64>,
    /// Strength of the noise on the embeddings while training (NEFTune, Jain et al. 2023); `None`: none.
    pub neftune_noise_alpha: Option<f64>,
    /// Which activations are kept for the backward pass.
    pub gradient_checkpointing: Checkpointing,
    /// Everything random follows from it.
    pub seed: u64,
    /// A `stepped` event at every so many steps.
    pub logging: Every,
    /// When the held-out data is scored.
    pub eval: Every,
    /// When a checkpoint is written.
    pub save: Every,
    /// How many checkpoints are kept; `None`: all.
    pub save_total_limit: Option<u64>,
    /// Which weights are the result.
    pub result: FinalWeights,
    /// The run ends after so many evaluations without a better one; `None`: never before its last step.
    pub early_stopping_patience: Option<u64>,
}

/// Which weights are the result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalWeights {
    /// Those after the last step.
    Last,
    /// Those with the lowest loss on the held-out data.
    Best,
}

/// Answers to held-out prompts while a run goes on, before the first step and after the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predictions {
    /// How many prompts.
    pub count: u64,
    /// When they are answered.
    pub times: PredictionTimes,
    /// Longest answer in tokens.
    pub max_new_tokens: u64,
}

/// When held-out prompts are answered, beside the beginning and the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictionTimes {
    /// At every evaluation.
    Evaluations,
    /// After each so many steps.
    Steps(u64),
}

/// How long to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Duration {
    /// So often through the data; may have a fraction.
    Epochs(f64),
    /// So many optimizer steps.
    Steps(u64),
}

/// When something that repeats happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// Not at all.
    Never,
    /// At the end of each epoch.
    Epoch,
    /// Each so many steps.
    Steps(u64),
}

/// AdamW's numbers (Loshchilov and Hutter 2017), decay decoupled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// On matrices and every adapter tensor, not on 1-D tensors of the base.
    pub weight_decay: f64,
}

/// How AdamW's moments are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentFormat {
    /// In single precision.
    F32,
    /// In 8 bits, in blocks of 256 (Dettmers et al. 2021); those of small tensors in single precision.
    Blockwise8Bit,
}

/// Which activations are kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checkpointing {
    /// Chosen from what fits.
    Auto,
    /// All: fastest.
    None,
    /// The input of each block; the rest is computed again: smallest.
    Block,
}
