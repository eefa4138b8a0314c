//! Row kernels of DoRA; the formulas stand in [`crate::ops::linear::dora`].

use rayon::prelude::*;

use super::matrix::Matrix;
use super::simd::simd;

/// Rows that one task takes.
const CHUNK_ROWS: usize = 32;

simd! { fn scale_row(y: &mut [f32], factors: &[f32], bias: &[f32]) {
    for ((y, factor), bias) in y.iter_mut().zip(factors).zip(bias) {
        *y = *y * factor + bias;
    }
}}

simd! { fn scaled_row(y: &mut [f32], x: &[f32], factors: &[f32]) {
    for ((y, x), factor) in y.iter_mut().zip(x).zip(factors) {
        *y = x * factor;
    }
}}

simd! { fn add_scaled_row(y: &mut [f32], x: &[f32], factors: &[f32], bias: &[f32]) {
    for (((y, x), factor), bias) in y.iter_mut().zip(x).zip(factors).zip(bias) {
        *y += x * (factor - 1.0) + bias;
    }
}}

simd! { fn add_products(sum: &mut [f32], dy: &[f32], y: &[f32], shift: &[f32]) {
    for (((sum, dy), y), shift) in sum.iter_mut().zip(dy).zip(y).zip(shift) {
        *sum += dy * (y - shift);
    }
}}

simd! { fn add(sum: &mut [f32], part: &[f32]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}}

/// `y ← c ⊙ y + b`, row by row.
pub fn scale_columns(y: &mut [f32], factors: &[f32], bias: &[f32]) {
    let width = factors.len();
    y.par_chunks_mut(CHUNK_ROWS * width).for_each(|rows| {
        rows.chunks_mut(width).for_each(|row| scale_row(row, factors, bias));
    });
}

/// `c ⊙ x`, row by row.
pub fn scaled_columns(x: &[f32], factors: &[f32]) -> Vec<f32> {
    let width = factors.len();
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(CHUNK_ROWS * width).zip(x.par_chunks(CHUNK_ROWS * width)).for_each(|(y, x)| {
        y.chunks_mut(width).zip(x.chunks(width)).for_each(|(y, x)| scaled_row(y, x, factors));
    });
    y
}

/// `y += (c − 1) ⊙ x + b`, row by row.
pub fn add_scaled_columns(y: &mut [f32], x: &[f32], factors: &[f32], bias: &[f32]) {
    let width = factors.len();
    y.par_chunks_mut(CHUNK_ROWS * width).zip(x.par_chunks(CHUNK_ROWS * width)).for_each(|(y, x)| {
        y.chunks_mut(width).zip(x.chunks(width)).for_each(|(y, x)| add_scaled_row(y, x, factors, bias));
    });
}

/// `Σ_t dy[t] · (y[t] − shift)` for each column. Partial sums belong to fixed chunks and are added in order.
pub fn column_products(dy: &[f32], y: &[f32], shift: &[f32]) -> Vec<f32> {
    let width = shift.len();
    let chunks = dy.par_chunks(CHUNK_ROWS * width).zip(y.par_chunks(CHUNK_ROWS * width));
    let parts: Vec<Vec<f32>> = chunks
        .map(|(dy, y)| {
            let mut part = vec![0.0; width];
            let rows = dy.chunks(width).zip(y.chunks(width));
            rows.for_each(|(dy, y)| add_products(&mut part, dy, y, shift));
            part
        })
        .collect();
    let mut sum = vec![0.0; width];
    parts.iter().for_each(|part| add(&mut sum, part));
    sum
}

/// `Σ_i x[j, i]²` for each row, in order.
pub fn row_squares(x: Matrix<'_>) -> Vec<f32> {
    let squares = |row: &[f32]| row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() as f32;
    (0..x.n_rows()).into_par_iter().map(|row| squares(x.row(row))).collect()
}

/// `√(q[j] + Σ_k b[j, k] · p[j, k])` for each row.
pub fn norms(squares: &[f32], b: &[f32], p: &[f32]) -> Vec<f32> {
    let r = b.len() / squares.len();
    let rows = squares.iter().zip(b.chunks(r)).zip(p.chunks(r));
    rows.map(|((square, b), p)| {
        let sum = b.iter().zip(p).fold(f64::from(*square), |sum, (b, p)| sum + f64::from(b * p));
        // Rounding may leave a little less than nothing; what is not a number stays so.
        if sum < 0.0 { 0.0 } else { sum.sqrt() as f32 }
    })
    .collect()
}
