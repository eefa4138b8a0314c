//! From files to batches of tokens.

pub mod batch;
pub mod format;
pub mod sample;
pub mod template;
pub mod tokenize;
