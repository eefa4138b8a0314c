//! The run.

pub mod optimizer;
