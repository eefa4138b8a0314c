//! Dropout; the generator stands in [`crate::ops::dropout`].

use rayon::prelude::*;

use super::simd::made;
use crate::ops::dropout::Mask;

/// Values that one task takes.
const CHUNK: usize = 1 << 14;

/// `x` with dropped values zeroed and the others scaled up.
pub fn apply(x: &[f32], mask: &Mask) -> Vec<f32> {
    // SAFETY: every value of each chunk is written, and the chunks are all of y.
    unsafe {
        made(x.len(), |y| {
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (y, x))| {
                for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                    y.write(x * mask.factor((chunk * CHUNK + i) as u64));
                }
            });
        })
    }
}

/// Adds `x` with dropped values zeroed and the others scaled up to `sum`.
pub fn add(sum: &mut [f32], x: &[f32], mask: &Mask) {
    sum.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(chunk, (sum, x))| {
        for (i, (sum, x)) in sum.iter_mut().zip(x).enumerate() {
            *sum += x * mask.factor((chunk * CHUNK + i) as u64);
        }
    });
}
