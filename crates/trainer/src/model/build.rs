//! A decoder out of its files, or out of random numbers.

use burn::tensor::{DType, Device, Tensor, TensorData};
use ftl_core::spec::resolved::Quantization;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use sha2::{Digest, Sha256};

use crate::device::OpenDevice;
use crate::kernels::Kernels;
use crate::model::block::{Block, Norms};
use crate::model::config::{Bias, DecoderConfig, Head, LayerConfig};
use crate::model::decoder::Decoder;
use crate::model::families::{
    BlockNorms, EMBED_TOKENS, FINAL_NORM, LM_HEAD, LayerLinear, qk_norm_tensors, weight_name,
};
use crate::model::rope::RopeTables;
use crate::model::rough;
use crate::model::weights::WeightFiles;
use crate::ops::attention::AttentionShape;
use crate::ops::linear::{Frozen, Linear, Nf4Weight, Weight};
use crate::ops::norm::RmsNorm;
use crate::ops::param::{Owner, Param, Piece};
use crate::ops::qk_norm::QkNorm;
use crate::quant::Quantizer;

/// Where weights come from.
pub enum Source<'a> {
    /// Files that were checked against the config.
    Files(&'a WeightFiles),
    /// Normal with `initializer_range`, norms without effect and biases 0, as transformers starts a model. Each tensor has a
    /// stream of its own, so a weight does not depend on the order in which they are drawn.
    Random {
        /// The run's seed.
        seed: u64,
    },
    /// The same spread, made in parallel and in a hundredth of the time, to measure speed with.
    Rough {
        /// Where they come from.
        seed: u64,
    },
}

/// Values that are read and quantized at a time: 1 MiB, whole blocks. A tensor that ends in 4 bits is never whole in
/// memory before.
pub(crate) const CHUNK_VALUES: usize = 1 << 18;

/// Builds the decoder, all of it frozen; what the files hold in 4 bits stays so.
pub fn build(config: &DecoderConfig, source: &Source<'_>, device: &OpenDevice) -> Decoder {
    build_quantized(config, source, Quantization::None, device)
}

/// As [`build`]; the linears of the blocks are quantized one by one while they are read, if wanted.
pub fn build_quantized(
    config: &DecoderConfig,
    source: &Source<'_>,
    quantization: Quantization,
    device: &OpenDevice,
) -> Decoder {
    let dtype = Kernels::of(&device.device, device.precision).dtype();
    assemble(config, &Builder { config, source, quantization, device: &device.device, dtype }, device)
}

/// As [`build`], for all weights to be trained: their values are kept as they are. 16 bits would lose what
/// steps have changed, so that a run would not go on from a checkpoint as itself.
pub fn build_to_train(config: &DecoderConfig, source: &Source<'_>, device: &OpenDevice) -> Decoder {
    let quantization = Quantization::None;
    let builder = Builder { config, source, quantization, device: &device.device, dtype: DType::F32 };
    assemble(config, &builder, device)
}

fn assemble(config: &DecoderConfig, builder: &Builder<'_>, device: &OpenDevice) -> Decoder {
    let kernels = Kernels::of(&device.device, device.precision);
    let device = &device.device;
    let matrix =
        |name: &str| builder.param(vec![(name.to_owned(), vec![config.vocab_size, config.hidden_size])]);
    Decoder {
        config: config.clone(),
        embed: matrix(EMBED_TOKENS),
        blocks: (0..config.n_layers).map(|layer_index| builder.block(layer_index)).collect(),
        norm: builder.norm(FINAL_NORM.to_owned()),
        head: match config.head {
            Head::Tied => None,
            Head::Separate => Some(matrix(LM_HEAD)),
        },
        embed_lora: None,
        adapted_head: None,
        ropes: RopeTables::new(config, device),
        kernels,
        device: device.clone(),
    }
}

