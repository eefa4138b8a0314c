//! What the service tells about itself and its machine: logs, one span per request, readings of the GPUs.

pub mod gpus;
pub mod logs;
pub mod requests;
