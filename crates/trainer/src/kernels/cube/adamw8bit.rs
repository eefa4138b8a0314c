//! One AdamW update of one tensor whose moments are in 8 bits; what is done stands in [`crate::optim::adamw8bit`].
//!
//! A thread for each value of a block, and some blocks for each cube, so that the tables of codes are read once for
//! all of them.

use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_cubecl::Cube;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Gpu;
use super::adamw::Update;
use super::global_norm::{By, Norm};
use super::tensor::{buffer, cube_count, owned, tensor};
use super::variants::{Variants, variant};
use crate::optim::adamw::Coefficients;
use crate::optim::adamw8bit::{BLOCK, BlockMoments, Blocks};
use crate::quant::dynamic;

/// Blocks of a cube.
const N_BLOCKS: usize = 16;
/// Codes in a word.
const CODES: usize = 4;
/// Where the tables of unsigned codes begin, after the signed ones: levels, then bounds.
const UNSIGNED: usize = 2 * BLOCK;

/// Updates `weight` and its moments, and returns it. What `norm` says of the gradients decides as in
/// [`update`](super::adamw::update).
pub fn update(
    _gpu: Gpu,
    (norm, by): (&Norm, By),
    Update { weight, gradient, moments }: Update<'_, BlockMoments>,
    coefficients: &Coefficients,
) -> Tensor<2> {
    let device = weight.device();
    let (weight, gradient) = (owned(weight), buffer(gradient));
    let n_values: usize = weight.meta.shape().iter().product();
    let [first, second] =
        [&mut moments.first, &mut moments.second].map(|blocks| Owned::take(blocks, &device));
    let Coefficients { new1, beta2, new2, epsilon, step_size, root_correction, kept, clip: _ } =
        *coefficients;
    let (factors, decider) = norm.decider(by);
    update_blocks::launch(
        &weight.client,
        cube_count(n_values.div_ceil(BLOCK * N_BLOCKS)),
        CubeDim::new_1d(BLOCK as u32),
        weight.clone().into_buffer_arg(),
        gradient.into_buffer_arg(),
        first.words(),
        first.absmax.clone().into_buffer_arg(),
        second.words(),
        second.absmax.clone().into_buffer_arg(),
        buffer(norm.codes(|| tables(&device))).into_buffer_arg(),
        factors,
        n_values,
        decider,
        new1,
        beta2,
        new2,
        epsilon,
        step_size,
        root_correction,
        kept,
    );
    moments.first = first.give_back();
    moments.second = second.give_back();
    tensor(weight)
}

/// Levels and bounds of signed codes, then those of unsigned ones, 256 places each.
fn tables(device: &Device) -> Tensor<1> {
    let mut tables = Vec::with_capacity(4 * BLOCK);
    for dynamic in [&*dynamic::SIGNED, &*dynamic::UNSIGNED] {
        tables.extend(dynamic.levels);
        tables.extend(dynamic.bounds);
        // There is one bound less than levels.
        tables.push(f32::MAX);
    }
    let n = tables.len();
    Tensor::from_data(TensorData::new(tables, [n]), device)
}

/// Blocks to be written in place.
struct Owned {
    codes: CubeTensor,
    absmax: CubeTensor,
}

impl Owned {
    fn take(blocks: &mut Blocks, device: &Device) -> Self {
        let codes = std::mem::replace(&mut blocks.codes, Tensor::empty([0], device));
        let absmax = std::mem::replace(&mut blocks.absmax, Tensor::empty([0], device));
        let codes = codes.try_into_primitive::<Cube>();
        let codes = codes.expect("GPU kernels are chosen for plain CubeCL tensors only");
        let codes = if codes.can_mut() { codes } else { codes.copy() };
        Self { codes, absmax: owned(absmax) }
    }

    /// The codes, in words.
    fn words(&self) -> BufferArg {
        let n_words = self.codes.meta.shape()[0].div_ceil(CODES);
        // SAFETY: memory is given out in multiples of more than a word, so what the last one has beyond the codes belongs
        // to nobody else.
        unsafe { BufferArg::from_raw_parts(self.codes.handle.clone(), n_words) }
    }

    fn give_back(self) -> Blocks {
        Blocks { codes: Tensor::<1, Int>::from_primitive::<Cube>(self.codes), absmax: tensor(self.absmax) }
    }
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(BLOCK as u32);
    variant!(
        variants,
        threads,
        update_blocks::UpdateBlocks,
        [_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _]
    );
}

