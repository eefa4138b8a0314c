//! A run from its first weight to its last file, as the plan goes through it: what is taken and given back, in the
//! engine's order ([`model::decoder`](crate::model::decoder), [`ops::cross_entropy`](crate::ops::cross_entropy),
//! [`train`](crate::train)).

use super::block::Saved;
use super::ledger::{Held, Ledger, Part};
use super::shape::{End, LayerShape, ModelShape};
use super::{Machine, Memory, Reference, Update, Workload};
use crate::model::decoder::{Keep, Trained};
use crate::ops::attention;
use crate::ops::cross_entropy::chunk_rows;
use crate::ops::linear::InputGradient;

/// Numbers that are in f32 on every device: gradients of what is trained, moments, statistics.
pub(super) const F32: usize = size_of::<f32>();
/// Columns of the right operand that the CPU's products copy at a time (`gemm`'s `kc`), and what that copy takes at most:
/// it stays in the largest cache.
const PACKED_INNER: usize = 512;
const MOST_PACKED_BYTES: usize = 30 << 20;
/// Matrices as large as the scores that plain attention has at once: scores before and after their mask, the mask, and
/// probabilities.
const N_SCORES: usize = 4;
/// Steps after which the heap looks the same after each.
const N_STEPS: usize = 3;

/// A way through a run.
pub(super) struct Walk<'a> {
    pub(super) shape: &'a ModelShape,
    pub(super) work: &'a Workload,
    pub(super) machine: &'a Machine,
    pub(super) ledger: Ledger,
    /// Tokens that are computed with.
    pub(super) n_rows: usize,
    tile: Option<(Held, usize)>,
    gradients: Vec<Held>,
}

impl<'a> Walk<'a> {
    /// Goes through all of it and says what was held at the peak.
    pub(super) fn through(shape: &'a ModelShape, work: &'a Workload, machine: &'a Machine) -> Ledger {
        let n_rows = work.most_tokens;
        let (ledger, gradients) = (Ledger::default(), Vec::new());
        let mut walk = Self { shape, work, machine, ledger, n_rows, tile: None, gradients };
        walk.start();
        walk.score_reference();
        walk.score(work.eval_tokens);
        walk.answer();
        for _ in 0..N_STEPS {
            walk.step();
        }
        walk.save();
        walk.ledger
    }

    /// DPO's reference: forward passes of the model without its adapter, or of a second model.
    fn score_reference(&mut self) {
        let second = match self.work.reference {
            Reference::None => return,
            Reference::Shared => Vec::new(),
            Reference::SecondModel => self.model(Part::Weights),
        };
        self.score(self.work.most_tokens);
        self.ledger.give_all(second);
    }

    /// A forward pass without a backward one.
    fn score(&mut self, n_tokens: usize) {
        if n_tokens == 0 {
            return;
        }
        self.n_rows = n_tokens;
        let shape = self.shape;
        let mut x = self.rows(shape.hidden, Part::Block);
        for layer in &shape.layers {
            let (y, saved) = self.forward(layer, &x, Part::Block);
            self.drop_saved(saved);
            self.ledger.give(x);
            x = y;
        }
        let inverse_rms = self.statistics(1, Part::Block);
        let hidden = self.rows(shape.hidden, Part::Block);
        self.ledger.give_all([x, inverse_rms]);
        let n = chunk_rows(shape.vocab).min(n_tokens);
        let chunk =
            self.ledger.take(Part::Logits, n * shape.hidden * self.machine.precision.activation_bytes);
        self.ledger.touch(Part::Logits, n * shape.vocab * F32);
        self.ledger.give_all([chunk, hidden]);
        self.n_rows = self.work.most_tokens;
    }

