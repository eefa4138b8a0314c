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
use crate::ops::cross_entropy::{self, Head, TokenScore};
use crate::ops::dropout::Key;
use crate::ops::embedding::{self, EmbeddingLora};
use crate::ops::linear::{InputGradient, Linear};
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
    /// The low-rank update of the embedding.
    pub embed_lora: Option<EmbeddingLora>,
    /// The head with a low-rank update; its weight is that of `head`, or of the embedding.
    pub adapted_head: Option<Linear>,
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

/// How [`Decoder::loss_and_gradients`] goes.
#[derive(Clone, Copy, Debug)]
pub struct LossPass {
    /// What the sum of the negative log-likelihoods is multiplied by in the objective.
    pub scale: f64,
    /// Which activations are kept.
    pub keep: Keep,
    /// The random stream of this microbatch; `None`: nothing is dropped.
    pub dropout: Option<Key>,
}

/// Which weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// Those of the adapter, with its copies of the model's modules.
    Adapter,
    /// Those of the model.
    Base,
}

impl Trained {
    fn trains(self, owner: Owner) -> bool {
        match owner {
            Owner::Adapter | Owner::Copy => self == Self::Adapter,
            Owner::Base => self == Self::Base,
            Owner::Kept => false,
        }
    }

    /// Whether it stands in the file of what is trained.
    fn files(self, owner: Owner) -> bool {
        self.trains(owner) || (self == Self::Adapter && owner == Owner::Kept)
    }
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
        let mut n_slots = 0;
        self.for_each_param_mut(&mut |param| {
            param.slot = trained.trains(param.owner).then(|| {
                n_slots += 1;
                Slot(n_slots - 1)
            });
        });
    }

    /// Adds the gradients of `scale` times the summed negative log-likelihood of the supervised tokens to
    /// `gradients`, and returns that sum in nats, not scaled.
    pub fn loss_and_gradients(&self, batch: &Batch, how: LossPass, gradients: &mut Gradients) -> f64 {
        let LossPass { scale, keep, dropout } = how;
        let pass = self.pass(batch, dropout);
        let mut x = self.embedded(&batch.ids);
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
        let (sum_nats, d_hidden) = cross_entropy::forward_backward(
            self.kernels,
            Head { dropout: dropout.map(|key| key.fold(self.blocks.len() as u64)), ..self.head() },
            (&hidden, &batch.targets),
            scale,
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
            let want = if layer_index > 0 || self.trains_embedding() {
                InputGradient::Wanted
            } else {
                InputGradient::Unused
            };
            let input = BlockBackward { x: &x, saved, layer_index, pass: &pass, want };
            block.backward(input, &mut g, gradients);
        }
        embedding::backward(self.kernels, &self.embed, &batch.ids, &g, gradients);
        if let Some(lora) = &self.embed_lora {
            lora.backward(self.kernels, &batch.ids, &g, gradients);
        }
        sum_nats
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
        let mut x = self.embedded(&batch.ids);
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
        let batch = Batch { ids: ids.to_vec(), positions, targets: Vec::new(), segments: Vec::new() };
        let pass = self.pass(&batch, None);
        let mut x = self.embedded(ids);
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
        if let Some(lora) = &self.embed_lora {
            lora.for_each_param(show);
        }
        for block in &self.blocks {
            let Block { input_norm, qkv, o, post_attention_norm, gate_up, down } = block;
            show(&input_norm.weight);
            for linear in [qkv, o, gate_up, down] {
                linear.for_each_param(show);
            }
            show(&post_attention_norm.weight);
        }
        show(&self.norm.weight);
        self.head.iter().for_each(&mut *show);
        // The weight is the head's, which was shown.
        if let Some(lora) = self.adapted_head.as_ref().and_then(|head| head.lora.as_ref()) {
            lora.for_each_param(show);
        }
    }

    /// As [`for_each_param`](Self::for_each_param), in the same order, to change them.
    pub fn for_each_param_mut(&mut self, change: &mut dyn FnMut(&mut Param)) {
        change(&mut self.embed);
        if let Some(lora) = &mut self.embed_lora {
            lora.for_each_param_mut(change);
        }
        for block in &mut self.blocks {
            let Block { input_norm, qkv, o, post_attention_norm, gate_up, down } = block;
            change(&mut input_norm.weight);
            for linear in [qkv, o, gate_up, down] {
                linear.for_each_param_mut(change);
            }
            change(&mut post_attention_norm.weight);
        }
        change(&mut self.norm.weight);
        self.head.iter_mut().for_each(&mut *change);
        if let Some(lora) = self.adapted_head.as_mut().and_then(|head| head.lora.as_mut()) {
            lora.for_each_param_mut(change);
        }
    }

    /// Every tensor of the model or of the adapter by its name in files.
    pub fn named_tensors(&self, of: Trained) -> NamedTensors {
        let mut tensors = HashMap::new();
        self.for_each_param(&mut |param| {
            if of.files(param.owner) {
                for piece in &param.pieces {
                    tensors.insert(piece.name.clone(), (param.value.clone(), piece.values.clone()));
                }
            }
        });
        NamedTensors(tensors)
    }

    /// What makes logits; nothing is dropped.
    pub fn head(&self) -> Head<'_> {
        let weight = self.head.as_ref().unwrap_or(&self.embed);
        Head { weight, adapted: self.adapted_head.as_ref(), dropout: None }
    }

    /// The hidden states that the first block reads, `[ids, hidden]`.
    pub fn embedded(&self, ids: &[u32]) -> Tensor<2> {
        let x = embedding::forward(self.kernels, &self.embed, ids);
        match &self.embed_lora {
            Some(lora) => lora.forward(self.kernels, ids, x),
            None => x,
        }
    }

    fn trains_embedding(&self) -> bool {
        let lora = self.embed_lora.as_ref();
        self.embed.slot.is_some() || lora.is_some_and(|lora| lora.a.slot.is_some() || lora.b.slot.is_some())
    }

    fn pass<'a>(&'a self, batch: &'a Batch, dropout: Option<Key>) -> Pass<'a> {
        let reserved = self.rope.cos_sin.dims()[0];
        let longest = batch.positions.iter().max().map_or(0, |last| *last as usize + 1);
        assert!(longest <= reserved, "positions must be reserved before a pass");
        Pass { kernels: self.kernels, shape: &self.shape, rope: &self.rope, batch, dropout }
    }
}
