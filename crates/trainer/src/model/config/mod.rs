//! A model's `config.json`, checked: whatever is read here can be computed with.
//!
//! Both dialects are read: transformers 4 (`rope_theta`, `rope_scaling`, `torch_dtype`) and transformers 5
//! (`rope_parameters`, `dtype`). A missing key means what it means in transformers. Which tensors follow from a
//! config is [`families`](crate::model::families)' business, whether the files have them that of
//! [`weights`](crate::model::weights).

mod generation;
mod keys;
mod layers;
mod quantization;
mod rope;

pub use generation::{GENERATION_CONFIG_JSON, eos_token_ids_for_generation};
pub use layers::LayerConfig;
pub use rope::{Rope, RopeScaling, Yarn};

use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use crate::model::families::{BiasRule, FAMILIES, Family, ScoreScale};
use crate::model::json_file;
use crate::ops::gated_mlp::Activation;
use keys::{Keys, TokenIds};
use rope::{RopeFacts, Ropes};

/// The file's name.
pub const CONFIG_JSON: &str = "config.json";

/// What a decoder is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// The family's row.
    pub family: &'static Family,
    /// Rows of the embedding, 1 or more.
    pub vocab_size: usize,
    /// Width of the residual stream, 1 or more.
    pub hidden_size: usize,
    /// Width inside the MLP, 1 or more.
    pub intermediate_size: usize,
    /// Blocks, 1 or more.
    pub n_layers: usize,
    /// Query heads, a multiple of `n_kv_heads`.
    pub n_heads: usize,
    /// Key and value heads, 1 or more.
    pub n_kv_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// Longest sequence in tokens.
    pub max_positions: usize,
    /// Added to the mean square under RMSNorm's root.
    pub rms_norm_eps: f64,
    /// Rotary positions: those of most layers, and those of layers with a window where they differ.
    pub ropes: Vec<Rope>,
    /// How many values at the start of a head are turned; an odd number stands for the next even one.
    pub rotary_dim: usize,
    /// What differs between blocks, one for each.
    pub layers: Vec<LayerConfig>,
    /// What the scores of attention are multiplied by.
    pub score_scale: f64,
    /// The limit of the scores.
    pub attention_softcap: Option<f64>,
    /// The limit of the logits.
    pub final_softcap: Option<f64>,
    /// What the MLP's gate goes through.
    pub activation: Activation,
    /// Which linears have a bias.
    pub biases: Biases,
    /// Where the head's weights are.
    pub head: Head,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// The token before every text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// The token that fills up.
    pub pad_token_id: Option<u32>,
    /// The file as it was read, for writing a model of the same shape.
    pub raw: Map<String, Value>,
}

/// Which linears have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: Bias,
    /// Attention output.
    pub o: Bias,
    /// Gate, up and down.
    pub mlp: Bias,
}

/// Whether a linear has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// `y = x Wᵀ`.
    Absent,
    /// `y = x Wᵀ + b`.
    Present,
}

/// Where the head's weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The embedding's.
    Tied,
    /// A tensor of their own.
    Separate,
}

// Bounds far above any model, so that products of sizes can't overflow: 2^14 heads of 2^12 times a hidden size of
// 2^20 are 2^46 weights.
const MAX_VOCAB: usize = 1 << 24;
const MAX_HIDDEN: usize = 1 << 20;
const MAX_INTERMEDIATE: usize = 1 << 22;
const MAX_LAYERS: usize = 1 << 12;
const MAX_HEADS: usize = 1 << 14;
const MAX_HEAD_DIM: usize = 1 << 12;
/// Positions are counted in 32 bits.
const MAX_POSITIONS: usize = 1 << 31;

impl DecoderConfig {
    /// Reads and checks `config.json` in a model directory.
    ///
    /// # Errors
    /// Every problem at once: `NotFound` where there is no file, `UnsupportedModel` for an architecture or a feature
    /// that the engine does not have, `BrokenModel` for a value that is out of range or contradicts another.
    pub fn read(dir: &Path) -> Result<Self, Vec<Problem>> {
        let path = dir.join(CONFIG_JSON);
        if !dir.is_dir() {
            let problem = Problem::new(ProblemKind::NotFound, "is not a directory")
                .at(dir.display().to_string())
                .hint("give the directory that holds the model's config.json");
            return Err(vec![problem]);
        }
        let raw = json_file::read_object(&path, ProblemKind::BrokenModel).map_err(|problem| vec![problem])?;
        Self::from_json(raw, &path)
    }

    /// Checks a `config.json` that was read already; `path` only names it in problems.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_json(raw: Map<String, Value>, path: &Path) -> Result<Self, Vec<Problem>> {
        let family = family(&raw, path).map_err(|problem| vec![problem])?;
        let defaults = &family.defaults;
        let mut keys = Keys::new(&raw, path);

