//! Rotary positions, in place: a thread for each pair of vectors that turn together.
//!
//! The formulas stand in [`crate::ops::rope`].

use burn::tensor::{Int, Tensor};
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::grid::each;
use super::tensor::{buffer, element, numbers, owned, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::ops::attention::AttentionShape;
use crate::ops::rope::Turn;

/// Turns the q and k heads of merged q, k, v. `positions` are u32.
pub fn rotate(
    _gpu: Gpu,
    qkv: Tensor<2>,
    (positions, cos_sin): (&Tensor<1, Int>, &Tensor<2>),
    (turn, shape): (Turn, &AttentionShape),
) -> Tensor<2> {
    let [n_tokens, width] = qkv.dims();
    let half = cos_sin.dims()[1] / 2;
    let n_turned = shape.n_heads + shape.n_kv_heads;
    let qkv = owned(qkv);
    // A pair begins anywhere in a half, and a half anywhere in a row.
    let size = vector_size(half, qkv.dtype).min(vector_size(shape.head_dim, qkv.dtype));
    let n = n_tokens * n_turned * half / size;
    let (count, dim) = each(&qkv.client, n);
    let kind = element(&qkv);
    rotate_pairs::launch(
        &qkv.client.clone(),
        count,
        dim,
        size,
        qkv.clone().into_buffer_arg(),
        numbers(positions).into_buffer_arg(),
        buffer(cos_sin).into_buffer_arg(),
        n,
        n_turned,
        half / size,
        shape.head_dim / size,
        width / size,
        sign(turn),
        kind,
    );
    tensor(qkv)
}

/// What sines are multiplied by.
pub fn sign(turn: Turn) -> f32 {
    match turn {
        Turn::Forward => 1.0,
        Turn::Backward => -1.0,
    }
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = super::grid::threads();
    for (kind, size) in activations() {
        for size in [size, 1] {
            variant!(variants, threads, rotate_pairs::RotatePairs, [_ _ _ _ _ _ _ _ _], size, kind);
        }
    }
}

#[cube(launch)]
fn rotate_pairs<F: Float, N: Size>(
    qkv: &mut [Vector<F, N>],
    positions: &[u32],
    cos_sin: &[Vector<f32, N>],
    n_places: usize,
    n_heads: usize,
    half: usize,
    head: usize,
    row: usize,
    sign: f32,
    #[define(F)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place < n_places {
        let pair = place % half;
        let head_index = place / half;
        let token = head_index / n_heads;
        let first = token * row + head_index % n_heads * head + pair;
        let angle = usize::cast_from(positions[token]) * 2 * half + pair;
        let cos = cos_sin[angle];
        let sin = cos_sin[angle + half] * Vector::new(sign);
        let a = Vector::<f32, N>::cast_from(qkv[first]);
        let b = Vector::<f32, N>::cast_from(qkv[first + half]);
        qkv[first] = Vector::cast_from(a * cos - b * sin);
        qkv[first + half] = Vector::cast_from(b * cos + a * sin);
    }
}
