//! The learning-rate schedules of transformers and their options.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::resolved::WsdShape;

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// Stays, without a warm-up.
    Constant,
    /// Stays, after a warm-up.
    ConstantWithWarmup,
    /// Falls to 0 in a line.
    Linear,
    /// Falls to 0 in half a cosine wave.
    Cosine,
    /// Falls to 0 so many times, each from the top.
    CosineWithRestarts,
    /// Falls to a floor in half a cosine wave.
    CosineWithMinLr,
    /// Falls to a floor as a polynomial.
    Polynomial,
    /// Falls with the square root of the step.
    InverseSqrt,
    /// Warm-up, plateau, decay (transformers' `warmup_stable_decay`).
    Wsd,
}

/// Options of the schedule, as in transformers. An option that the schedule does not have is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LrSchedulerKwargs {
    /// `cosine_with_min_lr`: the floor as a learning rate; instead of `min_lr_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// `cosine_with_min_lr`: the floor as a share of `learning_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_rate: Option<f64>,
    /// `cosine`, `cosine_with_min_lr`, `wsd`: waves, default 0.5; `cosine_with_restarts`: falls, default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_cycles: Option<f64>,
    /// `polynomial`: the exponent, default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// `polynomial`: the floor as a learning rate, default 1e-7.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_end: Option<f64>,
    /// `inverse_sqrt`: steps by which the curve is stretched. Default: the warm-up's length, or 10000 without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timescale: Option<u64>,
    /// `wsd`: steps of the plateau. Default: what warm-up and decay leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_stable_steps: Option<u64>,
    /// `wsd`: steps of the decay; must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_decay_steps: Option<u64>,
    /// `wsd`: shape of the warm-up, default `linear`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_type: Option<WsdShape>,
    /// `wsd`: shape of the decay, default `cosine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_type: Option<WsdShape>,
    /// `wsd`: the floor as a share of `learning_rate`, default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr_ratio: Option<f64>,
}

impl LrSchedulerType {
    /// The name that the spec uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::ConstantWithWarmup => "constant_with_warmup",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::CosineWithRestarts => "cosine_with_restarts",
            Self::CosineWithMinLr => "cosine_with_min_lr",
            Self::Polynomial => "polynomial",
            Self::InverseSqrt => "inverse_sqrt",
            Self::Wsd => "wsd",
        }
    }
}
