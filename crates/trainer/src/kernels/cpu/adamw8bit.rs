//! One AdamW update of one tensor whose moments are in 8 bits; what is done stands in [`crate::optim::adamw8bit`].

use rayon::prelude::*;

use super::adamw::update_chunk;
use super::simd::max_of_magnitudes;
use crate::optim::adamw::Coefficients;
use crate::optim::adamw8bit::{BLOCK, MIN_SCALE};
use crate::quant::dynamic::{self, Dynamic};

/// Values that one task updates, whole blocks.
const CHUNK: usize = 1 << 14;

/// Values in 8 bits that are changed.
pub struct BlocksMut<'a> {
    /// A code for each value.
    pub codes: &'a mut [u8],
    /// A scale for each block.
    pub absmax: &'a mut [f32],
}

impl<'a> BlocksMut<'a> {
    fn par_chunks(self) -> impl IndexedParallelIterator<Item = BlocksMut<'a>> {
        let chunks = self.codes.par_chunks_mut(CHUNK).zip(self.absmax.par_chunks_mut(CHUNK / BLOCK));
        chunks.map(|(codes, absmax)| BlocksMut { codes, absmax })
    }
}

/// Updates parameter `p` and its moments with gradient `g`.
pub fn update(
    p: &mut [f32],
    g: &[f32],
    first: BlocksMut<'_>,
    second: BlocksMut<'_>,
    coefficients: &Coefficients,
) {
    let (signed, unsigned) = (&*dynamic::SIGNED, &*dynamic::UNSIGNED);
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(first.par_chunks())
        .zip(second.par_chunks())
        .for_each(|(((p, g), first), second)| {
            let (mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
            for (block, (p, g)) in p.chunks_mut(BLOCK).zip(g.chunks(BLOCK)).enumerate() {
                let (m, v) = (&mut m[..p.len()], &mut v[..p.len()]);
                let codes = block * BLOCK..block * BLOCK + p.len();
                read(signed, &first.codes[codes.clone()], first.absmax[block], m);
                read(unsigned, &second.codes[codes.clone()], second.absmax[block], v);
                update_chunk(p, g, m, v, coefficients);
                first.absmax[block] = write(signed, m, &mut first.codes[codes.clone()]);
                second.absmax[block] = write(unsigned, v, &mut second.codes[codes]);
            }
        });
}

fn read(dynamic: &Dynamic, codes: &[u8], scale: f32, values: &mut [f32]) {
    for (value, code) in values.iter_mut().zip(codes) {
        *value = dynamic.levels[usize::from(*code)] * scale;
    }
}

fn write(dynamic: &Dynamic, values: &[f32], codes: &mut [u8]) -> f32 {
    let scale = max_of_magnitudes(values);
    let divisor = scale.max(MIN_SCALE);
    for (code, value) in codes.iter_mut().zip(values) {
        *code = dynamic.code(value / divisor);
    }
    scale
}
