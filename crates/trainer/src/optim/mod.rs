//! How gradients become updates.

pub mod adamw;
pub mod clip;
pub mod schedule;
