//! RMSNorm; the formulas stand in [`crate::ops::norm`].

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::reduce::sum_of_row_products;
use super::simd::{made, simd, sum_by};

simd! { pub(super) fn forward_row(x: &[f32], weight: &[f32], eps: f32, y: &mut [MaybeUninit<f32>]) -> f32 {
    let n = x.len();
    let (weight, y) = (&weight[..n], &mut y[..n]);
    let inverse_rms = 1.0 / (sum_by(n, |i| x[i] * x[i]) / n as f32 + eps).sqrt();
    for i in 0..n {
        y[i].write(x[i] * inverse_rms * weight[i]);
    }
    inverse_rms
}}

simd! { fn backward_row(dy: &[f32], x: &[f32], weight: &[f32], inverse_rms: f32, dx: &mut [f32]) {
    let n = x.len();
    let (dy, weight, dx) = (&dy[..n], &weight[..n], &mut dx[..n]);
    let r = inverse_rms;
    let c = sum_by(n, |i| dy[i] * weight[i] * x[i]) * r * r * r / n as f32;
    for i in 0..n {
        dx[i] += dy[i] * weight[i] * r - x[i] * c;
    }
}}

/// Returns y `[tokens, hidden]` and `1 / rms` `[tokens]`.
pub fn forward(x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let hidden = weight.len();
    let mut inverse_rms = vec![0.0; x.len() / hidden];
    // SAFETY: `forward_row` writes every value of its row, and the rows are all of y.
    let y = unsafe {
        made(x.len(), |y| {
            y.par_chunks_mut(hidden)
                .zip(x.par_chunks(hidden))
                .zip(&mut inverse_rms)
                .with_min_len(ROWS_PER_TASK)
                .for_each(|((y, x), r)| *r = forward_row(x, weight, eps, y));
        })
    };
    (y, inverse_rms)
}

/// Adds the gradient of the input to `dx`.
pub fn backward(dy: &[f32], x: &[f32], weight: &[f32], inverse_rms: &[f32], dx: &mut [f32]) {
    let hidden = weight.len();
    dx.par_chunks_mut(hidden)
        .zip(dy.par_chunks(hidden))
        .zip(x.par_chunks(hidden))
        .zip(inverse_rms)
        .with_min_len(ROWS_PER_TASK)
        .for_each(|(((dx, dy), x), r)| backward_row(dy, x, weight, *r, dx));
}

/// Adds the gradient of the weight to `dweight`.
pub fn backward_weight(dy: &[f32], x: &[f32], inverse_rms: &[f32], dweight: &mut [f32]) {
    sum_of_row_products(dy, x, inverse_rms, dweight);
}
