//! The model families that the engine knows: one row each, and every tensor name in one place.
//!
//! A row says what a family has; how it is computed is the decoder's business. Names are those of Hugging Face
//! transformers, whose `modeling_<family>.py` is the reference for every row.

use crate::model::config::{Bias, DecoderConfig, Head};

/// One row: a family of decoder-only models.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// config.json's `model_type`.
    pub model_type: &'static str,
    /// The entry of config.json's `architectures`.
    pub architecture: &'static str,
    /// The linears of a block, in the order of computation.
    pub linears: &'static [LayerLinear],
    /// The norms of a block.
    pub norms: &'static [LayerNorm],
    /// The config key that gives q, k and v a bias.
    pub qkv_bias_key: &'static str,
    /// The config key that gives o a bias.
    pub o_bias_key: &'static str,
    /// The config key that gives gate, up and down a bias.
    pub mlp_bias_key: &'static str,
    /// What a missing key means.
    pub defaults: Defaults,
}

/// What a missing key of config.json means.
#[derive(Debug, PartialEq)]
pub struct Defaults {
    /// `vocab_size`.
    pub vocab_size: usize,
    /// `hidden_size`.
    pub hidden_size: usize,
    /// `intermediate_size`.
    pub intermediate_size: usize,
    /// `num_hidden_layers`.
    pub n_layers: usize,
    /// `num_attention_heads`; `num_key_value_heads` follows the value in force.
    pub n_heads: usize,
    /// `max_position_embeddings`.
    pub max_positions: usize,
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
}

/// Every family, in the order in which they are listed to the user.
pub static FAMILIES: &[Family] = &[LLAMA];

/// transformers 5.23, `LlamaConfig` and `modeling_llama.py`.
const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "LlamaForCausalLM",
    linears: &[
        LayerLinear::Q,
        LayerLinear::K,
        LayerLinear::V,
        LayerLinear::O,
        LayerLinear::Gate,
        LayerLinear::Up,
        LayerLinear::Down,
    ],
    norms: &[LayerNorm::Input, LayerNorm::PostAttention],
    qkv_bias_key: "attention_bias",
    o_bias_key: "attention_bias",
    mlp_bias_key: "mlp_bias",
    defaults: Defaults {
        vocab_size: 32_000,
        hidden_size: 4096,
        intermediate_size: 11_008,
        n_layers: 32,
        n_heads: 32,
        max_positions: 2048,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        initializer_range: 0.02,
        head: Head::Separate,
        bos_token_id: Some(1),
        eos_token_id: Some(2),
    },
};

/// The token embedding, `[vocab_size, hidden_size]`; also the head where it is tied.
pub const EMBED_TOKENS: &str = "model.embed_tokens.weight";
/// The norm after the last block, `[hidden_size]`.
pub const FINAL_NORM: &str = "model.norm.weight";
/// The head, `[vocab_size, hidden_size]`, where it is not tied.
pub const LM_HEAD: &str = "lm_head.weight";
/// What the names of blocks begin with; the layer index follows.
pub const LAYERS: &str = "model.layers.";

/// A linear of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerLinear {
    /// Queries, `[n_heads * head_dim, hidden_size]`.
    Q,
    /// Keys, `[n_kv_heads * head_dim, hidden_size]`.
    K,
    /// Values, `[n_kv_heads * head_dim, hidden_size]`.
    V,
    /// Attention output, `[hidden_size, n_heads * head_dim]`.
    O,
    /// The gate of the MLP, `[intermediate_size, hidden_size]`.
    Gate,
    /// What the gate lets through, `[intermediate_size, hidden_size]`.
    Up,
    /// Back to the hidden size, `[hidden_size, intermediate_size]`.
    Down,
}

