//! The model families that the engine knows: what a row of the table says. The rows stand in `table`, the names and
//! shapes of tensors in `tensors`.
//!
//! A row says what a family has; how it is computed is the decoder's business. Names are those of Hugging Face
//! transformers, whose `modeling_<family>.py` is the reference for every row.

mod table;
mod tensors;

pub use table::FAMILIES;
pub use tensors::{
    Dim, DimKey, EMBED_TOKENS, ExpectedTensor, FINAL_NORM, LAYERS, LM_HEAD, LayerLinear, Merged,
    expected_tensors, qk_norm_tensors, weight_name,
};

use crate::model::config::Head;
use crate::ops::gated_mlp::Activation;
use crate::ops::norm::NormWeight;

/// One row: a family of decoder-only models.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// config.json's `model_type`.
    pub model_type: &'static str,
    /// The entry of config.json's `architectures`.
    pub architecture: &'static str,
    /// The linears of a block, in the order of computation; those of one [`Merged`] follow each other.
    pub linears: &'static [LayerLinear],
    /// The norms of a block.
    pub norms: BlockNorms,
    /// What a norm's weight means.
    pub norm_weight: NormWeight,
    /// The norms of queries and keys.
    pub qk_norm: QkNorms,
    /// Which linears have a bias.
    pub biases: BiasRules,
    /// What the MLP's gate goes through.
    pub activation: ActivationRule,
    /// What embeddings are multiplied by.
    pub embedding_scale: EmbeddingScale,
    /// Which layers have a window.
    pub windows: Windows,
    /// Which part of which heads is turned.
    pub rotary: Rotary,
    /// What scores are multiplied by.
    pub score_scale: ScoreScale,
    /// The limit of the scores of attention.
    pub attention_softcap: Softcap,
    /// The limit of the logits.
    pub final_softcap: Softcap,
    /// What a missing key means.
    pub defaults: Defaults,
}

impl Family {
    /// The linears that are multiplied at once, in the order of [`Merged`].
    pub fn merged(&self) -> impl Iterator<Item = &'static [LayerLinear]> {
        self.linears.chunk_by(|a, b| a.merged() == b.merged())
    }
}

/// The paths of a block's norms, each `[hidden_size]`: the same names stand for different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockNorms {
    /// Of the input of attention.
    pub before_attention: Option<&'static str>,
    /// Of what attention adds to the residual stream.
    pub after_attention: Option<&'static str>,
    /// Of the input of the MLP.
    pub before_mlp: Option<&'static str>,
    /// Of what the MLP adds to the residual stream.
    pub after_mlp: Option<&'static str>,
}

/// The norms of queries and keys, before the rotary positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkNorms {
    /// There are none.
    Absent,
    /// Each head by itself, with weights `[head_dim]`.
    PerHead,
    /// All heads together, with weights as wide as the projection.
    WholeWidth,
}

/// Which linears have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BiasRules {
    /// Queries, keys and values.
    pub qkv: BiasRule,
    /// Attention output.
    pub o: BiasRule,
    /// Gate, up and down.
    pub mlp: BiasRule,
}

/// What decides whether a linear has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasRule {
    /// It has none.
    Never,
    /// It has one.
    Always,
    /// It has one if this config key is true.
    Key(&'static str),
}

/// What the MLP's gate goes through, if config.json does not say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationRule {
    /// The config key.
    pub key: &'static str,
    /// What a missing key means.
    pub default: Activation,
    /// Whether `gelu` stands for its approximation by tanh, which is what Gemma's first configs meant.
    pub gelu: Gelu,
}

/// What `gelu` means in a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// The exact function, which the engine does not have.
    Exact,
    /// Its approximation by tanh.
    Tanh,
}

/// What embeddings are multiplied by on their way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingScale {
    /// Nothing.
    One,
    /// The square root of `hidden_size`.
    SqrtHidden,
}

/// Which layers look back no further than `sliding_window`. Where layers differ, `layer_types` rules if it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// None.
    Never,
    /// All, if `sliding_window` is not null.
    Always,
    /// With `use_sliding_window`, those from `max_window_layers` on.
    FromLayer {
        /// `max_window_layers`.
        default: usize,
    },
    /// All but each n-th.
    AllButEvery {
        /// n.
        n: usize,
        /// The config key that gives another n.
        key: Option<&'static str>,
    },
    /// With `use_sliding_window`, those without rotary positions.
    WithoutRope,
}

/// Which part of which heads is turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rotary {
    /// Whole heads, in every layer.
    Whole,
    /// The first `partial_rotary_factor` of each head, in every layer.
    Partial,
    /// Whole heads, but not in the layers where `no_rope_layers` has a 0.
    SomeLayers {
        /// `no_rope_layer_interval`: without a list, each n-th layer has none.
        interval: usize,
    },
    /// Whole heads; layers with a window have angles of their own, which are not scaled.
    LocalAndGlobal {
        /// `rope_local_base_freq`.
        local_theta: f64,
    },
}

/// What the scores of attention are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScoreScale {
    /// `1 / √head_dim`.
    HeadDim,
    /// `1 / √query_pre_attn_scalar`.
    QueryPreAttnScalar {
        /// `query_pre_attn_scalar`.
        default: f64,
    },
}

/// The limit c of what goes through `c · tanh(x / c)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Softcap {
    /// There is none.
    Never,
    /// What the config key says; null: none.
    Key {
        /// The key.
        key: &'static str,
        /// What a missing key means.
        default: Option<f64>,
    },
}

/// What a missing key of config.json means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// `vocab_size`.
    pub vocab_size: usize,
    /// `hidden_size`.
    pub hidden_size: usize,
    /// `intermediate_size`.
    pub intermediate_size: usize,
    /// `num_hidden_layers`.
    pub n_layers: usize,
    /// `num_attention_heads`.
    pub n_heads: usize,
    /// `num_key_value_heads`; `None`, and null in a file: as many as there are query heads.
    pub n_kv_heads: Option<usize>,
    /// `head_dim`; `None`: `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// `max_position_embeddings`.
    pub max_positions: usize,
    /// `original_max_position_embeddings`, where the family has it beside `max_position_embeddings`.
    pub original_max_positions: Option<usize>,
    /// `sliding_window`.
    pub sliding_window: Option<usize>,
    /// `rms_norm_eps`.
    pub rms_norm_eps: f64,
    /// `rope_theta`.
    pub rope_theta: f64,
    /// `initializer_range`.
    pub initializer_range: f64,
    /// `tie_word_embeddings`.
    pub head: Head,
    /// `bos_token_id`.
    pub bos_token_id: Option<u32>,
    /// `eos_token_id`.
    pub eos_token_id: Option<u32>,
    /// `pad_token_id`.
    pub pad_token_id: Option<u32>,
}