    /// An answer to a held-out prompt: keys and values of all blocks, and the scores of a chunk of its queries.
    fn answer(&mut self) {
        let n_tokens = self.work.answer_tokens;
        if n_tokens == 0 {
            return;
        }
        self.n_rows = n_tokens;
        let shape = self.shape;
        let mut cache = Vec::new();
        let mut x = self.rows(shape.hidden, Part::Block);
        for layer in &shape.layers {
            cache.push(self.rows(shape.qkv_width - shape.q_width, Part::Activations));
            let scores = shape.n_heads * attention::CHUNK.min(n_tokens) * n_tokens * F32;
            self.ledger.touch(Part::Block, N_SCORES * scores);
            let (y, saved) = self.forward(layer, &x, Part::Block);
            self.drop_saved(saved);
            self.ledger.give(x);
            x = y;
        }
        self.ledger.give(x);
        self.ledger.give_all(cache);
        self.n_rows = self.work.most_tokens;
    }

    fn step(&mut self) {
        for _ in 0..self.work.n_microbatches.min(2) {
            self.microbatch();
        }
        let gradients = std::mem::take(&mut self.gradients);
        self.ledger.give_all(gradients);
    }

    /// One microbatch forward and backward.
    fn microbatch(&mut self) {
        let (shape, keep) = (self.shape, self.work.keep);
        let is_first = self.gradients.is_empty();
        let at_head = shape.ends.head_weight == End::Trained;
        let mut ends = Vec::new();
        if at_head && is_first {
            ends.push(self.ledger.take(Part::Gradients, shape.end_values() * F32));
        }
        let mut x = self.rows(shape.hidden, Part::Activations);
        let mut inputs: Vec<(Held, Option<Saved>)> = Vec::new();
        for layer in &shape.layers {
            let part = match keep {
                Keep::Everything => Part::Activations,
                Keep::BlockInputs => Part::Block,
            };
            let (y, saved) = self.forward(layer, &x, part);
            let saved = match keep {
                Keep::Everything => Some(saved),
                Keep::BlockInputs => {
                    self.drop_saved(saved);
                    None
                }
            };
            inputs.push((x, saved));
            x = y;
        }
        let inverse_rms = self.statistics(1, Part::Block);
        let hidden = self.rows(shape.hidden, Part::Block);
        let d_hidden = self.loss(is_first, &mut ends);
        self.ledger.give(hidden);
        let has_own_head = shape.has_own_head();
        if has_own_head {
            self.done(&mut ends);
        }
        let g = self.zeros();
        self.ledger.give_all([x, d_hidden, inverse_rms]);
        for (index, layer) in shape.layers.iter().enumerate().rev() {
            let (x, saved) = inputs.pop().expect("an input for each block");
            let mut of_layer = Vec::new();
            if is_first {
                of_layer.extend(
                    shape.trained_of(layer).into_iter().map(|n| self.ledger.take(Part::Gradients, n * F32)),
                );
            }
            let saved = match saved {
                Some(saved) => saved,
                None => {
                    let (y, saved) = self.forward(layer, &x, Part::Block);
                    self.ledger.give(y);
                    saved
                }
            };
            self.backward(layer, &x, saved, self.wanted(index, layer));
            self.ledger.give(x);
            self.done(&mut of_layer);
        }
        if is_first && shape.ends.embedding == End::Trained && (has_own_head || !at_head) {
            ends.push(self.ledger.take(Part::Gradients, shape.end_values() * F32));
        }
        if is_first && let Some(r) = shape.ends.embedding_rank {
            ends.extend([shape.vocab, shape.hidden].map(|n| self.ledger.take(Part::Gradients, r * n * F32)));
        }
        self.done(&mut ends);
        self.ledger.give(g);
    }

