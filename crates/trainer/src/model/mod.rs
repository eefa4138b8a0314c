//! The model: a decoder as its files describe it, and its passes.

pub mod block;
pub mod build;
pub mod decoder;
pub mod rope;
