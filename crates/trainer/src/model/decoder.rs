//! The decoder and its passes: the loss with its gradients, scores, logits, and the next tokens of a sequence.

use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::{Device, Tensor};

use crate::data::batch::Batch;
use crate::kernels::Kernels;
use crate::model::block::{Block, BlockBackward, BlockCache, Pass};
use crate::model::config::DecoderConfig;
use crate::model::rope;
use crate::ops::attention::AttentionShape;
use crate::ops::cross_entropy::{self, Objective, TokenScore};
use crate::ops::dropout::Key;
use crate::ops::embedding;
use crate::ops::linear::InputGradient;
use crate::ops::neftune::Noise;
use crate::ops::norm::{self, RmsNorm};
use crate::ops::param::{Gradients, Owner, Param, Slot};
use crate::ops::rope::RopeTable;

/// A decoder-only language model.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// What its config.json says.
    pub config: DecoderConfig,
    /// Heads and widths of its attention.
    pub shape: AttentionShape,
    /// Token embeddings, `[vocab, hidden]`.
    pub embed: Param,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: RmsNorm,
    /// The head, `[vocab, hidden]`; `None`: the embedding is the head.
    pub head: Option<Param>,
    /// Angles of the positions reserved so far.
    pub rope: RopeTable,
    /// Which code computes.
    pub kernels: Kernels,
    /// Where it computes.
    pub device: Device,
}

/// Which activations are kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All.
    Everything,
    /// The input of each block; the rest is computed again.
    BlockInputs,
}

/// How [`Decoder::objective_and_gradients`] goes.
#[derive(Clone, Copy, Debug)]
pub struct TrainPass {
    /// Which activations are kept.
    pub keep: Keep,
    /// The random stream of this microbatch; `None`: nothing is dropped.
    pub dropout: Option<Key>,
    /// What is added to the embeddings.
    pub noise: Option<Noise>,
}

/// How [`Decoder::loss_and_gradients`] goes.
#[derive(Clone, Copy, Debug)]
pub struct LossPass {
    /// What the sum of the negative log-likelihoods, each times its weight, is multiplied by in the objective.
    pub scale: f64,
    /// Which activations are kept.
    pub keep: Keep,
    /// The random stream of this microbatch; `None`: nothing is dropped.
    pub dropout: Option<Key>,
    /// Noise on the embeddings.
    pub noise: Option<Noise>,
}

/// Which weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// Those of the adapter.
    Adapter,
    /// Those of the model.
    Base,
}

/// Keys and values of the tokens before.
#[derive(Clone, Debug)]
pub struct Cache {
    blocks: Vec<BlockCache>,
    n_tokens: usize,
}

/// The tensors of a decoder by their names in files.
pub struct NamedTensors(HashMap<String, (Tensor<2>, Range<usize>)>);

impl NamedTensors {
    /// The values of a tensor, row by row.
    ///
    /// # Panics
    /// If the decoder has no tensor of that name.
    pub fn values(&self, name: &str) -> Vec<f32> {
        let (tensor, range) = &self.0[name];
        to_vec(tensor, range.clone())
    }
}

/// Some values of a tensor, in row order.
pub(crate) fn to_vec(tensor: &Tensor<2>, range: Range<usize>) -> Vec<f32> {
    let n: usize = tensor.dims().iter().product();
    let part = tensor.clone().reshape([n]).slice([range]);
    part.into_data().try_into_vec().expect("the engine computes in f32")
}

pub(super) fn attention_shape(config: &DecoderConfig) -> AttentionShape {
    AttentionShape {
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        head_dim: config.head_dim,
        scale: (1.0 / (config.head_dim as f64).sqrt()) as f32,
        window: None,
    }
}

impl Decoder {
    /// Makes angles for positions `0..n_positions`. Every pass needs those of its tokens.
    pub fn reserve_positions(&mut self, n_positions: usize) {
        if self.rope.cos_sin.dims()[0] < n_positions {
            self.rope = rope::table(&self.config.rope, self.config.head_dim, n_positions, &self.device);
        }
    }

