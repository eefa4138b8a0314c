//! Rotary positions (Su et al. 2021) in the half-rotation layout of the Hugging Face checkpoints.
//!
//! A head is two halves a and b; at position p with frequency f_i the pair (a_i, b_i) turns by p · f_i:
//!
//! ```text
//! a' = a cos − b sin      b' = b cos + a sin
//! ```
//!
//! The backward pass turns the other way.

use burn::tensor::{Int, Tensor, TensorData};

use super::attention::AttentionShape;
use crate::kernels::{Kernels, cpu};

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As the position says.
    Forward,
    /// Back: the gradient's way.
    Backward,
}

/// Cosines and sines of positions 0, 1, 2, …
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// `[positions, head_dim]`: cosines, then sines, half a head each.
    pub cos_sin: Tensor<2>,
}

/// Turns the q and k heads of merged q, k, v.
///
/// # Shapes
/// - `qkv`: `[tokens, (n_heads + 2 · n_kv_heads) · head_dim]`, output the same
/// - `positions`: `[tokens]`, each below the table's length
pub fn rotate(
    kernels: Kernels,
    mut qkv: Tensor<2>,
    positions: &[u32],
    table: &RopeTable,
    (turn, shape): (Turn, &AttentionShape),
) -> Tensor<2> {
    let sign = match turn {
        Turn::Forward => 1.0,
        Turn::Backward => -1.0,
    };
    let (head_dim, n_rotated) = (shape.head_dim, shape.n_heads + shape.n_kv_heads);
    match kernels {
        Kernels::Plain => {
            let [n_tokens, width] = qkv.dims();
            let index: Vec<i32> = positions.iter().map(|p| *p as i32).collect();
            let index = Tensor::<1, Int>::from_data(TensorData::new(index, [n_tokens]), &qkv.device());
            let half = head_dim / 2;
            let angles = table.cos_sin.clone().select(0, index).reshape([n_tokens, 1, head_dim]);
            let (cos, sin) =
                (angles.clone().narrow(2, 0, half), angles.narrow(2, half, half).mul_scalar(sign));
            let rotated =
                qkv.clone().narrow(1, 0, n_rotated * head_dim).reshape([n_tokens, n_rotated, head_dim]);
            let (a, b) = (rotated.clone().narrow(2, 0, half), rotated.narrow(2, half, half));
            let turned =
                Tensor::cat(vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin], 2);
            let rest = qkv.narrow(1, n_rotated * head_dim, width - n_rotated * head_dim);
            Tensor::cat(vec![turned.reshape([n_tokens, n_rotated * head_dim]), rest], 1)
        }
        Kernels::Cpu => {
            let width = qkv.dims()[1];
            let cos_sin = cpu::tensor::values(&table.cos_sin);
            let table = cpu::rope::RopeTable { cos_sin: &cos_sin, head_dim, positions };
            cpu::tensor::modify(&mut qkv, |qkv| cpu::rope::rotate(qkv, width, n_rotated, table, sign));
            qkv
        }
    }
}
