//! Differentiable operations as pairs of `forward` and `backward` over plain tensors.
//!
//! No graph is recorded: a forward returns exactly what its backward needs, and the derivation stands in the
//! doc comment beside it. Hidden states are `[tokens, hidden]`; what looks along the sequence takes the
//! segments of the batch. Every pair is checked against burn's autodiff and against finite differences.

pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod gated_mlp;
pub mod linear;
pub mod neftune;
pub mod norm;
pub mod param;
pub mod qk_norm;
pub mod rope;
