//! The modules that an adapter can sit on, and those that it names, as PEFT matches names
//! (`tuners_utils.py`, `check_target_module_exists`).

use ftl_core::spec::resolved::TargetModules;
use regex::Regex;

use crate::model::config::DecoderConfig;
use crate::model::families::{EMBED_TOKENS, LAYERS, LM_HEAD, LayerLinear};

/// A module that can have a low-rank update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The token embedding.
    Embedding,
    /// One linear of one block.
    Linear {
        /// Which block.
        layer_index: usize,
        /// Which linear.
        linear: LayerLinear,
    },
    /// The head.
    Head,
}

impl Target {
    /// Every module of a model that can have one.
    pub fn all(config: &DecoderConfig) -> Vec<Self> {
        let mut all = vec![Self::Embedding];
        for layer_index in 0..config.n_layers {
            all.extend(
                config.family.linears.iter().map(|linear| Self::Linear { layer_index, linear: *linear }),
            );
        }
        all.push(Self::Head);
        all
    }

    /// The module's full name: `model.layers.3.self_attn.q_proj`.
    pub fn name(self) -> String {
        match self {
            Self::Embedding => module_of(EMBED_TOKENS).to_owned(),
            Self::Linear { layer_index, linear } => linear.name(layer_index),
            Self::Head => module_of(LM_HEAD).to_owned(),
        }
    }

    /// The name's last part: `q_proj`.
    pub fn short_name(self) -> String {
        let name = self.name();
        name.rsplit_once('.').map_or(name.clone(), |(_, last)| last.to_owned())
    }

    /// Width of what it reads; of an embedding, ids.
    pub fn inputs(self, config: &DecoderConfig) -> usize {
        match self {
            Self::Embedding => config.vocab_size,
            Self::Linear { linear, .. } => linear.inputs(config),
            Self::Head => config.hidden_size,
        }
    }

    /// Width of what it gives.
    pub fn outputs(self, config: &DecoderConfig) -> usize {
        match self {
            Self::Embedding => config.hidden_size,
            Self::Linear { linear, .. } => linear.outputs(config),
            Self::Head => config.vocab_size,
        }
    }

    /// The short names of everything that a target can name.
    pub fn short_names(config: &DecoderConfig) -> Vec<String> {
        let linears = config.family.linears.iter().map(|linear| linear.short_name().to_owned());
        linears.chain([Self::Embedding, Self::Head].map(Self::short_name)).collect()
    }
}

/// A tensor's module: its name without `.weight`.
pub(super) fn module_of(tensor: &str) -> &str {
    tensor.strip_suffix(".weight").unwrap_or(tensor)
}

/// How modules are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Modules {
    /// Every linear of the blocks.
    AllLinear,
    /// Those whose full name is, or ends in a dot and, one of these.
    Named(Vec<String>),
    /// Those whose full name this regular expression matches as a whole.
    Pattern(String),
}

impl From<TargetModules> for Modules {
    fn from(modules: TargetModules) -> Self {
        match modules {
            TargetModules::AllLinear => Self::AllLinear,
            TargetModules::Named(names) => Self::Named(names),
        }
    }
}

impl Modules {
    /// As they are told to people.
    pub fn shown(&self) -> Vec<String> {
        match self {
            Self::AllLinear => vec!["all-linear".to_owned()],
            Self::Named(names) => names.clone(),
            Self::Pattern(pattern) => vec![pattern.clone()],
        }
    }

    pub(super) fn include(&self, target: Target) -> Result<bool, String> {
        Ok(match self {
            Self::AllLinear => matches!(target, Target::Linear { .. }),
            Self::Named(names) => names.iter().any(|name| names_module(name, &target.name())),
            Self::Pattern(pattern) => {
                expression(&format!("^(?:{pattern})$"), pattern)?.is_match(&target.name())
            }
        })
    }

    /// Whether the full name itself is in the list: then PEFT asks for no layer.
    pub(super) fn hold_full_name(&self, target: Target) -> bool {
        match self {
            Self::AllLinear | Self::Pattern(_) => false,
            Self::Named(names) => names.contains(&target.name()),
        }
    }
}

/// Whether `name` stands for the module: it is its full name, or a dot and that end it.
pub(super) fn names_module(name: &str, module: &str) -> bool {
    module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The layer of a module by its full name: the number after the first part that `patterns` names, or after any part.
pub(super) fn layer_index(module: &str, patterns: &[String]) -> Result<Option<usize>, String> {
    let index = |expression: &Regex| expression.captures(module)?.get(1)?.as_str().parse().ok();
    if patterns.is_empty() {
        let any = Regex::new(r"^.*?\.[^.]*\.(\d+)\.").expect("a sound expression");
        return Ok(index(&any));
    }
    for pattern in patterns {
        let expression = expression(&format!(r"^(?:|.*?\.){pattern}\.(\d+)\."), pattern)?;
        if let Some(index) = index(&expression) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// What the blocks of our models stand in: `layers`.
pub(super) fn blocks_name() -> &'static str {
    let path = LAYERS.trim_end_matches('.');
    path.rsplit_once('.').map_or(path, |(_, last)| last)
}

/// Whether a key of `rank_pattern` or `alpha_pattern` is for a module (PEFT's `get_pattern_key`).
pub(super) fn pattern_fits(key: &str, module: &str) -> Result<bool, String> {
    Ok(expression(&format!(r"^(?:.*\.)?(?:{key})$"), key)?.is_match(module))
}

fn expression(whole: &str, part: &str) -> Result<Regex, String> {
    Regex::new(whole).map_err(|_| format!("`{part}` is no regular expression that this program reads"))
}
