//! From files to batches of tokens.

pub mod batch;
pub mod encode;
pub mod excess;
pub mod format;
pub mod holdout;
pub mod ids;
pub mod load;
pub mod order;
pub mod read;
pub mod sample;
pub mod template;
pub mod tokenize;
pub mod turns;
