//! Rotary positions in place; the formulas stand in [`crate::ops::rope`].

use rayon::prelude::*;

use super::ROWS_PER_TASK;
use super::simd::simd;

simd! { fn rotate_head(head: &mut [f32], cos_sin: &[f32], sign: f32) {
    let half = head.len() / 2;
    let (cos, sin) = cos_sin.split_at(half);
    let (a, b) = head.split_at_mut(half);
    let (sin, b) = (&sin[..half], &mut b[..half]);
    for i in 0..half {
        let (u, v, s) = (a[i], b[i], sin[i] * sign);
        a[i] = u * cos[i] - v * s;
        b[i] = v * cos[i] + u * s;
    }
}}

/// Rotates the first `n_heads` heads of each row of `x` (rows `width` wide). `sign` is 1 forward and -1 backward.
pub fn rotate(x: &mut [f32], width: usize, n_heads: usize, table: RopeTable<'_>, sign: f32) {
    let RopeTable { cos_sin, rotary_dim, head_dim, positions } = table;
    x.par_chunks_mut(width).zip(positions).with_min_len(ROWS_PER_TASK).for_each(|(row, position)| {
        let cos_sin = &cos_sin[*position as usize * rotary_dim..][..rotary_dim];
        for head in row[..n_heads * head_dim].chunks_mut(head_dim) {
            rotate_head(&mut head[..rotary_dim], cos_sin, sign);
        }
    });
}

/// Angles for the tokens of a batch.
#[derive(Clone, Copy)]
pub struct RopeTable<'a> {
    /// `[positions, rotary_dim]`: cosines, then sines.
    pub cos_sin: &'a [f32],
    /// How much of a head is turned.
    pub rotary_dim: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// The position of each row.
    pub positions: &'a [u32],
}