    /// Chooses what is trained and gives each of its weights a slot, in the order of
    /// [`for_each_param`](Self::for_each_param).
    pub fn train(&mut self, trained: Trained) {
        let owner = match trained {
            Trained::Adapter => Owner::Adapter,
            Trained::Base => Owner::Base,
        };
        let mut n_slots = 0;
        self.for_each_param_mut(&mut |param| {
            param.slot = (param.owner == owner).then(|| {
                n_slots += 1;
                Slot(n_slots - 1)
            });
        });
    }

    /// Adds the gradients of `scale` times the summed negative log-likelihood of the supervised tokens, each times its
    /// weight in the batch, to `gradients`, and returns that sum in nats, not scaled.
    pub fn loss_and_gradients(&self, batch: &Batch, how: LossPass, gradients: &mut Gradients) -> f64 {
        let LossPass { scale, keep, dropout, noise } = how;
        let weights: Vec<f32> =
            batch.supervised_weights().map(|weight| (f64::from(weight) * scale) as f32).collect();
        let objective = Objective::Weighted(&weights);
        let pass = TrainPass { keep, dropout, noise };
        let nll = self.objective_and_gradients(batch, objective, pass, gradients);
        let weighted = nll.iter().zip(batch.supervised_weights());
        weighted.map(|(nll, weight)| f64::from(*nll) * f64::from(weight)).sum()
    }

    /// Adds the gradients of `objective` to `gradients`, and returns the negative log-likelihoods of the supervised
    /// tokens, in order.
    pub fn objective_and_gradients(
        &self,
        batch: &Batch,
        objective: Objective<'_>,
        how: TrainPass,
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        let TrainPass { keep, dropout, noise } = how;
        let pass = self.pass(batch, dropout);
        let mut x = embedding::forward(self.kernels, &self.embed, &batch.ids);
        if let Some(noise) = noise {
            noise.add(self.kernels, &mut x, &batch.segments);
        }
        let mut inputs = Vec::with_capacity(self.blocks.len());
        for (layer_index, block) in self.blocks.iter().enumerate() {
            let (y, saved) = block.forward(&x, layer_index, &pass);
            let saved = match keep {
                Keep::Everything => Some(saved),
                Keep::BlockInputs => None,
            };
            inputs.push((x, saved));
            x = y;
        }
        let (hidden, inverse_rms) = self.norm.forward(self.kernels, &x);
        let (nll, d_hidden) = cross_entropy::forward_backward(
            self.kernels,
            self.head(),
            (&hidden, &batch.targets),
            objective,
            gradients,
        );
        drop(hidden);
        let mut g = Tensor::zeros(x.dims(), &self.device);
        let input = norm::BackwardInput { x: &x, inverse_rms: &inverse_rms, dy: &d_hidden };
        self.norm.backward(self.kernels, input, &mut g, gradients);
        drop((x, d_hidden));
        for (layer_index, block) in self.blocks.iter().enumerate().rev() {
            let (x, saved) = inputs.pop().expect("one input for each block");
            let saved = saved.unwrap_or_else(|| block.forward(&x, layer_index, &pass).1);
            let want = if layer_index > 0 || self.embed.slot.is_some() {
                InputGradient::Wanted
            } else {
                InputGradient::Unused
            };
            let input = BlockBackward { x: &x, saved, layer_index, pass: &pass, want };
            block.backward(input, &mut g, gradients);
        }
        embedding::backward(self.kernels, &self.embed, &batch.ids, &g, gradients);
        nll
    }

    /// Scores the supervised tokens of the batch, in order.
    pub fn score(&self, batch: &Batch) -> Vec<TokenScore> {
        cross_entropy::score(self.kernels, self.head(), &self.hidden(batch), &batch.targets)
    }

    /// The logits of all tokens, `[tokens, vocab]`.
    pub fn logits(&self, batch: &Batch) -> Tensor<2> {
        cross_entropy::logits(self.kernels, self.head(), &self.hidden(batch))
    }

