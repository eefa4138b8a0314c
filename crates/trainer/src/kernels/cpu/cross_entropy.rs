//! Row kernels of the cross-entropy; the formulas stand in [`crate::ops::cross_entropy`].

use rayon::prelude::*;

use super::simd::{exp, max_of, simd, sum_by, tanh};
use crate::ops::cross_entropy::TokenScore;

simd! { fn gradient_row(logits: &mut [f32], target: usize, weight: f32) -> f32 {
    let n = logits.len();
    let max = max_of(logits);
    let target_logit = logits[target];
    for z in logits.iter_mut() {
        *z = exp(*z - max);
    }
    let sum = sum_by(n, |i| logits[i]);
    let factor = weight / sum;
    for z in logits.iter_mut() {
        *z *= factor;
    }
    logits[target] -= weight;
    max + sum.ln() - target_logit
}}

simd! { fn limit_row(logits: &mut [f32], cap: f32) {
    for z in logits.iter_mut() {
        *z = cap * tanh(*z / cap);
    }
}}

// As `limit_row`; leaves the slopes in `slopes`.
simd! { fn limit_row_with_slopes(logits: &mut [f32], slopes: &mut [f32], cap: f32) {
    for (z, slope) in logits.iter_mut().zip(slopes) {
        let t = tanh(*z / cap);
        *z = cap * t;
        *slope = 1.0 - t * t;
    }
}}

simd! { fn multiply(values: &mut [f32], factors: &[f32]) {
    for (value, factor) in values.iter_mut().zip(factors) {
        *value *= factor;
    }
}}

simd! { fn score_row(logits: &[f32], target: usize) -> TokenScore {
    let max = max_of(logits);
    let sum = sum_by(logits.len(), |i| exp(logits[i] - max));
    // Ties count as wrong unless the target comes first, as argmax has it.
    let first_max = logits.iter().position(|z| *z >= max);
    TokenScore { nll_nats: max + sum.ln() - logits[target], correct: first_max == Some(target) }
}}

/// `logits` `[rows, vocab]` become their gradient, each row times its weight; returns each row's negative
/// log-likelihood. With `softcap` they are limited first.
pub fn gradient(logits: &mut [f32], targets: &[u32], weights: &[f32], softcap: Option<f32>) -> Vec<f32> {
    let vocab = logits.len() / targets.len();
    let rows = logits.par_chunks_mut(vocab).zip(targets).zip(weights);
    let nll = rows.map_init(Vec::new, |slopes, ((row, target), weight)| {
        let Some(cap) = softcap else { return gradient_row(row, *target as usize, *weight) };
        slopes.resize(vocab, 0.0);
        limit_row_with_slopes(row, slopes, cap);
        let nll = gradient_row(row, *target as usize, *weight);
        multiply(row, slopes);
        nll
    });
    nll.collect()
}

/// Limits logits: z becomes `cap · tanh(z / cap)`.
pub fn limit(logits: &mut [f32], vocab: usize, cap: f32) {
    logits.par_chunks_mut(vocab).for_each(|row| limit_row(row, cap));
}

/// Scores each row.
pub fn score(logits: &[f32], targets: &[u32]) -> Vec<TokenScore> {
    let vocab = logits.len() / targets.len();
    logits.par_chunks(vocab).zip(targets).map(|(row, target)| score_row(row, *target as usize)).collect()
}
