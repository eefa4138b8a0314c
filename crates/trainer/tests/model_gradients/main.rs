//! The decoder as a whole: its gradients against slopes of its own loss, and what must not change them.
//!
//! Weights are random and large enough that no gradient drowns in rounding. Tolerances are relative to the
//! largest value of a tensor's gradient; what was seen is about a tenth of each.

mod adapted;
mod decoder;
mod equal;
mod next_tokens;
mod pairs;
mod slopes;

#[path = "../support/draw.rs"]
mod draw;
#[path = "../support/outcome.rs"]
mod outcome;
#[path = "../support/training.rs"]
mod training;
