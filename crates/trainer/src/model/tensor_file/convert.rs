//! Stored bytes to f32, in parallel where it is worth it.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// The stored types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    F32,
    Bf16,
    F16,
}

impl Stored {
    pub(super) fn of(dtype: safetensors::Dtype) -> Option<Self> {
        // safetensors' enum may grow: whatever is not listed can't be read.
        match dtype {
            safetensors::Dtype::F32 => Some(Self::F32),
            safetensors::Dtype::BF16 => Some(Self::Bf16),
            safetensors::Dtype::F16 => Some(Self::F16),
            _ => None,
        }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// Elements that one thread converts at a time: 1 MiB of f32, so that small tensors stay on one thread.
const CHUNK: usize = 1 << 18;

/// Elements of the buffer between stored f16 bytes, which may be unaligned, and `half`'s slice conversion.
const F16_BUFFER: usize = 1 << 10;

/// Converts little-endian `bytes` into `out`, which has as many elements.
pub(super) fn to_f32(stored: Stored, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(bytes.len(), out.len() * stored.bytes(), "the header was checked against shapes and lengths");
    out.par_chunks_mut(CHUNK).zip(bytes.par_chunks(CHUNK * stored.bytes())).for_each(|(out, bytes)| {
        match stored {
            Stored::F32 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*bytes);
                }
            }
            Stored::Bf16 => {
                for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                }
            }
            Stored::F16 => f16_to_f32(bytes, out),
        }
    });
}

fn f16_to_f32(bytes: &[u8], out: &mut [f32]) {
    let mut buffer = [f16::ZERO; F16_BUFFER];
    for (out, bytes) in out.chunks_mut(F16_BUFFER).zip(bytes.chunks(F16_BUFFER * 2)) {
        let buffer = &mut buffer[..out.len()];
        for (value, bytes) in buffer.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *value = f16::from_le_bytes(*bytes);
        }
        buffer.convert_to_f32_slice(out);
    }
}