#[cube(launch)]
fn update_blocks(
    weight: &mut [f32],
    gradient: &[f32],
    first_codes: &mut [u32],
    first_absmax: &mut [f32],
    second_codes: &mut [u32],
    second_absmax: &mut [f32],
    tables: &[f32],
    factors: &[f32],
    n_values: usize,
    decider: usize,
    new1: f32,
    beta2: f32,
    new2: f32,
    epsilon: f32,
    step_size: f32,
    root_correction: f32,
    kept: f32,
) {
    let clip = factors[decider];
    if clip < 0.0 {
        terminate!();
    }
    let unit = UNIT_POS as usize;
    let mut table = Shared::<[f32]>::new_slice(comptime!(4 * BLOCK));
    let mut codes = Shared::<[u32]>::new_slice(BLOCK);
    let mut maxima = Shared::<[f32]>::new_slice(comptime!(BLOCK / 4));
    #[unroll]
    for part in 0..4 {
        table[part * BLOCK + unit] = tables[part * BLOCK + unit];
    }
    sync_cube();
    for step in 0..N_BLOCKS {
        let block = CUBE_POS * N_BLOCKS + step;
        // The same for all threads of a cube, which meet below.
        if block * BLOCK < n_values {
            let at = block * BLOCK + unit;
            let mut m = 0.0f32;
            let mut v = 0.0f32;
            if at < n_values {
                let shift = (at % CODES) as u32 * 8;
                let first_code = (first_codes[at / CODES] >> shift) & 255;
                let second_code = (second_codes[at / CODES] >> shift) & 255;
                m = table[first_code as usize] * first_absmax[block];
                v = table[UNSIGNED + second_code as usize] * second_absmax[block];
                let g = gradient[at] * clip;
                m += (g - m) * new1;
                v = v * beta2 + g * g * new2;
                weight[at] = weight[at] * kept - m * step_size / (f32::sqrt(v) * root_correction + epsilon);
            }
            // Here nobody reads codes and scales of the block any more.
            let m_scale = max_over_cube(f32::abs(m), &mut maxima);
            let v_scale = max_over_cube(v, &mut maxima);
            if unit == 0 {
                first_absmax[block] = m_scale;
                second_absmax[block] = v_scale;
            }
            let n_words = n_values.div_ceil(CODES);
            codes[unit] = code(m, m_scale, &table, 0usize);
            write_words(&codes, first_codes, block, n_words);
            codes[unit] = code(v, v_scale, &table, UNSIGNED);
            write_words(&codes, second_codes, block, n_words);
        }
    }
}

/// The largest value of all threads, none of which is negative.
#[cube]
fn max_over_cube(value: f32, maxima: &mut Shared<[f32]>) -> f32 {
    let of_plane = plane_max(value);
    if UNIT_POS_PLANE == 0 {
        maxima[PLANE_POS as usize] = of_plane;
    }
    sync_cube();
    let mut largest = 0.0f32;
    for plane in 0..CUBE_DIM / PLANE_DIM {
        largest = largest.max(maxima[plane as usize]);
    }
    // Who looks for the next one writes to the same places.
    sync_cube();
    largest
}

/// The code of the level that is nearest to `value / scale`: how many bounds are below it, found by halving.
#[cube]
fn code(value: f32, scale: f32, table: &Shared<[f32]>, #[comptime] levels: usize) -> u32 {
    let mut scaled = 0.0f32;
    if scale > 0.0 {
        scaled = value / scale;
    }
    let mut code = 0usize;
    #[unroll]
    for halving in 0..8 {
        let step = comptime!(BLOCK >> (halving + 1));
        if scaled > table[comptime!(levels + BLOCK - 1) + code + step] {
            code += step;
        }
    }
    code as u32
}

/// Puts the codes of a block into words, and waits until all are read.
#[cube]
fn write_words(codes: &Shared<[u32]>, words: &mut [u32], block: usize, n_words: usize) {
    sync_cube();
    let unit = UNIT_POS as usize;
    let place = block * comptime!(BLOCK / CODES) + unit;
    if unit < comptime!(BLOCK / CODES) && place < n_words {
        let mut word = 0u32;
        #[unroll]
        for i in 0..CODES {
            word |= codes[unit * CODES + i] << comptime!(i as u32 * 8);
        }
        words[place] = word;
    }
    sync_cube();
}
