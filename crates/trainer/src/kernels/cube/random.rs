//! Dropout and noise from counters: the numbers of [`crate::ops::dropout`], made where they are used.
//!
//! SplitMix64 goes in pairs of 32 bits, since shaders have no 64-bit integers everywhere.

use burn::tensor::Tensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::grid::each;
use super::tensor::{buffer, element, empty, owned, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::ops::dropout::{GAMMA, MULTIPLIERS, Mask, halves};
use crate::ops::neftune::Noise;

const GAMMA_LOW: u32 = halves(GAMMA)[0];
const GAMMA_HIGH: u32 = halves(GAMMA)[1];
const FIRST_LOW: u32 = halves(MULTIPLIERS[0])[0];
const FIRST_HIGH: u32 = halves(MULTIPLIERS[0])[1];
const SECOND_LOW: u32 = halves(MULTIPLIERS[1])[0];
const SECOND_HIGH: u32 = halves(MULTIPLIERS[1])[1];

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    /// It takes the place of what was there.
    Written,
    /// It is added to that.
    Added,
}

/// `x` with dropped values zeroed and the others scaled up.
pub fn dropped(_gpu: Gpu, mask: &Mask, x: &Tensor<2>) -> Tensor<2> {
    let x = buffer(x);
    let shape = x.meta.shape();
    let y = empty(&x, [shape[0], shape[1]], x.dtype);
    launch_mask(mask, x, y.clone(), Outcome::Written);
    tensor(y)
}

/// Adds `x` with dropped values zeroed and the others scaled up to `sum`.
pub fn add_dropped(_gpu: Gpu, mask: &Mask, x: &Tensor<2>, sum: &mut Tensor<2>) {
    let empty = Tensor::empty([0, 0], &sum.device());
    let total = owned(std::mem::replace(sum, empty));
    launch_mask(mask, buffer(x), total.clone(), Outcome::Added);
    *sum = tensor(total);
}

fn launch_mask(
    mask: &Mask,
    x: burn_cubecl::tensor::CubeTensor,
    y: burn_cubecl::tensor::CubeTensor,
    outcome: Outcome,
) {
    let size = vector_size(x.meta.num_elements(), x.dtype);
    let n = x.meta.num_elements() / size;
    let (count, dim) = each(&y.client, n);
    let ([key_low, key_high], [threshold_low, threshold_high]) = mask.words();
    let kind = element(&x);
    mask_values::launch(
        &y.client.clone(),
        count,
        dim,
        size,
        x.into_buffer_arg(),
        y.into_buffer_arg(),
        n,
        key_low,
        key_high,
        threshold_low,
        threshold_high,
        mask.scale(),
        outcome,
        kind,
    );
}

/// Adds noise to `x`, whose row t gets values up to `magnitudes[t]`.
pub fn add_noise(_gpu: Gpu, noise: &Noise, magnitudes: &Tensor<1>, x: &mut Tensor<2>) {
    let [n_tokens, hidden] = x.dims();
    let empty = Tensor::empty([0, 0], &x.device());
    let sum = owned(std::mem::replace(x, empty));
    let size = vector_size(hidden, sum.dtype);
    let n = n_tokens * hidden / size;
    let (count, dim) = each(&sum.client, n);
    let [key_low, key_high] = noise.key.words();
    let kind = element(&sum);
    add_noise_values::launch(
        &sum.client.clone(),
        count,
        dim,
        size,
        sum.clone().into_buffer_arg(),
        buffer(magnitudes).into_buffer_arg(),
        n,
        hidden / size,
        key_low,
        key_high,
        kind,
    );
    *x = tensor(sum);
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = super::grid::threads();
    for (kind, size) in activations() {
        for (size, outcome) in [(size, Outcome::Written), (1, Outcome::Written), (size, Outcome::Added)] {
            variant!(variants, threads, mask_values::MaskValues, [_ _ _ _ _ _ _ _], size, outcome, kind);
            variant!(variants, threads, add_noise_values::AddNoiseValues, [_ _ _ _ _ _], size, kind);
        }
    }
}

#[cube(launch)]
fn mask_values<F: Float, N: Size>(
    x: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    n_places: usize,
    key_low: u32,
    key_high: u32,
    threshold_low: u32,
    threshold_high: u32,
    scale: f32,
    #[comptime] outcome: Outcome,
    #[define(F)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place < n_places {
        let mut factor = Vector::<f32, N>::new(0.0);
        #[unroll]
        for lane in 0..factor.vector_size() {
            let index = place * factor.vector_size() + lane;
            let (low, high) = random(key_low, key_high, u32::cast_from(index));
            let is_kept = high > threshold_high || (high == threshold_high && low >= threshold_low);
            factor.insert(lane, select(is_kept, scale, 0.0f32));
        }
        let value = Vector::<f32, N>::cast_from(x[place]) * factor;
        match outcome {
            Outcome::Written => y[place] = Vector::cast_from(value),
            Outcome::Added => y[place] = Vector::cast_from(Vector::<f32, N>::cast_from(y[place]) + value),
        }
    }
}

#[cube(launch)]
fn add_noise_values<F: Float, N: Size>(
    x: &mut [Vector<F, N>],
    magnitudes: &[f32],
    n_places: usize,
    n_vectors: usize,
    key_low: u32,
    key_high: u32,
    #[define(F)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place < n_places {
        let mut unit = Vector::<f32, N>::new(0.0);
        #[unroll]
        for lane in 0..unit.vector_size() {
            let index = place * unit.vector_size() + lane;
            let (_, high) = random(key_low, key_high, u32::cast_from(index));
            // The upper 24 bits, as many as the significand of an f32 holds.
            unit.insert(lane, f32::cast_from(high >> 8) * comptime!(1.0 / (1u32 << 23) as f32) - 1.0);
        }
        let noise = unit * Vector::new(magnitudes[place / n_vectors]);
        x[place] = Vector::cast_from(Vector::<f32, N>::cast_from(x[place]) + noise);
    }
}

/// Number `index` of a stream; results are lower and upper half.
#[cube]
fn random(key_low: u32, key_high: u32, index: u32) -> (u32, u32) {
    let n = index + 1;
    let step_low = n * GAMMA_LOW;
    let step_high = u32::mul_hi(n, GAMMA_LOW) + n * GAMMA_HIGH;
    let low = key_low + step_low;
    let carry = select(low < step_low, 1u32, 0u32);
    let high = key_high + step_high + carry;
    let (low, high) = xor_shifted(low, high, 30u32);
    let (low, high) = product(low, high, FIRST_LOW, FIRST_HIGH);
    let (low, high) = xor_shifted(low, high, 27u32);
    let (low, high) = product(low, high, SECOND_LOW, SECOND_HIGH);
    xor_shifted(low, high, 31u32)
}

/// `z ^ (z >> n)`, where n is below 32.
#[cube]
fn xor_shifted(low: u32, high: u32, #[comptime] n: u32) -> (u32, u32) {
    (low ^ ((low >> n) | (high << comptime!(32 - n))), high ^ (high >> n))
}

/// The lower 64 bits of a product.
#[cube]
fn product(low: u32, high: u32, #[comptime] by_low: u32, #[comptime] by_high: u32) -> (u32, u32) {
    (low * by_low, u32::mul_hi(low, by_low.runtime()) + low * by_high + high * by_low)
}
