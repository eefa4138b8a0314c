//! `[train]`: steps, rates, and what happens when. Names as in transformers' TrainingArguments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schedule::{LrSchedulerKwargs, LrSchedulerType};
use crate::spec::defaults;
use crate::spec::resolved::{Checkpointing, Warmup};

/// Steps, rates, and what happens when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSpec {
    /// How often to go through the data; may have a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::NUM_TRAIN_EPOCHS))]
    pub num_train_epochs: Option<f64>,
    /// How many optimizer steps to take; rules over `num_train_epochs`. Default: as many as the epochs have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Samples in a microbatch; with `data.packing` rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::BATCH_SIZE))]
    pub per_device_train_batch_size: Option<u64>,
    /// Microbatches in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::ACCUMULATION_STEPS))]
    pub gradient_accumulation_steps: Option<u64>,
    /// Whether samples of similar length share a microbatch, the longest first; needs `data.shuffle`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub group_by_length: Option<bool>,
    /// Peak learning rate. Default: 2e-4 with LoRA, 2e-5 for full fine-tuning and cpt, 5e-6 for dpo, 8e-6 for orpo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// How the learning rate changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = LrSchedulerType::Cosine))]
    pub lr_scheduler_type: Option<LrSchedulerType>,
    /// Options of the schedule. Default: transformers' own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_scheduler_kwargs: Option<LrSchedulerKwargs>,
    /// Warm-up: from 1 on a number of steps, below 1 a share of all steps. The first warm-up step has rate 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<f64>", extend("default" = 0))]
    pub warmup_steps: Option<Warmup>,
    /// The optimizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = Optim::Adamw))]
    pub optim: Option<Optim>,
    /// AdamW: decay of the first moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::ADAM_BETA1))]
    pub adam_beta1: Option<f64>,
    /// AdamW: decay of the second moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::ADAM_BETA2))]
    pub adam_beta2: Option<f64>,
    /// AdamW: added to the root of the second moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::ADAM_EPSILON))]
    pub adam_epsilon: Option<f64>,
    /// AdamW: decoupled decay, on matrices and every adapter tensor, not on 1-D tensors of the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::WEIGHT_DECAY))]
    pub weight_decay: Option<f64>,
    /// Gradients are scaled down to this global norm; 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::MAX_GRAD_NORM))]
    pub max_grad_norm: Option<f64>,
    /// Noise on the embeddings (NEFTune); 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub neftune_noise_alpha: Option<f64>,
    /// Which activations are kept for the backward pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = Checkpointing::Auto))]
    pub gradient_checkpointing: Option<Checkpointing>,
    /// Everything random follows from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::SEED))]
    pub seed: Option<u64>,
    /// A log event at every so many steps; 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::LOGGING_STEPS))]
    pub logging_steps: Option<u64>,
    /// The held-out data is scored every so many steps; 0: never. Default: at the end of each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_steps: Option<u64>,
    /// A checkpoint is written every so many steps; 0: never. Default: at the end of each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_steps: Option<u64>,
    /// How many checkpoints are kept; best and last are always kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::SAVE_TOTAL_LIMIT))]
    pub save_total_limit: Option<u64>,
    /// Whether the result is the best checkpoint instead of the last; needs `data.eval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub load_best_model_at_end: Option<bool>,
    /// End after so many evaluations without a better one; 0: never; needs `data.eval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub early_stopping_patience: Option<u64>,
}

/// The optimizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Optim {
    /// AdamW (Loshchilov and Hutter 2017).
    #[serde(rename = "adamw")]
    Adamw,
    /// AdamW with moments in 8 bits (Dettmers et al. 2021).
    #[serde(rename = "adamw_8bit")]
    Adamw8bit,
}
