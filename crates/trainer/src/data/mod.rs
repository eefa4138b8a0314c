//! From files to batches of tokens.

pub mod batch;
pub mod sample;
