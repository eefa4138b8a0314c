//! The plan put to the test before the first step: the longest microbatch for real, and what it took.
//!
//! The run after it is the same as without it, to the last bit: gradients are thrown away, no weight is written, moments
//! are written with the values that they have (which is what makes their memory real), and nothing random is stored.

use std::ops::Range;

use burn::tensor::{Device, Tensor};

use super::Workload;
use super::budget::free_bytes;
use super::planner::GPU_RUNTIME_BYTES;
use crate::data::batch::Batch;
use crate::device::{DeviceName, OpenDevice};
use crate::kernels::{Kernels, cpu};
use crate::memory;
use crate::model::decoder::{Decoder, TrainPass, to_vec};
use crate::ops::cross_entropy::Objective;
use crate::ops::param::{Gradients, Param};
use crate::optim::adamw::Moments;
use crate::optim::adamw8bit::BlockMoments;
use crate::optim::clip::global_norm;
use crate::optim::moments::WeightMoments;
use crate::plan::Update;

/// Values of a page of memory, at least one of which is written.
const PAGE_VALUES: usize = 1024;

/// What memory was like when the run had taken nothing yet, and what it has taken since.
#[derive(Clone, Debug)]
pub struct Base {
    device: Device,
    name: DeviceName,
    bytes: Option<u64>,
}

impl Base {
    /// Now.
    pub fn now(device: &OpenDevice) -> Self {
        let bytes = match device.name {
            DeviceName::Cpu => {
                memory::forget_peak();
                memory::rss_bytes()
            }
            DeviceName::Cuda(_) | DeviceName::Vulkan(_) => free_bytes(device.name),
        };
        Self { device: device.device.clone(), name: device.name, bytes }
    }

    /// The most that the run took since then, counted as the plan counts; `None` where nobody tells. It takes some 40
    /// microseconds, reading a file of the system's or asking CubeCL's thread, and waits for no kernel.
    ///
    /// On a GPU that is what CubeCL's pools hold, of which nothing goes back while it is in use, and what the plan counts
    /// for the rest. Its driver's figure would be no better: it holds what other programs take and give back meanwhile, and
    /// a context that is larger on a larger card, so that a limit that is kept on one card would say nothing of another.
    pub fn peak_bytes(&self) -> Option<u64> {
        match self.name {
            DeviceName::Cpu => Some(memory::peak_rss_bytes()?.saturating_sub(self.bytes?)),
            DeviceName::Cuda(_) | DeviceName::Vulkan(_) => {
                Some(self.device.memory_pool_usage()?.bytes_reserved + GPU_RUNTIME_BYTES)
            }
        }
    }

    /// What is not free any more since then, whoever took it; `None` where nobody tells.
    pub fn gone_bytes(&self) -> Option<u64> {
        match self.name {
            DeviceName::Cpu => self.peak_bytes(),
            DeviceName::Cuda(_) | DeviceName::Vulkan(_) => {
                Some(self.bytes?.saturating_sub(free_bytes(self.name)?))
            }
        }
    }
}

/// Goes through what takes the most memory: scoring, the longest microbatch, the moments, and the copy of a tensor that is
/// saved. On a GPU twice: the pages of CubeCL's pools are as large as the largest tensor so far, which the first pass brings
/// late, and smaller ones from before stay beside those that serve from then on. They go back between the passes, and what
/// the second one leaves is what steps will take.
pub fn rehearse(
    decoder: &mut Decoder,
    (gradients, moments): (&mut Gradients, &mut [WeightMoments]),
    work: &Workload,
    pass: TrainPass,
) {
    make_real(decoder, moments);
    go_through(decoder, gradients, work, pass);
    match decoder.kernels {
        Kernels::Plain | Kernels::Cpu => {}
        Kernels::Cube(_) => {
            decoder.device.memory_cleanup();
            go_through(decoder, gradients, work, pass);
        }
    }
}

fn go_through(decoder: &mut Decoder, gradients: &mut Gradients, work: &Workload, pass: TrainPass) {
    if work.eval_tokens > 0 {
        decoder.score(&batch(work.eval_tokens, work.longest_segment));
    }
    let batch = batch(work.most_tokens, work.longest_segment);
    let weights = batch.scaled_weights(1.0 / batch.n_supervised().max(1) as f64);
    gradients.clear();
    match work.update {
        Update::InParts => {
            let forget = &mut |param: &mut Param, gradients: &mut Gradients| {
                if let Some(slot) = param.slot {
                    drop(gradients.take(slot));
                }
            };
            let objective = Objective::Weighted(&weights);
            decoder.objective_and_updates(&batch, objective, (pass, gradients), forget);
        }
        Update::AtOnce => {
            for _ in 0..work.n_microbatches.min(2) {
                decoder.objective_and_gradients(&batch, Objective::Weighted(&weights), pass, gradients);
            }
            // Waits for the device, too.
            global_norm(decoder.kernels, gradients);
        }
    }
    gradients.clear();
    copy_largest(decoder);
}

/// A batch of so many tokens in segments of at most `longest`, each of which predicts the next.
fn batch(n_tokens: usize, longest: usize) -> Batch {
    let (mut batch, mut left) = (Batch::default(), n_tokens);
    while left > 0 {
        let n = left.min(longest.max(1));
        batch.push(&vec![0; n], &vec![0; n]);
        left -= n;
    }
    batch
}

/// Makes the CPU give what it has only promised: fresh moments are zeros that nobody wrote yet, and the two ends of a tied
/// pair that an adapter keeps are one tensor until the first update. A GPU gives at once, and copies with each update.
fn make_real(decoder: &mut Decoder, moments: &mut [WeightMoments]) {
    match decoder.kernels {
        Kernels::Plain | Kernels::Cube(_) => return,
        Kernels::Cpu => {}
    }
    decoder.for_each_param_mut(&mut |param| {
        if param.slot.is_some() {
            cpu::tensor::modify(&mut param.value, |_| ());
        }
    });
    let write = |tensor: &mut Tensor<2>| cpu::tensor::modify(tensor, write_each_page);
    for moments in moments {
        match moments {
            WeightMoments::F32(Moments { first, second }) => [first, second].into_iter().for_each(write),
            WeightMoments::Blockwise8Bit(BlockMoments { first, second }) => {
                for blocks in [first, second] {
                    cpu::tensor::modify_bytes(&mut blocks.codes, write_each_page);
                    cpu::tensor::modify(&mut blocks.absmax, write_each_page);
                }
            }
        }
    }
}

/// Writes a value of each page as it is.
fn write_each_page<T: Copy>(values: &mut [T]) {
    for value in values.iter_mut().step_by(PAGE_VALUES) {
        *value = std::hint::black_box(*value);
    }
}

/// What saving takes beside what is there: a copy of one tensor.
fn copy_largest(decoder: &Decoder) {
    let mut largest: Option<(Tensor<2>, Range<usize>)> = None;
    decoder.for_each_param(&mut |param| {
        for piece in param.slot.iter().flat_map(|_| &param.pieces) {
            if largest.as_ref().is_none_or(|(_, values)| piece.values.len() > values.len()) {
                largest = Some((param.value.clone(), piece.values.clone()));
            }
        }
    });
    drop(largest.map(|(tensor, values)| to_vec(&tensor, values)));
}
