//! `[method]`: what is learnt from the data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::defaults;

/// How to train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["kind"]))]
pub struct MethodSpec {
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<MethodKind>,
    /// Strength of the preference; dpo and orpo only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::BETA))]
    pub beta: Option<f64>,
    /// The loss of a pair; dpo only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = LossType::Sigmoid))]
    pub loss_type: Option<LossType>,
    /// Share of the pairs whose label is taken to be wrong; `loss_type` = `cdpo` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub label_smoothing: Option<f64>,
}

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodKind {
    /// Supervised fine-tuning.
    Sft,
    /// Continued pre-training.
    Cpt,
    /// Direct preference optimization (Rafailov et al. 2023).
    Dpo,
    /// Odds ratio preference optimization (Hong et al. 2024).
    Orpo,
}

/// The losses of a preference pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// The logistic loss of DPO.
    Sigmoid,
    /// Squared, on length-normalised log-probabilities (Azar et al. 2023).
    Ipo,
    /// A margin.
    Hinge,
    /// `sigmoid` with `label_smoothing`, both directions weighted.
    Cdpo,
}

impl MethodKind {
    /// The name that the spec uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Cpt => "cpt",
            Self::Dpo => "dpo",
            Self::Orpo => "orpo",
        }
    }
}
