//! One AdamW update of one tensor; the formulas stand in [`crate::optim::adamw`].

use rayon::prelude::*;

use super::simd::simd;
use crate::optim::adamw::Coefficients;

/// Values that one task updates.
const CHUNK: usize = 1 << 15;

simd! {
    /// Updates some values.
    pub(super) fn update_chunk(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Coefficients) {
    let n = p.len();
    let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
    let Coefficients { new1, beta2, new2, epsilon, step_size, root_correction, kept, clip } = *c;
    for i in 0..n {
        let g = g[i] * clip;
        m[i] += new1 * (g - m[i]);
        v[i] = beta2 * v[i] + new2 * g * g;
        p[i] = p[i] * kept - step_size * m[i] / (v[i].sqrt() * root_correction + epsilon);
    }
}}

/// Updates parameter `p` and its moments `m` and `v` with gradient `g`.
pub fn update(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], coefficients: &Coefficients) {
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .for_each(|(((p, g), m), v)| update_chunk(p, g, m, v, coefficients));
}
