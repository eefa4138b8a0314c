//! How gradients become updates.

pub mod schedule;
