//! `[adapter]`: which weights train. Names as in PEFT's LoraConfig.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::one_or_many::{self, OneOrMany};
use crate::spec::defaults;
use crate::spec::resolved::TargetModules;

/// Which weights to train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["kind"]))]
pub struct AdapterSpec {
    /// `lora`, or `none` for full fine-tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<AdapterKind>,
    /// Rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::LORA_R))]
    pub r: Option<u64>,
    /// Scale: the update is multiplied by `lora_alpha / r`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::LORA_ALPHA))]
    pub lora_alpha: Option<f64>,
    /// Probability of dropping an input of the adapter while training.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::LORA_DROPOUT))]
    pub lora_dropout: Option<f64>,
    /// Which modules get an adapter: `all-linear` (every linear but the head), or names such as `q_proj`; `lm_head` and
    /// `embed_tokens` are possible too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<OneOrMany<String>>", extend("default" = "all-linear"))]
    pub target_modules: Option<TargetModules>,
    /// Whether the scale is `lora_alpha / sqrt(r)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub use_rslora: Option<bool>,
    /// Whether the weight is split into magnitude and direction (DoRA).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub use_dora: Option<bool>,
    /// Ranks of particular modules, by name: `q_proj`, `layers.1.mlp.down_proj`, or a regular expression for the end of
    /// the full name. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_pattern: Option<BTreeMap<String, u64>>,
    /// `lora_alpha` of particular modules, by name as in `rank_pattern`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_pattern: Option<BTreeMap<String, f64>>,
    /// Only these layers get an adapter, counted from 0. Default: all.
    #[serde(skip_serializing_if = "Option::is_none", with = "one_or_many")]
    #[schemars(with = "Option<OneOrMany<u64>>")]
    pub layers_to_transform: Option<Vec<u64>>,
    /// Modules that train in full and are saved with the adapter: `embed_tokens`, `lm_head`, norms. As in PEFT, a name
    /// stands for every module whose name ends so. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules_to_save: Option<Vec<String>>,
    /// A PEFT adapter directory to go on from; r, alpha, targets, variants and patterns come from its
    /// adapter_config.json, and a different value here is refused. Default: a new adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
}

/// The kinds of adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdapterKind {
    /// Low-rank updates beside frozen weights (Hu et al. 2021).
    Lora,
    /// No adapter: full fine-tuning.
    None,
}

/// The word for every linear but the head.
const ALL_LINEAR: &str = "all-linear";

impl From<OneOrMany<String>> for TargetModules {
    fn from(names: OneOrMany<String>) -> Self {
        match names {
            OneOrMany::One(name) if name == ALL_LINEAR => Self::AllLinear,
            OneOrMany::One(name) => Self::Named(vec![name]),
            OneOrMany::Many(names) => Self::Named(names),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        OneOrMany::<String>::deserialize(deserializer).map(Self::from)
    }
}

impl Serialize for TargetModules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => ALL_LINEAR.serialize(serializer),
            Self::Named(names) => names.serialize(serializer),
        }
    }
}
