//! 4-bit weights back to dense ones, into one buffer that is used again and again; the numbers stand in
//! [`crate::quant::nf4`].
//!
//! A thread reads a word of eight codes and writes their values at once. The scales are reckoned as on the CPU, to the
//! last bit.

use std::cell::RefCell;

use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::Cube;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::tensor::{buffer, element, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::ops::linear::{Frozen, Nf4Weight};
use crate::quant::nf4::{BLOCK, LEVELS};
use crate::quant::{Nf4Tensor, Scales, dynamic};

/// Threads of a cube; the table of scales has as many levels.
const N_THREADS: usize = 256;
/// Words that a thread reads.
const N_WORDS: usize = 4;
/// Codes in a word.
const CODES: usize = 8;
/// Scales with one scale of their own.
const NESTED_BLOCK: usize = crate::quant::double::NESTED_BLOCK;

thread_local! {
    /// One thread uses a GPU, and one weight is dense at a time.
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// What stays between calls.
struct Kept {
    /// As large as the largest weight so far.
    memory: CubeTensor,
    /// Levels of weights, then those of scales.
    levels: CubeTensor,
}

/// The whole matrix in the type of activations. The next call writes over it, unless somebody still holds it: then it
/// takes memory of its own.
pub fn dense(gpu: Gpu, weight: &Nf4Weight) -> Tensor<2> {
    let (dtype, n_inputs) = (gpu.dtype(), weight.n_inputs());
    let (out, levels) = memory(weight, dtype);
    let mut start = 0;
    for part in weight.parts() {
        let n_values = match part {
            Frozen::Nf4(part) => {
                dequantize(part, &levels, &out, start);
                part.n_values()
            }
            Frozen::Dense(part) => {
                copy(part, &out, start);
                part.dims().iter().product()
            }
        };
        start += n_values;
    }
    debug_assert_eq!(start, weight.n_outputs() * n_inputs, "every value was written");
    tensor(out)
}

/// Memory for the matrix, and the tables.
fn memory(weight: &Nf4Weight, dtype: DType) -> (CubeTensor, CubeTensor) {
    let shape = [weight.n_outputs(), weight.n_inputs()];
    let n_bytes = (shape[0] * shape[1] * dtype.size()) as u64;
    let beside = match &weight.parts()[0] {
        Frozen::Nf4(part) => primitive(part.codes()),
        Frozen::Dense(part) => buffer(part),
    };
    KEPT.with_borrow_mut(|kept| {
        let kept = match kept {
            Some(kept) if kept.memory.device == beside.device => kept,
            _ => kept.insert(Kept {
                memory: bytes(&beside, n_bytes),
                levels: buffer(&Tensor::<1>::from_data(
                    [&LEVELS[..], &dynamic::SIGNED.levels].concat().as_slice(),
                    &weight.device(),
                )),
            }),
        };
        if kept.memory.handle.can_mut() && kept.memory.handle.size() < n_bytes {
            // The smaller one goes first, so that both are never there together.
            kept.memory = bytes(&beside, 0);
            kept.memory = bytes(&beside, n_bytes);
        }
        let memory = if kept.memory.handle.can_mut() { kept.memory.clone() } else { bytes(&beside, n_bytes) };
        let rest = memory.handle.size() - n_bytes;
        let handle = if rest > 0 { memory.handle.offset_end(rest) } else { memory.handle };
        let out = CubeTensor::new_contiguous(memory.client, memory.device, Shape::from(shape), handle, dtype);
        (out, kept.levels.clone())
    })
}

fn bytes(beside: &CubeTensor, n_bytes: u64) -> CubeTensor {
    // No buffer is empty.
    let n_bytes = (n_bytes as usize).max(4);
    let handle = beside.client.empty(n_bytes);
    let shape = Shape::from([n_bytes]);
    CubeTensor::new_contiguous(beside.client.clone(), beside.device.clone(), shape, handle, DType::U8)
}

fn primitive(codes: &Tensor<1, Int>) -> CubeTensor {
    let primitive = codes.clone().try_into_primitive::<Cube>();
    primitive.expect("GPU kernels are chosen for plain CubeCL tensors only")
}

/// A tensor of bytes, read in words.
fn words(codes: &Tensor<1, Int>) -> BufferArg {
    let n_words = codes.dims()[0] / size_of::<u32>();
    // SAFETY: the buffer holds so many words: `quant` fills bytes up to whole ones.
    unsafe { BufferArg::from_raw_parts(primitive(codes).handle, n_words) }
}

/// How many values a thread writes at once, when they begin at `start`.
fn width(n_values: usize, start: usize, dtype: DType) -> usize {
    let size = vector_size(n_values, dtype);
    if start == 0 { size } else { size.min(vector_size(start, dtype)) }
}

fn dequantize(part: &Nf4Tensor, levels: &CubeTensor, out: &CubeTensor, start: usize) {
    let n_values = part.n_values();
    let n_cubes = n_values.div_ceil(CODES * N_WORDS * N_THREADS);
    let (count, threads) = (CubeCount::Static(n_cubes as u32, 1, 1), CubeDim::new_1d(N_THREADS as u32));
    let size = width(n_values, start, out.dtype);
    let (codes, levels) = (words(part.codes()), levels.clone().into_buffer_arg());
    let (n_vectors, first) = (n_values / size, start / size);
    match part.scales() {
        Scales::Single(scales) => dequantize_single::launch(
            &out.client,
            count,
            threads,
            size,
            codes,
            buffer(scales).into_buffer_arg(),
            levels,
            out.clone().into_buffer_arg(),
            n_vectors,
            first,
            element(out),
        ),
        Scales::Double { codes: scales, absmax, offset } => dequantize_double::launch(
            &out.client,
            count,
            threads,
            size,
            codes,
            words(scales),
            buffer(absmax).into_buffer_arg(),
            levels,
            out.clone().into_buffer_arg(),
            n_vectors,
            first,
            *offset,
            0.0,
            element(out),
        ),
    }
}

/// Writes a dense part where it belongs.
fn copy(part: &Tensor<2>, out: &CubeTensor, start: usize) {
    let part = buffer(part);
    let n_values = part.meta.shape().iter().product();
    let size = width(n_values, start, out.dtype);
    let types = [element(&part), element(out)];
    copy_part::launch(
        &out.client,
        CubeCount::Static((n_values / size).div_ceil(N_THREADS) as u32, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        size,
        part.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        n_values / size,
        start / size,
        types,
    );
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    for (activation, size) in activations() {
        for size in [size, 1] {
            variant!(variants, threads, dequantize_single::DequantizeSingle, [_ _ _ _ _ _], size, activation);
            variant!(variants, threads, dequantize_double::DequantizeDouble, [_ _ _ _ _ _ _ _ _], size, activation);
            variant!(variants, threads, copy_part::CopyPart, [_ _ _ _], size, [activation; 2]);
        }
    }
}

#[cube(launch)]
fn dequantize_single<F: Float, N: Size>(
    codes: &[u32],
    scales: &[f32],
    levels: &[f32],
    out: &mut [Vector<F, N>],
    n_vectors: usize,
    first_vector: usize,
    #[define(F)] _type: ElemType,
) {
    let size = N::value();
    let mut table = Shared::<[f32]>::new_slice(16usize);
    if UNIT_POS < 16 {
        table[UNIT_POS as usize] = levels[UNIT_POS as usize];
    }
    sync_cube();
    let first = CUBE_POS_X as usize * comptime!(N_THREADS * N_WORDS) + UNIT_POS as usize;
    #[unroll]
    for i in 0..N_WORDS {
        let place = first + i * N_THREADS;
        if place < codes.len() {
            let scale = scales[place / comptime!(BLOCK / CODES)];
            let word = codes[place];
            #[unroll]
            for v in 0..comptime!(CODES / size) {
                let mut values = Vector::<F, N>::empty();
                #[unroll]
                for j in 0..size {
                    let at = comptime!(v * size + j);
                    values.insert(j, F::cast_from(table[code(word, at)] * scale));
                }
                let vector = place * comptime!(CODES / size) + v;
                if vector < n_vectors {
                    out[first_vector + vector] = values;
                }
            }
        }
    }
}

#[cube(launch)]
fn dequantize_double<F: Float, N: Size>(
    codes: &[u32],
    scale_codes: &[u32],
    absmax: &[f32],
    levels: &[f32],
    out: &mut [Vector<F, N>],
    n_vectors: usize,
    first_vector: usize,
    offset: f32,
    zero: f32,
    #[define(F)] _type: ElemType,
) {
    let size = N::value();
    let mut table = Shared::<[f32]>::new_slice(16usize);
    let mut scale_table = Shared::<[f32]>::new_slice(N_THREADS);
    if UNIT_POS < 16 {
        table[UNIT_POS as usize] = levels[UNIT_POS as usize];
    }
    scale_table[UNIT_POS as usize] = levels[16 + UNIT_POS as usize];
    sync_cube();
    let first = CUBE_POS_X as usize * comptime!(N_THREADS * N_WORDS) + UNIT_POS as usize;
    #[unroll]
    for i in 0..N_WORDS {
        let place = first + i * N_THREADS;
        if place < codes.len() {
            let block = place / comptime!(BLOCK / CODES);
            let byte = (scale_codes[block / 4] >> ((block % 4) as u32 * 8)) & 255;
            // The product is rounded before the offset is added, as on the CPU: a compiler may fuse a product with the
            // sum that follows it, but not this one, whose own sum with a zero it does not know to be one.
            let scale = fma(scale_table[byte as usize], absmax[block / NESTED_BLOCK], zero) + offset;
            let word = codes[place];
            #[unroll]
            for v in 0..comptime!(CODES / size) {
                let mut values = Vector::<F, N>::empty();
                #[unroll]
                for j in 0..size {
                    let at = comptime!(v * size + j);
                    values.insert(j, F::cast_from(table[code(word, at)] * scale));
                }
                let vector = place * comptime!(CODES / size) + v;
                if vector < n_vectors {
                    out[first_vector + vector] = values;
                }
            }
        }
    }
}

/// Code number `at` of a word: of each byte the high half comes first.
#[cube]
fn code(word: u32, #[comptime] at: usize) -> usize {
    ((word >> comptime!((at / 2 * 8 + (1 - at % 2) * 4) as u32)) & 15) as usize
}

#[cube(launch)]
fn copy_part<P: Float, F: Float, N: Size>(
    part: &[Vector<P, N>],
    out: &mut [Vector<F, N>],
    n_vectors: usize,
    first_vector: usize,
    #[define(P, F)] _types: [ElemType; 2],
) {
    if ABSOLUTE_POS < n_vectors {
        out[first_vector + ABSOLUTE_POS] = Vector::cast_from(part[ABSOLUTE_POS]);
    }
}
