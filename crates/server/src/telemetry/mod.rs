//! What the service tells about itself and its machine: logs, one span per request, metrics, readings of the GPUs.

pub mod gpus;
mod journal;
pub mod logs;
pub mod metrics;
pub mod requests;
