//! Weights to 4 bits and back; the numbers stand in [`crate::quant::nf4`].

use rayon::prelude::*;

use super::simd::{max_of_magnitudes, simd};
use crate::quant::nf4::{BLOCK, BOUNDS, LEVELS, MIN_SCALE, n_code_bytes};

/// Values that one task takes, whole blocks: fewer are not worth the hand-over.
const CHUNK: usize = 1 << 14;

/// Both levels of a byte. One load of eight bytes for two weights is as fast as a shuffle of registers, on any
/// machine.
static PAIRS: [[f32; 2]; 256] = {
    let mut pairs = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [LEVELS[byte >> 4], LEVELS[byte & 15]];
        byte += 1;
    }
    pairs
};

simd! { fn quantize_block(values: &[f32; BLOCK], codes: &mut [u8; BLOCK / 2]) -> f32 {
    let scale = max_of_magnitudes(values);
    let inverse = 1.0 / scale.max(MIN_SCALE);
    let mut code = [0u32; BLOCK];
    for bound in BOUNDS {
        for (code, value) in code.iter_mut().zip(values) {
            *code += u32::from(*value * inverse > bound);
        }
    }
    for (byte, code) in codes.iter_mut().zip(code.as_chunks::<2>().0) {
        *byte = (code[0] << 4 | code[1]) as u8;
    }
    scale
}}

/// The last block of a tensor, where it is not whole; bitsandbytes divides here where it multiplies above.
fn quantize_rest(values: &[f32], codes: &mut [u8]) -> f32 {
    let scale = max_of_magnitudes(values).max(MIN_SCALE);
    let code = |value: f32| BOUNDS.iter().filter(|bound| value > **bound).count() as u8;
    for (byte, pair) in codes.iter_mut().zip(values.chunks(2)) {
        // What fills up the last byte is a zero.
        let low = pair.get(1).map_or(0.0, |value| value / scale);
        *byte = code(pair[0] / scale) << 4 | code(low);
    }
    scale
}

/// Quantizes values that begin with a block into their codes and scales.
pub fn quantize(values: &[f32], codes: &mut [u8], scales: &mut [f32]) {
    assert!(codes.len() == n_code_bytes(values.len()) && scales.len() == values.len().div_ceil(BLOCK));
    values
        .par_chunks(CHUNK)
        .zip(codes.par_chunks_mut(CHUNK / 2))
        .zip(scales.par_chunks_mut(CHUNK / BLOCK))
        .for_each(|((values, codes), scales)| {
            let (blocks, rest) = values.as_chunks::<BLOCK>();
            let (whole, rest_codes) = codes.split_at_mut(blocks.len() * (BLOCK / 2));
            let (whole, _) = whole.as_chunks_mut::<{ BLOCK / 2 }>();
            for ((block, codes), scale) in blocks.iter().zip(whole).zip(scales.iter_mut()) {
                *scale = quantize_block(block, codes);
            }
            if let (false, Some(scale)) = (rest.is_empty(), scales.last_mut()) {
                *scale = quantize_rest(rest, rest_codes);
            }
        });
}

simd! { fn dequantize_block(codes: &[u8; BLOCK / 2], scale: f32, out: &mut [f32; BLOCK]) {
    for (pair, code) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
        let [high, low] = PAIRS[usize::from(*code)];
        *pair = [high * scale, low * scale];
    }
}}

/// Writes the values from number `start` on into `out`; `scale` gives the scale of each block of the tensor.
pub fn dequantize(codes: &[u8], scale: impl Fn(usize) -> f32 + Sync, start: usize, out: &mut [f32]) {
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(index, out)| {
        let mut at = start + index * CHUNK;
        let mut out = out;
        while !out.is_empty() {
            let n = (BLOCK - at % BLOCK).min(out.len());
            let (part, rest) = out.split_at_mut(n);
            let scale = scale(at / BLOCK);
            match <&mut [f32; BLOCK]>::try_from(&mut *part) {
                Ok(block) => {
                    let codes = codes[at / 2..].first_chunk().expect("a code for each value");
                    dequantize_block(codes, scale, block);
                }
                Err(_) => {
                    for (i, value) in part.iter_mut().enumerate() {
                        let place = at + i;
                        *value = PAIRS[usize::from(codes[place / 2])][place % 2] * scale;
                    }
                }
            }
            (at, out) = (at + n, rest);
        }
    });
}
