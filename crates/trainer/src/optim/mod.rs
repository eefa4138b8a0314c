//! How gradients become updates.

pub mod adamw;
pub mod adamw8bit;
pub mod clip;
pub mod loss_scale;
pub mod moments;
pub mod schedule;