    /// Hidden states after the final norm, `[tokens, hidden]`.
    pub fn hidden(&self, batch: &Batch) -> Tensor<2> {
        let pass = self.pass(batch, None);
        let mut x = embedding::forward(self.kernels, &self.embed, &batch.ids);
        for (layer_index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, layer_index, &pass).0;
        }
        self.norm.forward(self.kernels, &x).0
    }

    /// An empty cache.
    pub fn cache(&self) -> Cache {
        Cache { blocks: vec![BlockCache::default(); self.blocks.len()], n_tokens: 0 }
    }

    /// Takes the next tokens of a sequence and returns the logits after the last of them, `[1, vocab]`.
    pub fn next_logits(&self, ids: &[u32], cache: &mut Cache) -> Tensor<2> {
        let n = ids.len();
        let positions = (cache.n_tokens as u32..(cache.n_tokens + n) as u32).collect();
        let batch = Batch { ids: ids.to_vec(), positions, ..Batch::default() };
        let pass = self.pass(&batch, None);
        let mut x = embedding::forward(self.kernels, &self.embed, ids);
        for (block, cache) in self.blocks.iter().zip(&mut cache.blocks) {
            x = block.forward_cached(&x, &pass, cache);
        }
        cache.n_tokens += n;
        let (hidden, _) = self.norm.forward(self.kernels, &x.narrow(0, n - 1, 1));
        cross_entropy::logits(self.kernels, self.head(), &hidden)
    }

    /// Zeros for the gradients of everything that is trained.
    pub fn zero_gradients(&self) -> Gradients {
        let mut shapes = Vec::new();
        self.for_each_param(&mut |param| shapes.extend(param.slot.map(|_| param.value.dims())));
        Gradients::zeros(shapes, &self.device, self.kernels)
    }

    /// Shows every weight, those of the base and those of an adapter.
    pub fn for_each_param(&self, show: &mut dyn FnMut(&Param)) {
        show(&self.embed);
        for block in &self.blocks {
            let Block { input_norm, qkv, o, post_attention_norm, gate_up, down } = block;
            show(&input_norm.weight);
            for linear in [qkv, o, gate_up, down] {
                show(&linear.weight);
                linear.bias.iter().for_each(&mut *show);
                if let Some(lora) = &linear.lora {
                    show(&lora.a);
                    lora.parts.iter().for_each(|part| show(&part.b));
                }
            }
            show(&post_attention_norm.weight);
        }
        show(&self.norm.weight);
        self.head.iter().for_each(show);
    }

    /// As [`for_each_param`](Self::for_each_param), in the same order, to change them.
    pub fn for_each_param_mut(&mut self, change: &mut dyn FnMut(&mut Param)) {
        change(&mut self.embed);
        for block in &mut self.blocks {
            let Block { input_norm, qkv, o, post_attention_norm, gate_up, down } = block;
            change(&mut input_norm.weight);
            for linear in [qkv, o, gate_up, down] {
                change(&mut linear.weight);
                linear.bias.iter_mut().for_each(&mut *change);
                if let Some(lora) = &mut linear.lora {
                    change(&mut lora.a);
                    lora.parts.iter_mut().for_each(|part| change(&mut part.b));
                }
            }
            change(&mut post_attention_norm.weight);
        }
        change(&mut self.norm.weight);
        self.head.iter_mut().for_each(change);
    }

    /// The model with its adapter off: what training started from, whatever the adapter learned. Weights are shared,
    /// not copied, so it should be gone before any of them is trained.
    pub fn without_adapter(&self) -> Self {
        let mut base = self.clone();
        for block in &mut base.blocks {
            for linear in block.linears_mut() {
                linear.lora = None;
            }
        }
        base
    }

    /// Every tensor of the model or of the adapter by its name in files.
    pub fn named_tensors(&self, owner: Owner) -> NamedTensors {
        let mut tensors = HashMap::new();
        self.for_each_param(&mut |param| {
            if param.owner == owner {
                for piece in &param.pieces {
                    tensors.insert(piece.name.clone(), (param.value.clone(), piece.values.clone()));
                }
            }
        });
        NamedTensors(tensors)
    }

    fn head(&self) -> &Param {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    fn pass<'a>(&'a self, batch: &'a Batch, dropout: Option<Key>) -> Pass<'a> {
        let reserved = self.rope.cos_sin.dims()[0];
        let longest = batch.positions.iter().max().map_or(0, |last| *last as usize + 1);
        assert!(longest <= reserved, "positions must be reserved before a pass");
        Pass { kernels: self.kernels, shape: &self.shape, rope: &self.rope, batch, dropout }
    }
}
