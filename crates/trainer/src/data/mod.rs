//! From files to batches of tokens.
//!
//! ```text
//! read -> format -> encode (template, turns, tokenize) -> excess -> holdout      all of it: load::prepare
//! prompts: what of held-out samples is asked during a run
//! samples: all of a job's, in a mapped file     cache: those of earlier runs
//! pass: the one way through the rows     judge: a row without a model     report: what all rows came to
//! preview: rows as they are written     render: one row as it is trained on     split: one file into two
//! order: which samples a step takes (mix, group, pack)     batch: what goes through the model     ids: tokens given by hand
//! ```

pub mod batch;
pub mod cache;
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
pub mod preview;
pub mod prompts;
pub mod read;
pub mod render;
pub mod report;
pub mod sample;
pub mod samples;
pub mod spelled;
pub mod split;
pub mod template;
pub mod tokenize;
pub mod turns;
