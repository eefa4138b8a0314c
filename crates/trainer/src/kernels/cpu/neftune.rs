//! Noise on embeddings; the formula stands in [`crate::ops::neftune`].

use std::ops::Range;

use rayon::prelude::*;

use crate::ops::neftune::Noise;

/// Values that one task takes.
const CHUNK: usize = 1 << 14;

/// Adds the noise to `x`, `[tokens, hidden]`.
pub fn add(x: &mut [f32], hidden: usize, segments: &[Range<usize>], noise: &Noise) {
    for segment in segments {
        let magnitude = noise.magnitude(segment.len(), hidden);
        let first = segment.start * hidden;
        let values = &mut x[first..segment.end * hidden];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
            let first = first + chunk * CHUNK;
            for (index, value) in values.iter_mut().enumerate() {
                *value += magnitude * noise.unit((first + index) as u64);
            }
        });
    }
}
