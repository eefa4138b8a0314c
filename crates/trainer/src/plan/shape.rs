//! The sizes of what a run holds and computes: the model and its adapter, without a single weight.

use ftl_core::spec::resolved::{LoraVariant, Quantization, Scales};

use crate::adapter::peft::{Layout, LowRank, Target};
use crate::model::config::{Bias, DecoderConfig, Head};
use crate::model::decoder::Trained;
use crate::model::families::{BlockNorms, EMBED_TOKENS, LM_HEAD, LayerLinear, QkNorms};
use crate::quant::double::NESTED_BLOCK;
use crate::quant::nf4::{n_blocks, n_code_bytes};

/// Sizes of a model with what is trained of it.
#[derive(Clone, Debug)]
pub struct ModelShape {
    /// Rows of the embedding.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of all queries.
    pub q_width: usize,
    /// Width of queries, keys and values.
    pub qkv_width: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Tables of angles, and their width.
    pub ropes: (usize, usize),
    /// Its blocks.
    pub layers: Vec<LayerShape>,
    /// The embedding and the head.
    pub ends: Ends,
    /// Which weights are trained.
    pub trained: Trained,
}

/// Sizes of a block.
#[derive(Clone, Debug)]
pub struct LayerShape {
    /// Which norms it has.
    pub norms: BlockNorms,
    /// The norms of queries and keys: groups of a token, and values of both weights.
    pub qk_norm: Option<(usize, usize)>,
    /// Whether queries and keys are turned.
    pub rope_index: Option<usize>,
    /// Queries, keys and values; the output; gate and up; down.
    pub linears: [LinearShape; 4],
}

/// Sizes of linears that read the same input.
#[derive(Clone, Debug)]
pub struct LinearShape {
    /// Width of the input.
    pub n_inputs: usize,
    /// The outputs of each.
    pub outputs: Vec<usize>,
    /// How the weights are held.
    pub quantization: Quantization,
    /// Whether they have biases.
    pub bias: Bias,
    /// The low-rank update.
    pub lora: Option<LoraSize>,
}

/// Sizes of a low-rank update.
#[derive(Clone, Debug)]
pub struct LoraSize {
    /// Outputs and rank of each part.
    pub parts: Vec<(usize, usize)>,
    /// What is learned beside the factors.
    pub variant: LoraVariant,
}

/// The embedding and the head.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Whether they are one tensor.
    pub head: Head,
    /// Whether the embedding is trained in full.
    pub embedding: End,
    /// Whether the head is.
    pub head_weight: End,
    /// The rank of the embedding's update.
    pub embedding_rank: Option<usize>,
    /// The head with a low-rank update.
    pub adapted_head: Option<LinearShape>,
}

/// What becomes of one end of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It stays as it is.
    Frozen,
    /// It is trained in full.
    Trained,
}

impl ModelShape {
    /// Of a model whose blocks' linears are held as `quantization` says, with an adapter or trained in full.
    pub fn of(config: &DecoderConfig, adapter: Option<&Layout>, quantization: Quantization) -> Self {
        let DecoderConfig { vocab_size, hidden_size, n_heads, n_kv_heads, head_dim, .. } = *config;
        let quantization = stored(config).unwrap_or(quantization);
        Self {
            vocab: vocab_size,
            hidden: hidden_size,
            q_width: n_heads * head_dim,
            qkv_width: (n_heads + 2 * n_kv_heads) * head_dim,
            n_heads,
            ropes: (config.ropes.len(), config.rotary_dim.next_multiple_of(2)),
            layers: (0..config.n_layers)
                .map(|layer| layer_shape(config, adapter, quantization, layer))
                .collect(),
            ends: ends(config, adapter),
            trained: if adapter.is_some() { Trained::Adapter } else { Trained::Base },
        }
    }

    /// Values of the embedding, and as many of the head.
    pub fn end_values(&self) -> usize {
        self.vocab * self.hidden
    }

    /// The values of each tensor that is trained in a block, in the engine's order.
    pub fn trained_of(&self, layer: &LayerShape) -> Vec<usize> {
        let mut tensors = Vec::new();
        match self.trained {
            Trained::Base => {
                tensors.extend(layer.norms().map(|_| self.hidden));
                // q and k each have a weight.
                tensors.extend(layer.qk_norm.iter().flat_map(|(_, values)| [values.div_ceil(2), values / 2]));
                for linear in &layer.linears {
                    tensors.push(linear.n_values());
                    match linear.bias {
                        Bias::Present => tensors.push(linear.n_outputs()),
                        Bias::Absent => {}
                    }
                }
            }
            Trained::Adapter => tensors.extend(layer.linears.iter().flat_map(LinearShape::adapter_tensors)),
        }
        tensors
    }

    /// The values of each tensor that is trained, all of them.
    pub fn all_trained(&self) -> Vec<usize> {
        let mut tensors = Vec::new();
        if self.ends.embedding == End::Trained {
            tensors.push(self.end_values());
        }
        if let Some(r) = self.ends.embedding_rank {
            tensors.extend([r * self.vocab, r * self.hidden]);
        }
        self.layers.iter().for_each(|layer| tensors.extend(self.trained_of(layer)));
        if self.trained == Trained::Base {
            tensors.push(self.hidden);
        }
        if self.ends.head_weight == End::Trained && self.has_own_head() {
            tensors.push(self.end_values());
        }
        tensors.extend(self.ends.adapted_head.iter().flat_map(LinearShape::adapter_tensors));
        tensors
    }

    /// Whether the head is a tensor of its own: always, or because an adapter keeps one end of a tied pair.
    pub fn has_own_head(&self) -> bool {
        self.ends.head == Head::Separate || self.splits_ends()
    }

