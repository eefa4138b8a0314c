//! SwiGLU; the formulas stand in [`crate::ops::gated_mlp`].

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::simd::{exp, made, simd};

simd! { fn forward_row(gate_up: &[f32], y: &mut [MaybeUninit<f32>]) {
    let n = y.len();
    let (gate, up) = gate_up.split_at(n);
    let up = &up[..n];
    for i in 0..n {
        y[i].write(gate[i] / (1.0 + exp(-gate[i])) * up[i]);
    }
}}

simd! { fn backward_row(gate_up: &mut [f32], dy: &[f32]) {
    let n = dy.len();
    let (gate, up) = gate_up.split_at_mut(n);
    let up = &mut up[..n];
    for i in 0..n {
        let (g, u, d) = (gate[i], up[i], dy[i]);
        let sigmoid = 1.0 / (1.0 + exp(-g));
        let silu = g * sigmoid;
        gate[i] = d * u * (sigmoid + silu * (1.0 - sigmoid));
        up[i] = d * silu;
    }
}}

/// `gate_up` `[tokens, 2 · width]` (gate, then up) to `silu(gate) · up` `[tokens, width]`.
pub fn forward(gate_up: &[f32], width: usize) -> Vec<f32> {
    // SAFETY: `forward_row` writes every value of its row, and the rows are all of y.
    unsafe {
        made(gate_up.len() / 2, |y| {
            y.par_chunks_mut(width)
                .zip(gate_up.par_chunks(2 * width))
                .with_min_len(ROWS_PER_TASK)
                .for_each(|(y, gate_up)| forward_row(gate_up, y));
        })
    }
}

/// `gate_up` becomes its own gradient; `dy` is `[tokens, width]`.
pub fn backward(gate_up: &mut [f32], dy: &[f32], width: usize) {
    dy.par_chunks(width)
        .zip(gate_up.par_chunks_mut(2 * width))
        .with_min_len(ROWS_PER_TASK)
        .for_each(|(dy, gate_up)| backward_row(gate_up, dy));
}
