//! Every tensor of a model: its name, its shape, and what of config.json the shape follows.

use super::{BiasRule, Family, QkNorms};
use crate::model::config::{Bias, DecoderConfig, Head};

/// The token embedding, `[vocab_size, hidden_size]`; also the head where it is tied.
pub const EMBED_TOKENS: &str = "model.embed_tokens.weight";
/// The norm after the last block, `[hidden_size]`.
pub const FINAL_NORM: &str = "model.norm.weight";
/// The head, `[vocab_size, hidden_size]`, where it is not tied.
pub const LM_HEAD: &str = "lm_head.weight";
/// What the names of blocks begin with; the layer index follows.
pub const LAYERS: &str = "model.layers.";
/// The norm of queries inside a block.
const Q_NORM: &str = "self_attn.q_norm";
/// The norm of keys inside a block.
const K_NORM: &str = "self_attn.k_norm";

/// A linear of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerLinear {
    /// Queries, `[n_heads * head_dim, hidden_size]`.
    Q,
    /// Keys, `[n_kv_heads * head_dim, hidden_size]`.
    K,
    /// Values, `[n_kv_heads * head_dim, hidden_size]`.
    V,
    /// Queries, keys and values in one tensor, `[(n_heads + 2 * n_kv_heads) * head_dim, hidden_size]`.
    Qkv,
    /// Attention output, `[hidden_size, n_heads * head_dim]`.
    O,
    /// The gate of the MLP, `[intermediate_size, hidden_size]`.
    Gate,
    /// What the gate lets through, `[intermediate_size, hidden_size]`.
    Up,
    /// Gate and up in one tensor, `[2 * intermediate_size, hidden_size]`.
    GateUp,
    /// Back to the hidden size, `[hidden_size, intermediate_size]`.
    Down,
}

/// A linear of the engine's block: those of a family that read the same input are multiplied at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Merged {
    /// Queries, keys and values.
    Qkv,
    /// Attention output.
    O,
    /// Gate and up.
    GateUp,
    /// Back to the hidden size.
    Down,
}

impl LayerLinear {
    /// Where it is computed.
    pub fn merged(self) -> Merged {
        match self {
            Self::Q | Self::K | Self::V | Self::Qkv => Merged::Qkv,
            Self::O => Merged::O,
            Self::Gate | Self::Up | Self::GateUp => Merged::GateUp,
            Self::Down => Merged::Down,
        }
    }

    /// The module's path inside its block: `self_attn.q_proj`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::Qkv => "self_attn.qkv_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::GateUp => "mlp.gate_up_proj",
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
        weight_name(layer_index, self.path())
    }

    /// The bias's full name; there is a tensor only where [`bias`](Self::bias) is present.
    pub fn bias_name(self, layer_index: usize) -> String {
        format!("{LAYERS}{layer_index}.{}.bias", self.path())
    }

    /// Whether it has a bias.
    pub fn bias(self, config: &DecoderConfig) -> Bias {
        match self.merged() {
            Merged::Qkv => config.biases.qkv,
            Merged::O => config.biases.o,
            Merged::GateUp | Merged::Down => config.biases.mlp,
        }
    }

    /// The config key that decides about its bias, if one does.
    pub fn bias_key(self, family: &Family) -> Option<&'static str> {
        let rule = match self.merged() {
            Merged::Qkv => family.biases.qkv,
            Merged::O => family.biases.o,
            Merged::GateUp | Merged::Down => family.biases.mlp,
        };
        match rule {
            BiasRule::Key(key) => Some(key),
            BiasRule::Always | BiasRule::Never => None,
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
        let intermediate = Dim { size: config.intermediate_size, from: DimKey::Intermediate };
        let [queries, keys] = head_dims(config);
        match self {
            Self::Q => [queries, hidden],
            Self::K | Self::V => [keys, hidden],
            Self::Qkv => [Dim { size: queries.size + 2 * keys.size, from: DimKey::AllHeads }, hidden],
            Self::O => [hidden, queries],
            Self::Gate | Self::Up => [intermediate, hidden],
            Self::GateUp => [Dim { size: 2 * intermediate.size, ..intermediate }, hidden],
            Self::Down => [hidden, intermediate],
        }
    }
}

/// The full name of the weight of a module inside a block.
pub fn weight_name(layer_index: usize, path: &str) -> String {
    format!("{LAYERS}{layer_index}.{path}.weight")
}

/// The norms of queries and of keys in a block, if the family has them.
pub fn qk_norm_tensors(layer_index: usize, config: &DecoderConfig) -> Option<[ExpectedTensor; 2]> {
    let dims = match config.family.qk_norm {
        QkNorms::Absent => return None,
        QkNorms::PerHead => [Dim { size: config.head_dim, from: DimKey::HeadDim }; 2],
        QkNorms::WholeWidth => head_dims(config),
    };
    let [q, k] = [Q_NORM, K_NORM].map(|path| weight_name(layer_index, path));
    Some([tensor(q, &dims[..1]), tensor(k, &dims[1..])])
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
    /// `(num_attention_heads + 2 * num_key_value_heads) * head_dim`.
    AllHeads,
    /// `head_dim`.
    HeadDim,
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
            Self::AllHeads => format!(
                "num_attention_heads = {n_heads}, num_key_value_heads = {n_kv_heads} and head_dim = {head_dim}"
            ),
            Self::HeadDim => format!("head_dim = {head_dim}"),
        }
    }
}

/// Every tensor of a model: embedding, blocks, final norm, head; the order in which they are written, too.
pub fn expected_tensors(config: &DecoderConfig) -> Vec<ExpectedTensor> {
    let hidden = Dim { size: config.hidden_size, from: DimKey::Hidden };
    let vocab = Dim { size: config.vocab_size, from: DimKey::Vocab };
    let norms = config.family.norms;
    let norms = [norms.before_attention, norms.after_attention, norms.before_mlp, norms.after_mlp];
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
        tensors.extend(qk_norm_tensors(layer_index, config).into_iter().flatten());
        tensors.extend(norms.iter().flatten().map(|path| tensor(weight_name(layer_index, path), &[hidden])));
    }
    tensors.push(tensor(FINAL_NORM, &[hidden]));
    match config.head {
        Head::Separate => tensors.push(tensor(LM_HEAD, &[vocab, hidden])),
        Head::Tied => {}
    }
    tensors
}

/// The widths of all queries and of all keys.
fn head_dims(config: &DecoderConfig) -> [Dim; 2] {
    [
        Dim { size: config.n_heads * config.head_dim, from: DimKey::Heads },
        Dim { size: config.n_kv_heads * config.head_dim, from: DimKey::KvHeads },
    ]
}

fn tensor(name: impl Into<String>, dims: &[Dim]) -> ExpectedTensor {
    ExpectedTensor { name: name.into(), dims: dims.to_vec() }
}
