//! Every operation against three references: its two versions against each other, both against burn's autodiff
//! of a formula written independently, and against central differences of a scalar formula in f64.
//!
//! Tolerances are relative to the largest value of a result. What was seen is about a tenth of each: rounding of
//! f32 sums, which grows with their length.

mod adamw;
mod adamw8bit;
mod attention;
mod cross_entropy;
mod dora;
mod dropout;
mod embedding;
mod gated_mlp;
mod linear;
mod low_rank_ends;
mod neftune;
mod nf4;
mod norm;
mod operation;
mod preferences;
mod qk_norm;
mod reference;
mod rope;

#[path = "../support/draw.rs"]
mod draw;
#[path = "../support/golden.rs"]
#[expect(dead_code, reason = "models and tensors are for other tests")]
mod golden;
#[path = "../support/outcome.rs"]
mod outcome;
