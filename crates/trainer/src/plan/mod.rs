//! How much memory a run takes: predicted from the spec and the model's config.json before a weight is read, then
//! verified before the first step.
//!
//! ```text
//! Planner      what is asked for, and what it takes        spec, config, lengths -> MemoryPlan
//!   shape      sizes of model and adapter
//!   walk       the run with sizes in the place of tensors, in the engine's order
//!   load       what is held throughout
//!   block      one block of it, forward and backward
//!   ledger     who holds how much, over a heap that leaves the gaps that the real one leaves
//! budget       what may be taken
//! proposals    what would fit
//! verify       the longest microbatch for real, measured
//! ```
//!
//! [`peak`] is pure, so the same function plans, chooses `gradient_checkpointing` and finds proposals. On a GPU, weights
//! and activations are in 16 bits, while an adapter, gradients, moments and statistics stay in f32; its kernels keep the
//! same tensors as the CPU's.

mod block;
pub mod budget;
mod heap;
mod ledger;
mod load;
mod planner;
mod proposals;
mod shape;
pub mod verify;
mod walk;

pub use planner::{Lengths, Planner, plan};
pub use shape::ModelShape;

use ftl_core::plan::MemoryParts;
use ftl_core::spec::resolved::MomentFormat;

use crate::model::decoder::{Keep, Trained};

/// What goes through the model, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// Tokens of the longest microbatch.
    pub most_tokens: usize,
    /// Tokens of the longest segment.
    pub longest_segment: usize,
    /// Microbatches of a step.
    pub n_microbatches: usize,
    /// When weights are updated.
    pub update: Update,
    /// How moments are held.
    pub moments: MomentFormat,
    /// Which activations are kept.
    pub keep: Keep,
    /// Whether inputs of the adapter are dropped.
    pub dropout: Dropout,
    /// Tokens that are scored at once; 0: none are.
    pub eval_tokens: usize,
    /// What scores pairs before the first step.
    pub reference: Reference,
    /// Tokens of the longest held-out prompt with its answer; 0: none is answered.
    pub answer_tokens: usize,
    /// What the tokenizer takes, until the data are read or, where prompts are answered, to the end.
    pub tokenizer_bytes: usize,
}

/// When weights are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// After all gradients are there.
    AtOnce,
    /// Each as soon as its gradient is there.
    InParts,
}

/// Whether inputs of the adapter are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropout {
    /// None are.
    Absent,
    /// Some are.
    Present,
}

/// What scores pairs before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Nothing.
    None,
    /// The model that is trained, its adapter off.
    Shared,
    /// A model of its own, for as long as it takes.
    SecondModel,
}

/// Where the run computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Whose memory it takes.
    pub memory: Memory,
    /// Bytes of its numbers.
    pub precision: Precision,
    /// Threads of the CPU.
    pub n_threads: usize,
    /// What is there whatever is trained.
    pub runtime_bytes: usize,
}

/// Whose memory a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The machine's, with the CPU's kernels.
    Cpu,
    /// A GPU's.
    Gpu,
}

/// Bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    /// Of a weight that is not trained.
    pub frozen_bytes: usize,
    /// Of an activation.
    pub activation_bytes: usize,
}

impl Precision {
    /// Single precision.
    pub const F32: Self = Self { frozen_bytes: 4, activation_bytes: 4 };
    /// bf16 or f16; what is trained stays in f32.
    pub const HALF: Self = Self { frozen_bytes: 2, activation_bytes: 2 };

    /// Of a weight of the model.
    fn weight_bytes(self, trained: Trained) -> usize {
        match trained {
            Trained::Adapter => self.frozen_bytes,
            Trained::Base => size_of::<f32>(),
        }
    }
}

/// The most that a run holds at once, without what lies unused between.
pub fn most_held_bytes(shape: &ModelShape, work: &Workload, machine: &Machine) -> u64 {
    walk::Walk::through(shape, work, machine).most_held_bytes()
}

/// What memory holds at the peak of a run.
pub fn peak(shape: &ModelShape, work: &Workload, machine: &Machine) -> MemoryParts {
    walk::Walk::through(shape, work, machine).peak()
}
