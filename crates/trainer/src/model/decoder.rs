//! The decoder and its passes: the loss with its gradients, scores, logits, and the next tokens of a sequence.

use std::collections::HashMap;
use std::ops::{Deref, Range};

use burn::tensor::{Device, Tensor};

use crate::data::batch::Batch;
use crate::kernels::{Kernels, wide};
use crate::model::block::{Block, BlockBackward, BlockCache, Neighbours, Pass, make_ready, normed_before};
use crate::model::config::DecoderConfig;
use crate::model::families::EmbeddingScale;
use crate::model::rope::RopeTables;
use crate::ops::attention::Segments;
use crate::ops::cross_entropy::{self, Head, Objective, TokenScore};
use crate::ops::dropout::Key;
use crate::ops::embedding::{self, EmbeddingLora};
use crate::ops::linear::{InputGradient, Linear};
use crate::ops::neftune::Noise;
use crate::ops::norm::{self, RmsNorm};
use crate::ops::param::{Gradients, Owner, Param, Slot};
use crate::ops::rope::{self, RopeTable};

/// A decoder-only language model.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// What its config.json says.
    pub config: DecoderConfig,
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
    pub ropes: RopeTables,
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
    /// Noise on the embeddings.
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
    ids: Vec<u32>,
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
    wide(&part).into_data().try_into_vec().expect("the tensor was made f32")
}

