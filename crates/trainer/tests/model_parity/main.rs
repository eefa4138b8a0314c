//! The decoder against transformers.
//!
//! The numbers were computed by transformers 5.23.0 with torch 2.15.0 on a CPU in f32, by `make_fixtures.py` in the
//! directory that `FTL_FIXTURES` names and for a trained model as the files in `FTL_DATA` describe. Tolerances are
//! those that the files suggest: about 20 times what rounding alone moved the same run.

mod adapters;
mod families;
mod packed;
mod quantized;
mod rope;
mod stories;

#[path = "../support/golden.rs"]
mod golden;
#[path = "../support/outcome.rs"]
mod outcome;
#[path = "../support/training.rs"]
mod training;
