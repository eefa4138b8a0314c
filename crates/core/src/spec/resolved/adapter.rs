//! Which weights train, in PEFT's words.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which weights to train.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each job")]
pub enum Adapter {
    /// All of them: full fine-tuning.
    None,
    /// Low-rank updates beside frozen weights (LoRA, Hu et al. 2021).
    Lora(Lora),
}

/// A low-rank adapter, in PEFT's words.
#[derive(Clone, Debug, PartialEq)]
pub enum Lora {
    /// New: its update is zero.
    Fresh(LoraShape),
    /// Training goes on from a PEFT adapter directory; its shape comes from its adapter_config.json
    /// and must equal what is given here.
    From {
        /// The PEFT adapter directory.
        path: PathBuf,
        /// What the user said beside it, to be compared.
        expected: LoraExpectation,
        /// Probability of dropping an input of A while training.
        lora_dropout_prob: f64,
    },
}

/// The shape of a new adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraShape {
    /// Rank.
    pub r: u64,
    /// Scale: the update is multiplied by `lora_alpha / r`, or as `scale` says.
    pub lora_alpha: f64,
    /// Probability of dropping an input of A while training.
    pub lora_dropout_prob: f64,
    /// Which modules get one.
    pub target_modules: TargetModules,
    /// How the scale follows from `lora_alpha` and the rank.
    pub scale: LoraScale,
    /// What is learned beside the two factors.
    pub variant: LoraVariant,
    /// Ranks of the modules whose name ends in what a key, a regular expression, matches.
    pub rank_pattern: BTreeMap<String, u64>,
    /// The same for `lora_alpha`.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Only these layers get an adapter; `None`: all.
    pub layers_to_transform: Option<Vec<u64>>,
    /// Modules that train in full and are saved with the adapter.
    pub modules_to_save: Vec<String>,
}

/// What a spec says of an adapter that it loads; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoraExpectation {
    /// Rank.
    pub r: Option<u64>,
    /// Scale.
    pub lora_alpha: Option<f64>,
    /// Targets.
    pub target_modules: Option<TargetModules>,
    /// How the scale follows.
    pub scale: Option<LoraScale>,
    /// What is learned beside the two factors.
    pub variant: Option<LoraVariant>,
    /// Ranks of particular modules.
    pub rank_pattern: Option<BTreeMap<String, u64>>,
    /// Scales of particular modules.
    pub alpha_pattern: Option<BTreeMap<String, f64>>,
    /// Layers.
    pub layers_to_transform: Option<Vec<u64>>,
    /// Modules that train in full.
    pub modules_to_save: Option<Vec<String>>,
}

/// How the scale of an update follows from `lora_alpha` and the rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraScale {
    /// `lora_alpha / r`.
    ByRank,
    /// `lora_alpha / √r` (rsLoRA, Kalajdzievski 2023).
    ByRootOfRank,
}

/// What an adapter learns beside the two factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoraVariant {
    /// Nothing (LoRA, Hu et al. 2021).
    Plain,
    /// The length of each row of the weight (DoRA, Liu et al. 2024).
    Dora,
}

/// Which linears get an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear but the head.
    AllLinear,
    /// Those whose name is, or ends in a dot and, one of these.
    Named(Vec<String>),
}
