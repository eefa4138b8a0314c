//! `[predictions]`: answers to held-out prompts while the run goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::defaults;

/// Answers to held-out prompts while the run goes on, before the first step included.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PredictionsSpec {
    /// How many prompts; 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::PREDICTIONS_COUNT))]
    pub count: Option<u64>,
    /// Every so many steps. Default: at every evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_steps: Option<u64>,
    /// Longest answer in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::MAX_NEW_TOKENS))]
    pub max_new_tokens: Option<u64>,
}
