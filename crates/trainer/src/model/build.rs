//! A decoder out of its files, or out of random numbers.

use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use sha2::{Digest, Sha256};

use crate::kernels::Kernels;
use crate::model::block::{Block, MERGED};
use crate::model::config::{Bias, DecoderConfig, Head};
use crate::model::decoder::{Decoder, attention_shape};
use crate::model::families::{EMBED_TOKENS, FINAL_NORM, LM_HEAD, LayerLinear, LayerNorm};
use crate::model::weights::WeightFiles;
use crate::ops::linear::Linear;
use crate::ops::norm::RmsNorm;
use crate::ops::param::{Owner, Param, Piece};

/// Where weights come from.
pub enum Source<'a> {
    /// Files that were checked against the config.
    Files(&'a WeightFiles),
    /// Normal with `initializer_range`, norms 1 and biases 0, as transformers starts a model. Each tensor has a
    /// stream of its own, so a weight does not depend on the order in which they are drawn.
    Random {
        /// The run's seed.
        seed: u64,
    },
}

/// Builds the decoder, all of it frozen.
pub fn build(config: &DecoderConfig, source: &Source<'_>, device: &Device) -> Decoder {
    let builder = Builder { config, source, device };
    let matrix =
        |name: &str| builder.param(vec![(name.to_owned(), vec![config.vocab_size, config.hidden_size])]);
    Decoder {
        config: config.clone(),
        shape: attention_shape(config),
        embed: matrix(EMBED_TOKENS),
        blocks: (0..config.n_layers).map(|layer_index| builder.block(layer_index)).collect(),
        norm: builder.norm(FINAL_NORM.to_owned()),
        head: match config.head {
            Head::Tied => None,
            Head::Separate => Some(matrix(LM_HEAD)),
        },
        embed_lora: None,
        adapted_head: None,
        rope: crate::model::rope::table(&config.rope, config.head_dim, 0, device),
        kernels: Kernels::of(device),
        device: device.clone(),
    }
}

struct Builder<'a> {
    config: &'a DecoderConfig,
    source: &'a Source<'a>,
    device: &'a Device,
}

impl Builder<'_> {
    fn block(&self, layer_index: usize) -> Block {
        let [qkv, o, gate_up, down] = MERGED.map(|parts| self.linear(layer_index, parts));
        Block {
            input_norm: self.norm(LayerNorm::Input.weight_name(layer_index)),
            qkv,
            o,
            post_attention_norm: self.norm(LayerNorm::PostAttention.weight_name(layer_index)),
            gate_up,
            down,
        }
    }

    fn norm(&self, name: String) -> RmsNorm {
        RmsNorm {
            weight: self.param(vec![(name, vec![self.config.hidden_size])]),
            eps: self.config.rms_norm_eps,
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
            weight: self.param(weights.collect()),
            bias: (!biases.is_empty()).then(|| self.param(biases)),
            lora: None,
        }
    }

    /// One weight out of tensors that are stacked by rows (vectors end to end).
    fn param(&self, tensors: Vec<(String, Vec<usize>)>) -> Param {
        let mut pieces = Vec::with_capacity(tensors.len());
        let mut end = 0;
        for (name, shape) in tensors {
            let start = end;
            end += shape.iter().product::<usize>();
            pieces.push(Piece { name, values: start..end, shape });
        }
        let width = match pieces[0].shape[..] {
            [_, n_cols] => n_cols,
            _ => end,
        };
        let mut values = vec![0.0; end];
        for piece in &pieces {
            self.fill(piece, &mut values[piece.values.clone()]);
        }
        let value = Tensor::from_data(TensorData::new(values, [end / width, width]), self.device);
        Param { value, slot: None, owner: Owner::Base, pieces }
    }

    fn fill(&self, piece: &Piece, values: &mut [f32]) {
        match self.source {
            Source::Files(files) => files.read_f32_into(&piece.name, values),
            Source::Random { seed } => {
                if piece.shape.len() == 2 {
                    let mut rng = stream(*seed, &piece.name);
                    let normal = Normal::new(0.0f32, self.config.initializer_range as f32)
                        .expect("the config's check keeps initializer_range positive");
                    values.fill_with(|| normal.sample(&mut rng));
                } else if !piece.name.ends_with(".bias") {
                    values.fill(1.0);
                }
            }
        }
    }
}

/// A random stream of its own for each tensor.
pub fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}