impl Decoder {
    /// Makes angles for positions `0..n_positions`. Every pass needs those of its tokens.
    pub fn reserve_positions(&mut self, n_positions: usize) {
        self.ropes.reserve(n_positions);
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
            if param.slot.is_some() {
                // Small updates would be lost in 16 bits.
                param.value = wide(&param.value);
            }
        });
    }

    /// Adds the gradients of `scale` times the summed negative log-likelihood of the supervised tokens, each times its
    /// weight in the batch, to `gradients`, and returns that sum in nats, not scaled.
    pub fn loss_and_gradients(&self, batch: &Batch, how: LossPass, gradients: &mut Gradients) -> f64 {
        let LossPass { scale, keep, dropout, noise } = how;
        let weights = batch.scaled_weights(scale);
        let how = TrainPass { keep, dropout, noise };
        let nll = self.objective_and_gradients(batch, Objective::Weighted(&weights), how, gradients);
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
        backpropagate(self, (batch, objective), how, gradients, &mut |_, _, _| {})
    }

    /// As [`objective_and_gradients`](Self::objective_and_gradients), and shows each weight to `update` as soon as its
    /// gradient is there and the weight is used no more.
    pub fn objective_and_updates(
        &mut self,
        batch: &Batch,
        objective: Objective<'_>,
        (how, gradients): (TrainPass, &mut Gradients),
        update: &mut dyn FnMut(&mut Param, &mut Gradients),
    ) -> Vec<f32> {
        let done = &mut |decoder: &mut &mut Self, place, gradients: &mut Gradients| {
            decoder.for_each_param_at(place, &mut |param| update(param, gradients));
        };
        backpropagate(self, (batch, objective), how, gradients, done)
    }

    /// Scores the supervised tokens of the batch, in order.
    pub fn score(&self, batch: &Batch) -> Vec<TokenScore> {
        cross_entropy::score(self.kernels, self.output_head(), &self.hidden(batch), &batch.targets)
    }

    /// The logits of all tokens, `[tokens, vocab]`.
    pub fn logits(&self, batch: &Batch) -> Tensor<2> {
        cross_entropy::logits(self.kernels, self.output_head(), &self.hidden(batch))
    }

    /// Hidden states after the final norm, `[tokens, hidden]`.
    pub fn hidden(&self, batch: &Batch) -> Tensor<2> {
        let (ropes, segments) = (self.ropes_for(batch), self.segments_of(batch));
        let pass = self.pass(batch, (&ropes, &segments), None);
        make_ready(self.kernels, &self.blocks);
        let mut x = self.embedded(&batch.ids);
        for (layer_index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, layer_index, &pass).0;
        }
        self.norm.forward(self.kernels, &x).0
    }

    /// An empty cache.
    pub fn cache(&self) -> Cache {
        Cache { blocks: vec![BlockCache::default(); self.blocks.len()], ids: Vec::new() }
    }

    /// Takes the next tokens of a sequence and returns the logits after the last of them, `[1, vocab]`.
    pub fn next_logits(&self, ids: &[u32], cache: &mut Cache) -> Tensor<2> {
        let before = cache.ids.len();
        cache.ids.extend(ids);
        if before > 0 && self.ropes.outgrown(before, cache.ids.len()) {
            let ids = std::mem::take(&mut cache.ids);
            *cache = self.cache();
            return self.next_logits(&ids, cache);
        }
        let positions = (before as u32..cache.ids.len() as u32).collect();
        let batch = Batch { ids: ids.to_vec(), positions, ..Batch::default() };
        let (ropes, segments) = (self.ropes_for(&batch), self.segments_of(&batch));
        let pass = self.pass(&batch, (&ropes, &segments), None);
        make_ready(self.kernels, &self.blocks);
        let mut x = self.embedded(ids);
        for (block, cache) in self.blocks.iter().zip(&mut cache.blocks) {
            x = block.forward_cached(&x, &pass, cache);
        }
        let (hidden, _) = self.norm.forward(self.kernels, &x.narrow(0, ids.len() - 1, 1));
        cross_entropy::logits(self.kernels, self.output_head(), &hidden)
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
        self.blocks.iter().for_each(|block| for_each_param_of(block, show));
        show(&self.norm.weight);
        self.head.iter().for_each(&mut *show);
        // The weight is the head's, which was shown.
        if let Some(lora) = self.adapted_head.as_ref().and_then(|head| head.lora.as_ref()) {
            lora.for_each_param(show);
        }
    }

    /// As [`for_each_param`](Self::for_each_param), in the same order, to change them.
    pub fn for_each_param_mut(&mut self, change: &mut dyn FnMut(&mut Param)) {
        self.for_each_param_at(Place::Embedding, change);
        for layer_index in 0..self.blocks.len() {
            self.for_each_param_at(Place::Block(layer_index), change);
        }
        self.for_each_param_at(Place::Norm, change);
        self.for_each_param_at(Place::Head, change);
    }

    fn for_each_param_at(&mut self, place: Place, change: &mut dyn FnMut(&mut Param)) {
        match place {
            Place::Embedding => {
                change(&mut self.embed);
                if let Some(lora) = &mut self.embed_lora {
                    lora.for_each_param_mut(change);
                }
            }
            Place::Block(layer_index) => {
                let Block { norms, qkv, qk_norm, o, gate_up, down, .. } = &mut self.blocks[layer_index];
                norms.iter_mut().for_each(|norm| change(&mut norm.weight));
                qk_norm.iter_mut().flat_map(|norm| [&mut norm.q, &mut norm.k]).for_each(&mut *change);
                for linear in [qkv, o, gate_up, down] {
                    linear.for_each_param_mut(change);
                }
            }
            Place::Norm => change(&mut self.norm.weight),
            Place::Head => {
                self.head.iter_mut().for_each(&mut *change);
                if let Some(lora) = self.adapted_head.as_mut().and_then(|head| head.lora.as_mut()) {
                    lora.for_each_param_mut(change);
                }
            }
        }
    }

    /// Whether some of its linears are held in 4 bits, so that they can't be trained.
    pub fn is_quantized(&self) -> bool {
        self.blocks.iter().flat_map(Block::linears).any(|linear| linear.weight.param().is_none())
    }

    /// The model with its adapter off: what training started from, whatever the adapter learned. Weights are shared,
    /// not copied, so it should be gone before any of them is trained.
    pub fn without_adapter(&self) -> Self {
        let mut base = self.clone();
        base.embed_lora = None;
        base.adapted_head = None;
        for block in &mut base.blocks {
            for linear in block.linears_mut() {
                linear.lora = None;
            }
        }
        base
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

    /// What makes logits out of hidden states; nothing is dropped.
    pub fn output_head(&self) -> Head<'_> {
        let weight = self.head.as_ref().unwrap_or(&self.embed);
        let softcap = self.config.final_softcap.map(|cap| cap as f32);
        Head { weight, softcap, adapted: self.adapted_head.as_ref(), dropout: None }
    }

    fn trains_embedding(&self) -> bool {
        let lora = self.embed_lora.as_ref();
        self.embed.slot.is_some() || lora.is_some_and(|lora| lora.a.slot.is_some() || lora.b.slot.is_some())
    }

    /// The angles for a batch.
    pub fn ropes_for(&self, batch: &Batch) -> Vec<RopeTable> {
        let longest = batch.positions.iter().max().map_or(0, |last| *last as usize + 1);
        assert!(longest <= self.ropes.n_positions(), "positions must be reserved before a pass");
        let mut ropes = self.ropes.for_length(longest);
        match self.kernels {
            Kernels::Plain | Kernels::Cpu => {}
            Kernels::Cube(_) => {
                let positions = rope::positions_on(&self.device, &batch.positions);
                ropes.iter_mut().for_each(|table| table.positions = Some(positions.clone()));
            }
        }
        ropes
    }

    /// The segments of a batch, for attention.
    pub fn segments_of<'a>(&self, batch: &'a Batch) -> Segments<'a> {
        Segments::new(self.kernels, &batch.segments, &self.device)
    }

    /// What goes into the first block.
    pub fn embedded(&self, ids: &[u32]) -> Tensor<2> {
        let x = embedding::forward(self.kernels, &self.embed, ids);
        let x = match &self.embed_lora {
            Some(lora) => lora.forward(self.kernels, ids, x),
            None => x,
        };
        match self.embedding_scale() {
            Some(scale) => x.mul_scalar(scale),
            None => x,
        }
    }

    /// What embeddings are multiplied by.
    fn embedding_scale(&self) -> Option<f32> {
        match self.config.family.embedding_scale {
            EmbeddingScale::One => None,
            EmbeddingScale::SqrtHidden => Some((self.config.hidden_size as f64).sqrt() as f32),
        }
    }

    fn pass<'a>(
        &self,
        batch: &'a Batch,
        (ropes, segments): (&'a [RopeTable], &'a Segments<'a>),
        dropout: Option<Key>,
    ) -> Pass<'a> {
        Pass { kernels: self.kernels, ropes, batch, segments, dropout }
    }
}

