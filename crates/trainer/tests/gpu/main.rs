//! Whole models on a GPU, against transformers' numbers and against the CPU.
//!
//! The reference numbers are those of `tests/model_parity`, in the directory that `FTL_FIXTURES` names. A GPU multiplies
//! f32 matrices in tf32, whose numbers have 11 bits, and bf16 has 8: tolerances are a few times what that makes of numbers
//! of the models' size. Without a GPU the tests run through Vulkan, where there is one; without any device they say that
//! they are skipped.

mod answers;
mod device;
mod limit;
mod parity;
mod steps;

#[path = "../support/golden.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]
mod golden;
#[path = "../support/outcome.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]
mod outcome;
#[path = "../support/training.rs"]
mod training;
