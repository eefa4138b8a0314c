//! The defaults of the spec that are plain values, with their sources. The schema shows them, `judge` applies them.
//!
//! Defaults that depend on other keys (the learning rate, the name) are functions in `judge`.

/// PEFT's own default is 8; QLoRA (Dettmers et al. 2023) and most recipes since use 16 or more.
pub(super) const LORA_R: u64 = 16;
/// Twice the rank, as in most published LoRA recipes.
pub(super) const LORA_ALPHA: f64 = 32.0;
/// PEFT.
pub(super) const LORA_DROPOUT: f64 = 0.0;

/// transformers.
pub(super) const NUM_TRAIN_EPOCHS: f64 = 3.0;
/// Fits 8 GB cards with the models this is made for; transformers uses 8.
pub(super) const BATCH_SIZE: u64 = 4;
/// transformers.
pub(super) const ACCUMULATION_STEPS: u64 = 1;
/// The usual rate for low-rank adapters (QLoRA, table 9).
pub(super) const LEARNING_RATE_LORA: f64 = 2e-4;
/// The usual rate where all weights train, and for continued pre-training.
pub(super) const LEARNING_RATE_FULL: f64 = 2e-5;
/// DPO (Rafailov et al. 2023) on adapters.
pub(super) const LEARNING_RATE_DPO: f64 = 5e-6;
/// ORPO (Hong et al. 2024), section 5.
pub(super) const LEARNING_RATE_ORPO: f64 = 8e-6;
/// transformers.
pub(super) const ADAM_BETA1: f64 = 0.9;
/// transformers.
pub(super) const ADAM_BETA2: f64 = 0.999;
/// transformers.
pub(super) const ADAM_EPSILON: f64 = 1e-8;
/// transformers.
pub(super) const WEIGHT_DECAY: f64 = 0.0;
/// transformers.
pub(super) const MAX_GRAD_NORM: f64 = 1.0;
/// transformers.
pub(super) const SEED: u64 = 42;
/// Each step is an event: curves need all of them, and one line costs nothing.
pub(super) const LOGGING_STEPS: u64 = 1;
/// Bounds the disk that a long run takes; best and last are kept anyway.
pub(super) const SAVE_TOTAL_LIMIT: u64 = 3;

/// `num_cycles` of transformers' `cosine`, `cosine_with_min_lr` and `warmup_stable_decay`: half a wave.
pub(super) const NUM_CYCLES: f64 = 0.5;
/// `num_cycles` of transformers' `cosine_with_restarts`.
pub(super) const NUM_RESTARTS: u64 = 1;
/// `lr_end` of transformers' `polynomial`.
pub(super) const LR_END: f64 = 1e-7;
/// `power` of transformers' `polynomial`.
pub(super) const POWER: f64 = 1.0;
/// `min_lr_ratio` of transformers' `warmup_stable_decay`.
pub(super) const MIN_LR_RATIO: f64 = 0.0;

/// DPO, section 6.
pub(super) const BETA: f64 = 0.1;
/// Prompts that are answered during a run, once asked for.
pub(super) const PREDICTIONS_COUNT: u64 = 5;
/// Tokens of each answer.
pub(super) const MAX_NEW_TOKENS: u64 = 256;