/// Shows every weight of a block, in the order of [`Decoder::for_each_param`].
fn for_each_param_of(block: &Block, show: &mut dyn FnMut(&Param)) {
    let Block { norms, qkv, qk_norm, o, gate_up, down, .. } = block;
    norms.iter().for_each(|norm| show(&norm.weight));
    qk_norm.iter().flat_map(|norm| [&norm.q, &norm.k]).for_each(&mut *show);
    for linear in [qkv, o, gate_up, down] {
        linear.for_each_param(show);
    }
}

/// Where weights are that the backward pass is done with at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The token embedding, and with it a tied head.
    Embedding,
    /// A block.
    Block(usize),
    /// The norm after the last block.
    Norm,
    /// A head of its own.
    Head,
}

/// One microbatch forward and backward. `done` is told when the weights at a place are used no more; what the decoder
/// is behind decides whether they can be changed then.
fn backpropagate<D: Deref<Target = Decoder>>(
    mut decoder: D,
    (batch, objective): (&Batch, Objective<'_>),
    how: TrainPass,
    gradients: &mut Gradients,
    done: &mut dyn FnMut(&mut D, Place, &mut Gradients),
) -> Vec<f32> {
    let TrainPass { keep, dropout, noise } = how;
    let kernels = decoder.kernels;
    let (ropes, segments) = (decoder.ropes_for(batch), decoder.segments_of(batch));
    // The largest gradient, and the first: taken before the activations, it finds its old place.
    if let Some(slot) = decoder.output_head().weight.slot {
        gradients.reserve(slot);
    }
    make_ready(kernels, &decoder.blocks);
    let mut x = decoder.embedded(&batch.ids);
    if let Some(noise) = noise {
        noise.add(kernels, &mut x, &batch.segments);
    }
    let mut inputs = Vec::with_capacity(decoder.blocks.len());
    let mut input = None;
    for (layer_index, block) in decoder.blocks.iter().enumerate() {
        let neighbours = Neighbours::of((&decoder.blocks, &decoder.norm), layer_index, kernels, input);
        let pass = decoder.pass(batch, (&ropes, &segments), dropout);
        let (y, saved, next_input) = block.forward_between(&x, neighbours, layer_index, &pass);
        input = next_input;
        let saved = match keep {
            Keep::Everything => Some(saved),
            Keep::BlockInputs => None,
        };
        inputs.push((x, saved));
        x = y;
    }
    let (hidden, inverse_rms) = normed_before(&decoder.norm, kernels, &x, input);
    let (nll, d_hidden) = cross_entropy::forward_backward(
        kernels,
        Head { dropout: dropout.map(|key| key.fold(decoder.blocks.len() as u64)), ..decoder.output_head() },
        (&hidden, &batch.targets),
        objective,
        gradients,
    );
    drop(hidden);
    done(&mut decoder, Place::Head, gradients);
    let input = norm::BackwardInput { x: &x, inverse_rms: &inverse_rms, dy: &d_hidden };
    let mut g = decoder.norm.backward_alone(kernels, input, gradients);
    drop((x, d_hidden));
    done(&mut decoder, Place::Norm, gradients);
    while let Some((x, saved)) = inputs.pop() {
        let layer_index = inputs.len();
        let (block, pass) = (&decoder.blocks[layer_index], decoder.pass(batch, (&ropes, &segments), dropout));
        for_each_param_of(block, &mut |param| {
            if let Some(slot) = param.slot {
                gradients.reserve(slot);
            }
        });
        let saved = saved.unwrap_or_else(|| block.forward(&x, layer_index, &pass).1);
        let want = if layer_index > 0 || decoder.trains_embedding() {
            InputGradient::Wanted
        } else {
            InputGradient::Unused
        };
        let input = BlockBackward { x: &x, saved, layer_index, pass: &pass, want };
        block.backward(input, &mut g, gradients);
        drop(x);
        done(&mut decoder, Place::Block(layer_index), gradients);
    }
    if let Some(scale) = decoder.embedding_scale() {
        g = g.mul_scalar(scale);
    }
    embedding::backward(kernels, &decoder.embed, &batch.ids, &g, gradients);
    if let Some(lora) = &decoder.embed_lora {
        lora.backward(kernels, &batch.ids, &g, gradients);
    }
    done(&mut decoder, Place::Embedding, gradients);
    nll.read()
}
