//! What a run holds from its first step to its last: weights, adapter, moments, and what is not its own. Taken in the order
//! of [`model::build`](crate::model::build), [`adapter::lora`](crate::adapter::lora) and
//! [`train::optimizer`](crate::train::optimizer).

use ftl_core::spec::resolved::{MomentFormat, Quantization};

use super::Memory;
use super::ledger::{Held, Part};
use super::shape::{LinearShape, nf4_bytes};
use super::walk::{F32, Walk};
use crate::kernels::cpu::attention::TILE;
use crate::model::build::CHUNK_VALUES;
use crate::model::config::{Bias, Head};
use crate::optim::adamw8bit;

impl Walk<'_> {
    pub(super) fn start(&mut self) {
        let runtime = self.machine.runtime_bytes + self.threads_bytes();
        self.hold(Part::Runtime, runtime);
        self.model(Part::Weights);
        if self.shape.splits_ends() {
            self.hold(Part::Adapter, self.shape.end_values() * F32);
        }
        let shape = self.shape;
        if let Some(r) = shape.ends.embedding_rank {
            self.hold(Part::Adapter, r * (shape.vocab + shape.hidden) * F32);
        }
        let linears = shape.layers.iter().flat_map(|layer| &layer.linears).chain(&shape.ends.adapted_head);
        for linear in linears {
            for n_values in linear.adapter_tensors() {
                self.hold(Part::Adapter, n_values * F32);
            }
            if linear.is_dora() {
                // The rows' lengths: those of the base, and with the update.
                self.hold(Part::Adapter, 2 * linear.n_outputs() * F32);
            }
        }
        let tokenizer = self.ledger.take(Part::Runtime, self.work.tokenizer_bytes);
        if self.work.answer_tokens == 0 {
            self.ledger.give(tokenizer);
        }
        let (n_ropes, rotary_dim) = shape.ropes;
        self.hold(Part::Runtime, n_ropes * self.work.longest_segment * rotary_dim * F32);
        for n_values in shape.all_trained() {
            self.moments(n_values);
        }
    }

    /// All weights of a model, in the order in which they are read.
    pub(super) fn model(&mut self, part: Part) -> Vec<Held> {
        let shape = self.shape;
        let bytes = self.machine.precision.weight_bytes(shape.trained);
        let mut held = vec![self.ledger.take(part, shape.end_values() * bytes)];
        for layer in &shape.layers {
            for linear in &layer.linears {
                self.linear(part, linear, &mut held);
            }
            let norms = layer.norms().count() * shape.hidden + layer.qk_norm.map_or(0, |(_, values)| values);
            held.push(self.ledger.take(part, norms * bytes));
        }
        match shape.ends.head {
            Head::Tied => {}
            Head::Separate => held.push(self.ledger.take(part, shape.end_values() * bytes)),
        }
        held
    }

    fn linear(&mut self, part: Part, linear: &LinearShape, held: &mut Vec<Held>) {
        let bytes = self.machine.precision.weight_bytes(self.shape.trained);
        match linear.quantization {
            Quantization::None => held.push(self.ledger.take(part, linear.n_values() * bytes)),
            Quantization::Nf4(scales) => {
                for n_outputs in &linear.outputs {
                    let n_values = n_outputs * linear.n_inputs;
                    let (codes, made, kept) = nf4_bytes(n_values, scales);
                    held.push(self.ledger.take(part, codes));
                    let scales = self.ledger.take(Part::Block, made);
                    let chunk = self.ledger.take(Part::Block, CHUNK_VALUES.min(n_values) * F32);
                    held.push(self.ledger.take(part, kept));
                    self.ledger.give_all([scales, chunk]);
                }
            }
        }
        match linear.bias {
            Bias::Present => held.push(self.ledger.take(part, linear.n_outputs() * bytes)),
            Bias::Absent => {}
        }
    }

    fn moments(&mut self, n_values: usize) {
        match self.work.moments {
            MomentFormat::Blockwise8Bit if n_values >= adamw8bit::MIN_VALUES => {
                for _ in 0..2 {
                    self.hold(Part::Optimizer, n_values);
                    self.hold(Part::Optimizer, n_values.div_ceil(adamw8bit::BLOCK) * F32);
                }
            }
            MomentFormat::F32 | MomentFormat::Blockwise8Bit => {
                for _ in 0..2 {
                    self.hold(Part::Optimizer, n_values * F32);
                }
            }
        }
    }

    /// What the threads of the CPU's attention hold, each a tile of scores and of their gradients.
    fn threads_bytes(&self) -> usize {
        match self.machine.memory {
            Memory::Cpu => self.machine.n_threads * 2 * TILE * self.work.longest_segment * F32,
            Memory::Gpu => 0,
        }
    }

    /// Takes memory for the rest of the run.
    fn hold(&mut self, part: Part, n_bytes: usize) {
        let _for_ever = self.ledger.take(part, n_bytes);
    }
}
