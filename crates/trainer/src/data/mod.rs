//! From files to batches of tokens.
//!
//! ```text
//! read -> format -> encode (template, turns, tokenize) -> excess -> holdout      all of it: load::prepare
//! prompts: what of held-out samples is asked during a run
//! survey: what a file holds, without a model
//! order: which samples a step takes (mix, group, pack)     batch: what goes through the model     ids: tokens given by hand
//! ```

pub mod batch;
mod dropped;
pub mod encode;
pub mod excess;
pub mod fault;
pub mod format;
pub mod group;
pub mod holdout;
pub mod ids;
pub mod judge;
pub mod literal;
pub mod load;
pub mod mix;
mod notes;
pub mod order;
pub mod pack;
pub mod pass;
pub mod prompts;
pub mod read;
pub mod render;
pub mod report;
pub mod sample;
pub mod spelled;
pub mod split;
pub mod survey;
pub mod template;
pub mod tokenize;
pub mod turns;
