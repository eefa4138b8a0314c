//! Weights in 4 bits: 4-bit NormalFloat with a scale for each 64 weights, and those scales in 8 bits if wanted.
//!
//! Knows tensors and numbers; which weights are held so is [`crate::model::build`]'s business, how they are
//! multiplied that of [`crate::ops::linear`]. Reference: QLoRA, Dettmers et al. 2023, section 3; codes and scales
//! are those of bitsandbytes 0.50 bit for bit, so that adapters and checkpoints stay interchangeable.

pub mod double;
pub mod dynamic;
pub mod nf4;
mod tensor;

pub use tensor::{Nf4Tensor, Quantizer, Scales, StoredScales};
