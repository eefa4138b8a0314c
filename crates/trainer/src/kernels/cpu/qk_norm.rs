//! The norms of queries and keys inside rows of merged q, k, v; the formulas stand in [`crate::ops::qk_norm`].

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::norm::forward_row;
use super::simd::{made, simd, sum_by};

/// Rows whose weight gradients one task sums up.
const CHUNK_ROWS: usize = 64;

simd! { fn backward_row(d: &mut [f32], x: &[f32], weight: &[f32], inverse_rms: f32) {
    let n = x.len();
    let (weight, d) = (&weight[..n], &mut d[..n]);
    let r = inverse_rms;
    let c = sum_by(n, |i| d[i] * weight[i] * x[i]) * r * r * r / n as f32;
    for i in 0..n {
        d[i] = d[i] * weight[i] * r - x[i] * c;
    }
}}

simd! { fn add_products(sum: &mut [f32], dy: &[f32], x: &[f32], scale: f32) {
    for ((sum, dy), x) in sum.iter_mut().zip(dy).zip(x) {
        *sum += dy * x * scale;
    }
}}

/// What one weight normalizes: groups as wide as it is, one after the other. The parts of a row begin at its start.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// The factors.
    pub weight: &'a [f32],
    /// How many groups of a row it normalizes.
    pub n_groups: usize,
}

/// What the backward pass needs of the forward one.
#[derive(Clone, Copy)]
pub struct Saved<'a> {
    /// The input, rows as wide as `width`.
    pub x: &'a [f32],
    /// `1 / rms` of each group, row by row.
    pub inverse_rms: &'a [f32],
    /// Width of a row.
    pub width: usize,
}

fn n_groups(parts: &[Part<'_>; 2]) -> usize {
    parts.iter().map(|part| part.n_groups).sum()
}

/// The groups of a row in order: the weight of each, and its columns.
fn groups<'a>(parts: &'a [Part<'_>; 2]) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + 'a {
    let mut end = 0;
    parts.iter().enumerate().flat_map(|(i, part)| (0..part.n_groups).map(move |_| i)).map(move |i| {
        let start = end;
        end += parts[i].weight.len();
        (i, start..end)
    })
}

/// Returns the rows with their parts normalized, and `1 / rms` of each group.
pub fn forward(x: &[f32], width: usize, parts: &[Part<'_>; 2], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let n_groups = n_groups(parts);
    let mut inverse_rms = vec![0.0; x.len() / width * n_groups];
    // SAFETY: `forward_row` writes every value of its group, and the rest of each row is copied.
    let y = unsafe {
        made(x.len(), |y| {
            y.par_chunks_mut(width)
                .zip(x.par_chunks(width))
                .zip(inverse_rms.par_chunks_mut(n_groups))
                .with_min_len(ROWS_PER_TASK)
                .for_each(|((y, x), inverse_rms)| {
                    let mut end = 0;
                    for ((i, columns), r) in groups(parts).zip(inverse_rms) {
                        end = columns.end;
                        *r = forward_row(&x[columns.clone()], parts[i].weight, eps, &mut y[columns]);
                    }
                    y[end..].write_copy_of_slice(&x[end..]);
                });
        })
    };
    (y, inverse_rms)
}

/// The gradient of the output becomes that of the input.
pub fn backward(d: &mut [f32], saved: Saved<'_>, parts: &[Part<'_>; 2]) {
    let Saved { x, inverse_rms, width } = saved;
    d.par_chunks_mut(width)
        .zip(x.par_chunks(width))
        .zip(inverse_rms.par_chunks(n_groups(parts)))
        .with_min_len(ROWS_PER_TASK)
        .for_each(|((d, x), inverse_rms)| {
            for ((i, columns), r) in groups(parts).zip(inverse_rms) {
                backward_row(&mut d[columns.clone()], &x[columns], parts[i].weight, *r);
            }
        });
}

/// The gradients of the weights, out of that of the output.
pub fn weight_gradients(dy: &[f32], saved: Saved<'_>, parts: &[Part<'_>; 2]) -> [Vec<f32>; 2] {
    let Saved { x, inverse_rms, width } = saved;
    let n_groups = n_groups(parts);
    let zeros = || parts.map(|part| vec![0.0; part.weight.len()]);
    let chunks: Vec<[Vec<f32>; 2]> = dy
        .par_chunks(CHUNK_ROWS * width)
        .zip(x.par_chunks(CHUNK_ROWS * width))
        .zip(inverse_rms.par_chunks(CHUNK_ROWS * n_groups))
        .map(|((dy, x), inverse_rms)| {
            let mut sums = zeros();
            let rows = dy.chunks(width).zip(x.chunks(width)).zip(inverse_rms.chunks(n_groups));
            for ((dy, x), inverse_rms) in rows {
                for ((i, columns), r) in groups(parts).zip(inverse_rms) {
                    add_products(&mut sums[i], &dy[columns.clone()], &x[columns], *r);
                }
            }
            sums
        })
        .collect();
    let mut totals = zeros();
    for sums in &chunks {
        for (total, sum) in totals.iter_mut().zip(sums) {
            total.iter_mut().zip(sum).for_each(|(total, sum)| *total += sum);
        }
    }
    totals
}
