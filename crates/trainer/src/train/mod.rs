//! The run.

pub mod eval;
pub mod event_log;
pub mod keep;
pub mod meter;
pub mod optimizer;