struct Builder<'a> {
    config: &'a DecoderConfig,
    source: &'a Source<'a>,
    quantization: Quantization,
    device: &'a Device,
    /// Of the weights that are not in 4 bits.
    dtype: DType,
}

/// The numbers of one tensor, in row order, as many at a time as wanted.
enum Numbers<'a> {
    Stored { files: &'a WeightFiles, name: &'a str, n_read: usize },
    Normal { rng: Box<ChaCha8Rng>, normal: Normal<f32> },
    Rough(rough::Numbers),
    Same(f32),
}

impl Numbers<'_> {
    fn next_into(&mut self, out: &mut [f32]) {
        match self {
            Self::Stored { files, name, n_read } => {
                files.read_f32_part_into(name, *n_read, out);
                *n_read += out.len();
            }
            Self::Normal { rng, normal } => out.fill_with(|| normal.sample(rng)),
            Self::Rough(numbers) => numbers.next_into(out),
            Self::Same(value) => out.fill(*value),
        }
    }
}

impl Builder<'_> {
    fn block(&self, layer_index: usize) -> Block {
        let config = self.config;
        let LayerConfig { window, rope_index } = config.layers[layer_index];
        let mut linears = config.family.merged().map(|parts| self.linear(layer_index, parts));
        let mut linear = || linears.next().expect("every family has the four linears of a block");
        let (qkv, o, gate_up, down) = (linear(), linear(), linear(), linear());
        let norm = |path: Option<&str>| path.map(|path| self.norm(weight_name(layer_index, path)));
        let BlockNorms { before_attention, after_attention, before_mlp, after_mlp } = config.family.norms;
        Block {
            shape: AttentionShape {
                n_heads: config.n_heads,
                n_kv_heads: config.n_kv_heads,
                head_dim: config.head_dim,
                scale: config.score_scale as f32,
                window,
                softcap: config.attention_softcap.map(|cap| cap as f32),
            },
            rope_index,
            activation: config.activation,
            norms: Norms {
                before_attention: norm(before_attention),
                after_attention: norm(after_attention),
                before_mlp: norm(before_mlp),
                after_mlp: norm(after_mlp),
            },
            qkv,
            qk_norm: qk_norm_tensors(layer_index, config).map(|tensors| {
                let [q, k] = tensors.map(|tensor| self.param(vec![(tensor.name.clone(), tensor.shape())]));
                QkNorm { q, k, eps: config.rms_norm_eps, meaning: config.family.norm_weight }
            }),
            o,
            gate_up,
            down,
        }
    }

    fn norm(&self, name: String) -> RmsNorm {
        RmsNorm {
            weight: self.param(vec![(name, vec![self.config.hidden_size])]),
            eps: self.config.rms_norm_eps,
            meaning: self.config.family.norm_weight,
        }
    }

    fn linear(&self, layer_index: usize, parts: &[LayerLinear]) -> Linear {
        let config = self.config;
        let weights = parts
            .iter()
            .map(|part| (part.weight_name(layer_index), vec![part.outputs(config), part.inputs(config)]));
        let biases = parts
            .iter()
            .filter(|part| part.bias(config) == Bias::Present)
            .map(|part| (part.bias_name(layer_index), vec![part.outputs(config)]));
        let biases: Vec<_> = biases.collect();
        // Parts that are merged share their input, and so far also whether they have a bias.
        assert!(biases.is_empty() || biases.len() == parts.len(), "merged linears all have a bias or none");
        Linear {
            weight: self.weight(weights.collect()),
            bias: (!biases.is_empty()).then(|| self.param(biases)),
            lora: None,
        }
    }

    /// The matrix of a linear, in 4 bits where that is wanted or stored.
    fn weight(&self, tensors: Vec<(String, Vec<usize>)>) -> Weight {
        let stored = match self.source {
            Source::Files(files) => tensors.iter().any(|(name, _)| files.is_nf4(name)),
            Source::Random { .. } | Source::Rough { .. } => false,
        };
        if self.quantization == Quantization::None && !stored {
            return Weight::Dense(self.param(tensors));
        }
        let pieces = stacked(tensors);
        let parts = pieces.iter().map(|piece| self.frozen(piece)).collect();
        Weight::Nf4(Nf4Weight::new(pieces[0].shape[1], pieces, parts))
    }

    fn frozen(&self, piece: &Piece) -> Frozen {
        if let Source::Files(files) = self.source
            && files.is_nf4(&piece.name)
        {
            return Frozen::Nf4(files.read_nf4(&piece.name, piece.values.len(), self.device));
        }
        let (n_values, mut numbers) = (piece.values.len(), self.numbers(piece));
        match self.quantization {
            Quantization::None => {
                let mut values = vec![0.0; n_values];
                numbers.next_into(&mut values);
                Frozen::Dense(self.tensor(values, piece.shape.clone()))
            }
            Quantization::Nf4(scales) => {
                let mut quantizer = Quantizer::new(n_values);
                let mut chunk = vec![0.0; CHUNK_VALUES.min(n_values)];
                for start in (0..n_values).step_by(CHUNK_VALUES) {
                    let chunk = &mut chunk[..CHUNK_VALUES.min(n_values - start)];
                    numbers.next_into(chunk);
                    quantizer.push(chunk);
                }
                Frozen::Nf4(quantizer.finish(scales, self.device))
            }
        }
    }

    /// One weight out of tensors that are stacked by rows (vectors end to end).
    fn param(&self, tensors: Vec<(String, Vec<usize>)>) -> Param {
        let pieces = stacked(tensors);
        let end = pieces.last().map_or(0, |piece| piece.values.end);
        let width = match pieces[0].shape[..] {
            [_, n_cols] => n_cols,
            _ => end,
        };
        let mut values = vec![0.0; end];
        for piece in &pieces {
            self.numbers(piece).next_into(&mut values[piece.values.clone()]);
        }
        let value = self.tensor(values, vec![end / width, width]);
        Param { value, slot: None, owner: Owner::Base, pieces }
    }

    /// In the type of the weights, made here so that no more than that is sent to a GPU.
    fn tensor(&self, values: Vec<f32>, shape: Vec<usize>) -> Tensor<2> {
        let data = TensorData::new(values, shape).convert_dtype(self.dtype);
        Tensor::from_data(data, (self.device, self.dtype))
    }

    fn numbers<'b>(&'b self, piece: &'b Piece) -> Numbers<'b> {
        match self.source {
            Source::Files(files) => Numbers::Stored { files, name: &piece.name, n_read: 0 },
            Source::Random { seed } if piece.shape.len() == 2 => {
                let normal = Normal::new(0.0f32, self.config.initializer_range as f32)
                    .expect("the config's check keeps initializer_range positive");
                Numbers::Normal { rng: Box::new(stream(*seed, &piece.name)), normal }
            }
            Source::Rough { seed } if piece.shape.len() == 2 => {
                let std = self.config.initializer_range as f32;
                Numbers::Rough(rough::Numbers::new(stream(*seed, &piece.name).next_u64(), std))
            }
            Source::Random { .. } | Source::Rough { .. } if piece.name.ends_with(".bias") => {
                Numbers::Same(0.0)
            }
            Source::Random { .. } | Source::Rough { .. } => {
                Numbers::Same(self.config.family.norm_weight.neutral())
            }
        }
    }
}

/// Tensors as pieces of one weight, one after the other.
fn stacked(tensors: Vec<(String, Vec<usize>)>) -> Vec<Piece> {
    let mut end = 0;
    let piece = |(name, shape): (String, Vec<usize>)| {
        let start = end;
        end += shape.iter().product::<usize>();
        Piece { name, values: start..end, shape }
    };
    tensors.into_iter().map(piece).collect()
}

/// A random stream of its own for each tensor.
pub fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}
