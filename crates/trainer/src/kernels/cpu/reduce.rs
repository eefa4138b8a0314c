//! Sums over rows, and the global norm. Partial sums belong to fixed chunks and are added in order.

use rayon::prelude::*;

use super::simd::simd;

/// Rows whose sum one task takes.
const CHUNK_ROWS: usize = 64;
/// Values whose sum of squares one task takes.
const CHUNK_VALUES: usize = 1 << 16;

simd! { fn add(sum: &mut [f32], row: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += value;
    }
}}

simd! { fn add_products(sum: &mut [f32], a: &[f32], b: &[f32], scale: f32) {
    for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
        *sum += a * b * scale;
    }
}}

simd! { fn squares(values: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    rest + lanes.iter().sum::<f64>()
}}

/// Adds the sum of the rows of `x` to `sum`; a row is as wide as `sum`.
pub fn sum_of_rows(x: &[f32], sum: &mut [f32]) {
    let width = sum.len();
    let parts: Vec<Vec<f32>> = x
        .par_chunks(CHUNK_ROWS * width)
        .map(|rows| {
            let mut part = vec![0.0; width];
            rows.chunks(width).for_each(|row| add(&mut part, row));
            part
        })
        .collect();
    parts.iter().for_each(|part| add(sum, part));
}

/// Adds `Σ_t a[t] · b[t] · scale[t]` to `sum`; a row is as wide as `sum`.
pub fn sum_of_row_products(a: &[f32], b: &[f32], scale: &[f32], sum: &mut [f32]) {
    let width = sum.len();
    let parts: Vec<Vec<f32>> = a
        .par_chunks(CHUNK_ROWS * width)
        .zip(b.par_chunks(CHUNK_ROWS * width))
        .zip(scale.par_chunks(CHUNK_ROWS))
        .map(|((a, b), scale)| {
            let mut part = vec![0.0; width];
            for ((a, b), scale) in a.chunks(width).zip(b.chunks(width)).zip(scale) {
                add_products(&mut part, a, b, *scale);
            }
            part
        })
        .collect();
    parts.iter().for_each(|part| add(sum, part));
}

/// `Σ x²`.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x.par_chunks(CHUNK_VALUES).map(squares).collect();
    parts.iter().sum()
}
