//! The gates of the MLP; the formulas stand in [`crate::ops::gated_mlp`].

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::simd::{exp, made, simd, tanh};
use crate::ops::gated_mlp::{Activation, GELU_CUBIC, GELU_SCALE};

simd! { fn silu_row(gate_up: &[f32], y: &mut [MaybeUninit<f32>]) {
    let n = y.len();
    let (gate, up) = gate_up.split_at(n);
    let up = &up[..n];
    for i in 0..n {
        y[i].write(gate[i] / (1.0 + exp(-gate[i])) * up[i]);
    }
}}

simd! { fn silu_backward_row(gate_up: &mut [f32], dy: &[f32]) {
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

simd! { fn gelu_row(gate_up: &[f32], y: &mut [MaybeUninit<f32>]) {
    let n = y.len();
    let (gate, up) = gate_up.split_at(n);
    let up = &up[..n];
    for i in 0..n {
        let g = gate[i];
        let t = tanh(GELU_SCALE * (g + GELU_CUBIC * g * g * g));
        y[i].write(0.5 * g * (1.0 + t) * up[i]);
    }
}}

simd! { fn gelu_backward_row(gate_up: &mut [f32], dy: &[f32]) {
    let n = dy.len();
    let (gate, up) = gate_up.split_at_mut(n);
    let up = &mut up[..n];
    for i in 0..n {
        let (g, u, d) = (gate[i], up[i], dy[i]);
        let t = tanh(GELU_SCALE * (g + GELU_CUBIC * g * g * g));
        let slope = GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * g * g);
        let half = 0.5 * (1.0 + t);
        gate[i] = d * u * (half + 0.5 * g * (1.0 - t * t) * slope);
        up[i] = d * g * half;
    }
}}

/// `gate_up` `[tokens, 2 · width]` (gate, then up) to `f(gate) · up` `[tokens, width]`.
pub fn forward(activation: Activation, gate_up: &[f32], width: usize) -> Vec<f32> {
    let row = match activation {
        Activation::Silu => silu_row,
        Activation::GeluTanh => gelu_row,
    };
    // SAFETY: each of the two writes every value of its row, and the rows are all of y.
    unsafe {
        made(gate_up.len() / 2, |y| {
            y.par_chunks_mut(width)
                .zip(gate_up.par_chunks(2 * width))
                .with_min_len(ROWS_PER_TASK)
                .for_each(|(y, gate_up)| row(gate_up, y));
        })
    }
}

/// `gate_up` becomes its own gradient; `dy` is `[tokens, width]`.
pub fn backward(activation: Activation, gate_up: &mut [f32], dy: &[f32], width: usize) {
    let row = match activation {
        Activation::Silu => silu_backward_row,
        Activation::GeluTanh => gelu_backward_row,
    };
    dy.par_chunks(width)
        .zip(gate_up.par_chunks_mut(2 * width))
        .with_min_len(ROWS_PER_TASK)
        .for_each(|(dy, gate_up)| row(gate_up, dy));
}
