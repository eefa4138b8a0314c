//! PTX (NVIDIA, "Parallel Thread Execution ISA") to C, as far as kernels of this project and of burn use it.

mod compile;
mod convert;
mod expression;
mod float;
mod fragments;
mod instruction;
mod integer;
mod memory;
mod parse;
mod together;
mod translate;

pub use compile::{Compiled, compile};