        let vocab_size = keys.count("vocab_size", defaults.vocab_size, MAX_VOCAB);
        let hidden_size = keys.count("hidden_size", defaults.hidden_size, MAX_HIDDEN);
        let intermediate_size = keys.count("intermediate_size", defaults.intermediate_size, MAX_INTERMEDIATE);
        let n_layers = keys.count("num_hidden_layers", defaults.n_layers, MAX_LAYERS);
        let n_heads = keys.count("num_attention_heads", defaults.n_heads, MAX_HEADS);
        let n_kv_heads = keys.n_kv_heads(defaults.n_kv_heads, n_heads, MAX_HEADS);
        let head_dim = keys.head_dim(defaults.head_dim, (hidden_size, n_heads), MAX_HEAD_DIM);
        if keys.fine(&["num_attention_heads", "num_key_value_heads"]) && !n_heads.is_multiple_of(n_kv_heads) {
            keys.refuse(format!(
                "`num_attention_heads` = {n_heads} is not a multiple of `num_key_value_heads` = {n_kv_heads}"
            ));
        }
        let max_positions = keys.count("max_position_embeddings", defaults.max_positions, MAX_POSITIONS);
        let rms_norm_eps = keys.number("rms_norm_eps", defaults.rms_norm_eps, 1e-20..=1.0);
        let initializer_range = keys.number("initializer_range", defaults.initializer_range, 0.0..=100.0);
        let facts = RopeFacts { family, head_dim, max_positions };
        let Ropes { ropes, rotary_dim, max_positions } = keys.ropes(&facts);
        let layers = layers::read(&mut keys, family, n_layers);
        let score_scale = match family.score_scale {
            ScoreScale::HeadDim => head_dim as f64,
            ScoreScale::QueryPreAttnScalar { default } => {
                keys.number("query_pre_attn_scalar", default, 1e-6..=1e9)
            }
        };
        let attention_softcap = keys.softcap(family.attention_softcap);
        let final_softcap = keys.softcap(family.final_softcap);
        let activation = keys.activation(family.activation);
        let mut bias = |rule| match rule {
            BiasRule::Never => Bias::Absent,
            BiasRule::Always => Bias::Present,
            BiasRule::Key(key) => keys.bias(key),
        };
        let rules = family.biases;
        let biases = Biases { qkv: bias(rules.qkv), o: bias(rules.o), mlp: bias(rules.mlp) };
        let head = keys.head(defaults.head);
        keys.expect_causal();
        keys.expect_readable_quantization();
        let TokenIds { bos_token_id, eos_token_ids, pad_token_id } = keys.token_ids(defaults, vocab_size);

        keys.finish()?;
        Ok(Self {
            family,
            vocab_size,
            hidden_size,
            intermediate_size,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            max_positions,
            rms_norm_eps,
            ropes,
            rotary_dim,
            layers,
            score_scale: 1.0 / score_scale.sqrt(),
            attention_softcap,
            final_softcap,
            activation,
            biases,
            head,
            initializer_range,
            bos_token_id,
            eos_token_ids,
            pad_token_id,
            raw,
        })
    }
}

/// The family's row, by `model_type`, and by `architectures` where that is missing; the two must agree.
fn family(raw: &Map<String, Value>, path: &Path) -> Result<&'static Family, Problem> {
    let refuse = |message: String| {
        let known: Vec<_> = FAMILIES
            .iter()
            .map(|family| format!("{} ({})", family.model_type, family.architecture))
            .collect();
        Problem::new(ProblemKind::UnsupportedModel, message)
            .at(path.display().to_string())
            .hint(format!("supported: {}", known.join(", ")))
    };
    let model_type = raw.get("model_type").and_then(Value::as_str);
    let architectures: Vec<&str> = match raw.get("architectures") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let family = match (model_type, architectures.first()) {
        (Some(model_type), _) => {
            FAMILIES.iter().find(|family| family.model_type == model_type).ok_or_else(|| {
                refuse(format!("`model_type` is `{model_type}`, which the engine does not have"))
            })?
        }
        (None, Some(architecture)) => FAMILIES
            .iter()
            .find(|family| family.architecture == *architecture)
            .ok_or_else(|| refuse(format!("architecture `{architecture}` is not one that the engine has")))?,
        (None, None) => return Err(refuse("names neither a `model_type` nor `architectures`".to_owned())),
    };
    if !architectures.is_empty() && !architectures.contains(&family.architecture) {
        return Err(refuse(format!(
            "architecture `{}` is not one that the engine has",
            architectures.join("`, `")
        )));
    }
    Ok(family)
}