    /// The head and the loss, in chunks; the gradient of the hidden states.
    fn loss(&mut self, is_first: bool, ends: &mut Vec<Held>) -> Held {
        let (shape, activation) = (self.shape, self.machine.precision.activation_bytes);
        let d_hidden = self.zeros();
        let n = chunk_rows(shape.vocab).min(self.n_rows);
        let chunk = self.ledger.take(Part::Logits, n * shape.hidden * activation);
        match &shape.ends.adapted_head {
            None => {
                let logits = self.ledger.take(Part::Logits, n * shape.vocab * F32);
                let d_chunk = self.ledger.take(Part::Logits, n * shape.hidden * activation);
                self.pack(n, shape.hidden);
                if shape.ends.head_weight == End::Trained {
                    self.pack(shape.vocab, n);
                }
                self.ledger.give_all([logits, d_chunk]);
            }
            Some(linear) => {
                if is_first {
                    let tensors = linear.adapter_tensors();
                    ends.extend(tensors.into_iter().map(|n| self.ledger.take(Part::Gradients, n * F32)));
                }
                let n_rows = std::mem::replace(&mut self.n_rows, n);
                let (logits, saved) = self.linear_forward(linear, Part::Logits);
                let logits = self.ledger.modify(logits);
                let d_chunk = self.linear_backward(linear, InputGradient::Wanted);
                self.drop_linear(saved);
                self.ledger.give(logits);
                self.ledger.give_all(d_chunk);
                self.n_rows = n_rows;
            }
        }
        self.ledger.give(chunk);
        d_hidden
    }

    /// Whether the gradient of a block's input is asked for.
    fn wanted(&self, layer_index: usize, layer: &LayerShape) -> InputGradient {
        let trains_embedding =
            self.shape.ends.embedding == End::Trained || self.shape.ends.embedding_rank.is_some();
        let trains_norm = self.shape.trained == Trained::Base && layer.norms.before_attention.is_some();
        if layer_index > 0 || trains_embedding || trains_norm {
            InputGradient::Wanted
        } else {
            InputGradient::Unused
        }
    }

    /// Gradients whose weights are used no more: they are used at once, or wait for all others.
    fn done(&mut self, gradients: &mut Vec<Held>) {
        match self.work.update {
            Update::InParts => self.ledger.give_all(gradients.drain(..)),
            Update::AtOnce => self.gradients.append(gradients),
        }
    }

    /// A checkpoint or the result: the values of one tensor at a time are copied, once more where they are aligned.
    fn save(&mut self) {
        let largest = self.shape.all_trained().into_iter().max().unwrap_or(0);
        let copy = self.ledger.take(Part::Block, largest * F32);
        self.ledger.touch(Part::Block, largest * F32);
        self.ledger.give(copy);
    }

    /// A matrix with a row for each token.
    pub(super) fn rows(&mut self, width: usize, part: Part) -> Held {
        self.ledger.take(part, self.n_rows * width * self.machine.precision.activation_bytes)
    }

    /// Numbers of each token that are in f32 everywhere.
    pub(super) fn statistics(&mut self, width: usize, part: Part) -> Held {
        self.ledger.take(part, self.n_rows * width * F32)
    }

    /// Zeros as wide as the residual stream, which the CPU makes twice for a moment.
    pub(super) fn zeros(&mut self) -> Held {
        let first = self.rows(self.shape.hidden, Part::Block);
        match self.machine.memory {
            Memory::Gpu => first,
            Memory::Cpu => {
                let second = self.rows(self.shape.hidden, Part::Block);
                self.ledger.give(first);
                second
            }
        }
    }

    /// What a product on the CPU copies of its right operand, in an order that the processor likes.
    pub(super) fn pack(&mut self, n_rows: usize, inner: usize) {
        match self.machine.memory {
            Memory::Gpu => {}
            Memory::Cpu => {
                let n_bytes = inner.min(PACKED_INNER).saturating_mul(n_rows) * F32;
                self.ledger.touch(Part::Block, n_bytes.min(MOST_PACKED_BYTES));
            }
        }
    }

    /// Makes the buffer of weights in 4 bits as large as needed; it is kept.
    pub(super) fn reserve_tile(&mut self, n_bytes: usize) {
        if self.tile.as_ref().is_some_and(|(_, size)| *size >= n_bytes) {
            return;
        }
        if let Some((held, _)) = self.tile.take() {
            self.ledger.give(held);
        }
        self.tile = Some((self.ledger.take(Part::Dequantize, n_bytes), n_bytes));
    }
}