impl LayerLinear {
    /// The module's path inside its block: `self_attn.q_proj`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The last part of [`path`](Self::path), by which LoRA targets are named: `q_proj`.
    pub fn short_name(self) -> &'static str {
        let path = self.path();
        path.rsplit_once('.').map_or(path, |(_, last)| last)
    }

    /// The module's full name: `model.layers.3.self_attn.q_proj`.
    pub fn name(self, layer_index: usize) -> String {
        format!("{LAYERS}{layer_index}.{}", self.path())
    }

    /// The weight's full name.
    pub fn weight_name(self, layer_index: usize) -> String {
        format!("{LAYERS}{layer_index}.{}.weight", self.path())
    }

    /// The bias's full name; there is a tensor only where [`bias`](Self::bias) is present.
    pub fn bias_name(self, layer_index: usize) -> String {
        format!("{LAYERS}{layer_index}.{}.bias", self.path())
    }

    /// Whether it has a bias.
    pub fn bias(self, config: &DecoderConfig) -> Bias {
        match self {
            Self::Q | Self::K | Self::V => config.biases.qkv,
            Self::O => config.biases.o,
            Self::Gate | Self::Up | Self::Down => config.biases.mlp,
        }
    }

    /// The config key that decides about its bias.
    pub fn bias_key(self, family: &Family) -> &'static str {
        match self {
            Self::Q | Self::K | Self::V => family.qkv_bias_key,
            Self::O => family.o_bias_key,
            Self::Gate | Self::Up | Self::Down => family.mlp_bias_key,
        }
    }

    /// The weight's rows.
    pub fn outputs(self, config: &DecoderConfig) -> usize {
        self.dims(config)[0].size
    }

    /// The weight's columns.
    pub fn inputs(self, config: &DecoderConfig) -> usize {
        self.dims(config)[1].size
    }

    fn dims(self, config: &DecoderConfig) -> [Dim; 2] {
        let hidden = Dim { size: config.hidden_size, from: DimKey::Hidden };
        let queries = Dim { size: config.n_heads * config.head_dim, from: DimKey::Heads };
        let keys = Dim { size: config.n_kv_heads * config.head_dim, from: DimKey::KvHeads };
        let intermediate = Dim { size: config.intermediate_size, from: DimKey::Intermediate };
        match self {
            Self::Q => [queries, hidden],
            Self::K | Self::V => [keys, hidden],
            Self::O => [hidden, queries],
            Self::Gate | Self::Up => [intermediate, hidden],
            Self::Down => [hidden, intermediate],
        }
    }
}

/// A norm of a block, `[hidden_size]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerNorm {
    /// Before attention.
    Input,
    /// Before the MLP.
    PostAttention,
}

impl LayerNorm {
    /// The weight's full name.
    pub fn weight_name(self, layer_index: usize) -> String {
        let path = match self {
            Self::Input => "input_layernorm",
            Self::PostAttention => "post_attention_layernorm",
        };
        format!("{LAYERS}{layer_index}.{path}.weight")
    }
}

/// A tensor that a model must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTensor {
    /// Its full name.
    pub name: String,
    /// Its shape, and where each size comes from.
    pub dims: Vec<Dim>,
}

impl ExpectedTensor {
    /// Its shape.
    pub fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|dim| dim.size).collect()
    }
}

/// One size of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim {
    /// How large.
    pub size: usize,
    /// What of config.json it follows.
    pub from: DimKey,
}

/// What of config.json a size follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DimKey {
    /// `vocab_size`.
    Vocab,
    /// `hidden_size`.
    Hidden,
    /// `intermediate_size`.
    Intermediate,
    /// `num_attention_heads * head_dim`.
    Heads,
    /// `num_key_value_heads * head_dim`.
    KvHeads,
}

impl DimKey {
    /// What config.json says, as text: `hidden_size = 64`.
    pub fn describe(self, config: &DecoderConfig) -> String {
        let DecoderConfig {
            vocab_size, hidden_size, intermediate_size, n_heads, n_kv_heads, head_dim, ..
        } = config;
        match self {
            Self::Vocab => format!("vocab_size = {vocab_size}"),
            Self::Hidden => format!("hidden_size = {hidden_size}"),
            Self::Intermediate => format!("intermediate_size = {intermediate_size}"),
            Self::Heads => format!("num_attention_heads = {n_heads} and head_dim = {head_dim}"),
            Self::KvHeads => format!("num_key_value_heads = {n_kv_heads} and head_dim = {head_dim}"),
        }
    }
}

/// Every tensor of a model: embedding, blocks, final norm, head; the order in which they are written, too.
pub fn expected_tensors(config: &DecoderConfig) -> Vec<ExpectedTensor> {
    let hidden = Dim { size: config.hidden_size, from: DimKey::Hidden };
    let vocab = Dim { size: config.vocab_size, from: DimKey::Vocab };
    let mut tensors = vec![tensor(EMBED_TOKENS, &[vocab, hidden])];
    for layer_index in 0..config.n_layers {
        for linear in config.family.linears {
            let dims = linear.dims(config);
            tensors.push(tensor(linear.weight_name(layer_index), &dims));
            match linear.bias(config) {
                Bias::Present => tensors.push(tensor(linear.bias_name(layer_index), &dims[..1])),
                Bias::Absent => {}
            }
        }
        for norm in config.family.norms {
            tensors.push(tensor(norm.weight_name(layer_index), &[hidden]));
        }
    }
    tensors.push(tensor(FINAL_NORM, &[hidden]));
    match config.head {
        Head::Separate => tensors.push(tensor(LM_HEAD, &[vocab, hidden])),
        Head::Tied => {}
    }
    tensors
}

fn tensor(name: impl Into<String>, dims: &[Dim]) -> ExpectedTensor {
    ExpectedTensor { name: name.into(), dims: dims.to_vec() }
}
