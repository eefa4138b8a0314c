//! Fused loops over `f32` slices for the CPU: no burn types but in [`tensor`], the way in and out.
//!
//! Rows are spread over rayon's threads. Every loop is compiled twice, for the baseline and for AVX2 + FMA
//! (see `simd`). Results do not depend on how rayon happens to split the work: sums are taken per row or per
//! fixed chunk and added in order, so that a resumed run is the same run.

pub mod adamw;
pub mod adamw8bit;
pub mod attention;
pub mod cross_entropy;
pub mod dora;
pub mod dropout;
pub mod gated_mlp;
pub mod hash;
pub mod matrix;
pub mod neftune;
pub mod nf4;
pub mod norm;
pub mod qk_norm;
pub mod reduce;
pub mod rope;
pub(crate) mod simd;
pub mod tensor;

/// Rows that a thread takes at least in the cheap row-wise loops; fewer are not worth the hand-over.
const ROWS_PER_TASK: usize = 16;
