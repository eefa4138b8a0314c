//! What the service tells about itself and its machine: logs, one span per request, metrics, readings of the GPUs and samples
//! of them while jobs are trained.

pub mod gpus;
mod journal;
pub mod logs;
pub mod metrics;
pub mod requests;
pub mod samples;
