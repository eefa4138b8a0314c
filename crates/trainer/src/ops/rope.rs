//! Rotary positions (Su et al. 2021) in the half-rotation layout of the Hugging Face checkpoints.
//!
//! A head is two halves a and b; at position p with frequency f_i the pair (a_i, b_i) turns by p · f_i:
//!
//! ```text
//! a' = a cos − b sin      b' = b cos + a sin
//! ```
//!
//! Where only the first values of a head are turned, these are the two halves. Some scalings multiply cosines and sines
//! by a factor. The backward pass turns the other way.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::attention::AttentionShape;
use crate::kernels::{Kernels, cpu, cube};

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
    /// `[positions, rotary_dim]`: cosines, then sines, one of each for a pair. The first `rotary_dim` values of a head
    /// are turned.
    pub cos_sin: Tensor<2>,
    /// The positions of a batch where a GPU reads them, so that they are sent once for all layers of a pass.
    pub positions: Option<Tensor<1, Int>>,
}

impl RopeTable {
    /// That of no batch.
    pub fn new(cos_sin: Tensor<2>) -> Self {
        Self { cos_sin, positions: None }
    }

    /// Positions of a batch as GPU kernels read them.
    pub fn positions_on(&self, device: &Device, positions: &[u32]) -> Tensor<1, Int> {
        self.positions.clone().unwrap_or_else(|| positions_on(device, positions))
    }
}

/// By what q and k of a batch turn.
#[derive(Clone, Copy)]
pub struct Rotation<'a> {
    /// `[tokens]`, each below the table's length.
    pub positions: &'a [u32],
    /// The angles.
    pub table: &'a RopeTable,
}

/// Positions as GPU kernels read them.
pub fn positions_on(device: &Device, positions: &[u32]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(positions.to_vec(), [positions.len()]), (device, DType::U32))
}

/// As [`rotate`], where there is a rotation.
pub fn turned(
    kernels: Kernels,
    qkv: Tensor<2>,
    rotation: Option<Rotation<'_>>,
    how: (Turn, &AttentionShape),
) -> Tensor<2> {
    match rotation {
        Some(Rotation { positions, table }) => rotate(kernels, qkv, positions, table, how),
        None => qkv,
    }
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
    let rotary_dim = table.cos_sin.dims()[1];
    match kernels {
        Kernels::Plain => {
            let [n_tokens, width] = qkv.dims();
            let index: Vec<i32> = positions.iter().map(|p| *p as i32).collect();
            let index = Tensor::<1, Int>::from_data(TensorData::new(index, [n_tokens]), &qkv.device());
            let half = rotary_dim / 2;
            let angles = table.cos_sin.clone().select(0, index).reshape([n_tokens, 1, rotary_dim]);
            let (cos, sin) =
                (angles.clone().narrow(2, 0, half), angles.narrow(2, half, half).mul_scalar(sign));
            let heads =
                qkv.clone().narrow(1, 0, n_rotated * head_dim).reshape([n_tokens, n_rotated, head_dim]);
            let (a, b) = (heads.clone().narrow(2, 0, half), heads.clone().narrow(2, half, half));
            let mut turned = vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin];
            if rotary_dim < head_dim {
                turned.push(heads.narrow(2, rotary_dim, head_dim - rotary_dim));
            }
            let turned = Tensor::cat(turned, 2).reshape([n_tokens, n_rotated * head_dim]);
            let rest = qkv.narrow(1, n_rotated * head_dim, width - n_rotated * head_dim);
            Tensor::cat(vec![turned, rest], 1)
        }
        Kernels::Cpu => {
            let width = qkv.dims()[1];
            let cos_sin = cpu::tensor::values(&table.cos_sin);
            let table = cpu::rope::RopeTable { cos_sin: &cos_sin, rotary_dim, head_dim, positions };
            cpu::tensor::modify(&mut qkv, |qkv| cpu::rope::rotate(qkv, width, n_rotated, table, sign));
            qkv
        }
        Kernels::Cube(gpu) => {
            let positions = table.positions_on(&qkv.device(), positions);
            cube::rope::rotate(gpu, qkv, (&positions, &table.cos_sin), (turn, shape))
        }
    }
}