    /// Whether an adapter keeps one end of a tied pair, so that there are two.
    pub fn splits_ends(&self) -> bool {
        let Ends { head, embedding, head_weight, .. } = &self.ends;
        let keeps = *embedding == End::Trained || *head_weight == End::Trained;
        *head == Head::Tied && self.trained == Trained::Adapter && keeps
    }
}

impl LayerShape {
    /// Its norms, each as wide as the residual stream.
    pub fn norms(&self) -> impl Iterator<Item = &'static str> {
        let BlockNorms { before_attention, after_attention, before_mlp, after_mlp } = self.norms;
        [before_attention, after_attention, before_mlp, after_mlp].into_iter().flatten()
    }
}

impl LinearShape {
    /// Width of the output.
    pub fn n_outputs(&self) -> usize {
        self.outputs.iter().sum()
    }

    /// Weights.
    pub fn n_values(&self) -> usize {
        self.n_outputs() * self.n_inputs
    }

    /// Ranks of all parts together.
    pub fn n_ranks(&self) -> usize {
        self.lora.as_ref().map_or(0, LoraSize::n_ranks)
    }

    /// Whether its update has magnitudes.
    pub fn is_dora(&self) -> bool {
        self.lora.as_ref().is_some_and(|lora| lora.variant == LoraVariant::Dora)
    }

    /// The values of each tensor of the update: the stacked A, then B and magnitudes of each part.
    pub fn adapter_tensors(&self) -> Vec<usize> {
        let Some(LoraSize { parts, variant }) = &self.lora else { return Vec::new() };
        let mut tensors = vec![self.n_ranks() * self.n_inputs];
        for (n_outputs, r) in parts {
            tensors.push(n_outputs * r);
            match variant {
                LoraVariant::Plain => {}
                LoraVariant::Dora => tensors.push(*n_outputs),
            }
        }
        tensors
    }
}

impl LoraSize {
    fn n_ranks(&self) -> usize {
        self.parts.iter().map(|(_, r)| r).sum()
    }
}

/// What codes and scales of a tensor in 4 bits take; the scales once more as they are before they are quantized.
pub fn nf4_bytes(n_values: usize, scales: Scales) -> (usize, usize, usize) {
    let n_blocks = n_blocks(n_values);
    let scale_bytes = n_blocks * size_of::<f32>();
    let kept = match scales {
        Scales::F32 => scale_bytes,
        Scales::Double => n_blocks + n_blocks.div_ceil(NESTED_BLOCK) * size_of::<f32>(),
    };
    (n_code_bytes(n_values), scale_bytes, kept)
}

/// How the files of a model hold its linears, where its config says that they are in 4 bits.
fn stored(config: &DecoderConfig) -> Option<Quantization> {
    let stored = config.raw.get("quantization_config").filter(|value| value.is_object())?;
    let is_double = stored.get("bnb_4bit_use_double_quant").and_then(serde_json::Value::as_bool);
    Some(Quantization::Nf4(if is_double == Some(true) { Scales::Double } else { Scales::F32 }))
}

fn layer_shape(
    config: &DecoderConfig,
    adapter: Option<&Layout>,
    quantization: Quantization,
    layer_index: usize,
) -> LayerShape {
    let linear = |parts: &[LayerLinear]| {
        let low_rank = |part: &LayerLinear| {
            let target = Target::Linear { layer_index, linear: *part };
            let found = adapter?.low_rank.iter().find(|low_rank| low_rank.target == target)?;
            Some((part.outputs(config), *found))
        };
        LinearShape {
            n_inputs: parts[0].inputs(config),
            outputs: parts.iter().map(|part| part.outputs(config)).collect(),
            quantization,
            bias: parts[0].bias(config),
            lora: lora(parts.iter().filter_map(low_rank)),
        }
    };
    let mut linears = config.family.merged().map(linear);
    let mut next = || linears.next().expect("every family has the four linears of a block");
    let (q, k) = (config.n_heads, config.n_kv_heads);
    LayerShape {
        norms: config.family.norms,
        qk_norm: match config.family.qk_norm {
            QkNorms::Absent => None,
            QkNorms::PerHead => Some((q + k, 2 * config.head_dim)),
            QkNorms::WholeWidth => Some((2, (q + k) * config.head_dim)),
        },
        rope_index: config.layers[layer_index].rope_index,
        linears: [next(), next(), next(), next()],
    }
}

fn lora(parts: impl Iterator<Item = (usize, LowRank)>) -> Option<LoraSize> {
    let parts: Vec<_> = parts.collect();
    let (_, LowRank { variant, .. }) = parts.first()?;
    Some(LoraSize { variant: *variant, parts: parts.iter().map(|(n, low_rank)| (*n, low_rank.r)).collect() })
}

fn ends(config: &DecoderConfig, adapter: Option<&Layout>) -> Ends {
    let low_rank = |target| adapter?.low_rank.iter().find(|low_rank| low_rank.target == target).copied();
    let end = |tensor: &str| match adapter {
        None => End::Trained,
        Some(layout) if layout.saved.iter().any(|saved| saved.tensor == tensor) => End::Trained,
        Some(_) => End::Frozen,
    };
    let adapted_head = low_rank(Target::Head).map(|found| LinearShape {
        n_inputs: config.hidden_size,
        outputs: vec![config.vocab_size],
        quantization: Quantization::None,
        bias: Bias::Absent,
        lora: lora(std::iter::once((config.vocab_size, found))),
    });
    Ends {
        head: config.head,
        embedding: end(EMBED_TOKENS),
        head_weight: end(LM_HEAD),
        embedding_rank: low_rank(Target::Embedding).map(|found| found.r),
        adapted_head,
    }
}
