//! Row kernels of the cross-entropy: a cube for each row of logits, which it reads twice.
//!
//! The formulas stand in [`crate::ops::cross_entropy`]. The sum of exponentials is made while the maximum is still being
//! found (Milakov and Gimelshein 2018).

use burn::tensor::{Device, Tensor};
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::reduce::{max_over_cube, sum_of_vector, sum_over_cube};
use super::tensor::{buffer, element, numbers, owned, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::ops::cross_entropy::Chunk;

/// Threads of a cube.
const N_THREADS: usize = 256;

/// Whether logits are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Limit {
    None,
    Tanh,
}

/// `logits` become their gradient, each row times its weight; puts each row's negative log-likelihood into its place of
/// `nll`.
pub fn gradient(
    _gpu: Gpu,
    logits: Tensor<2>,
    (chunk, weights): (Chunk<'_>, &Tensor<1>),
    nll: &mut Tensor<1>,
) -> Tensor<2> {
    let [n_rows, vocab] = logits.dims();
    let (logits, sums) = (owned(logits), taken(nll));
    let (targets, weights) = (numbers(chunk.targets), buffer(weights));
    let size = vector_size(vocab, logits.dtype);
    let (limit, cap) = limit(chunk.softcap);
    let kind = element(&logits);
    gradient_rows::launch(
        &sums.client.clone(),
        CubeCount::Static(n_rows as u32, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        size,
        logits.clone().into_buffer_arg(),
        targets.into_buffer_arg(),
        weights.into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        chunk.first,
        vocab / size,
        cap,
        limit,
        kind,
    );
    *nll = tensor(sums);
    tensor(logits)
}

/// Puts each row's negative log-likelihood, and how many tokens come before its target in likelihood, into its place of
/// `scores`, `[rows, 2]`. Of tokens that are alike the first comes first.
pub fn score(_gpu: Gpu, logits: &Tensor<2>, chunk: Chunk<'_>, scores: &mut Tensor<2>) {
    let [n_rows, vocab] = logits.dims();
    let (logits, sums) = (buffer(logits), taken(scores));
    let targets = numbers(chunk.targets);
    let size = vector_size(vocab, logits.dtype);
    let (limit, cap) = limit(chunk.softcap);
    let kind = element(&logits);
    score_rows::launch(
        &sums.client.clone(),
        CubeCount::Static(n_rows as u32, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        size,
        logits.into_buffer_arg(),
        targets.into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        chunk.first,
        vocab / size,
        cap,
        limit,
        kind,
    );
    *scores = tensor(sums);
}

fn limit(softcap: Option<f32>) -> (Limit, f32) {
    softcap.map_or((Limit::None, 1.0), |cap| (Limit::Tanh, cap))
}

/// The buffer of a tensor that is written in place; something empty stands there meanwhile.
fn taken<const D: usize>(place: &mut Tensor<D>) -> burn_cubecl::tensor::CubeTensor {
    let device: Device = place.device();
    owned(std::mem::replace(place, Tensor::empty([0; D], &device)))
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    for (kind, size) in activations() {
        for (size, limit) in [(size, Limit::None), (1, Limit::None), (size, Limit::Tanh)] {
            variant!(variants, threads, gradient_rows::GradientRows, [_ _ _ _ _ _ _], size, limit, kind);
            variant!(variants, threads, score_rows::ScoreRows, [_ _ _ _ _ _], size, limit, kind);
        }
    }
}

#[cube(launch)]
fn gradient_rows<F: Float, N: Size>(
    logits: &mut [Vector<F, N>],
    targets: &[u32],
    weights: &[f32],
    nll: &mut [f32],
    first: usize,
    n_vectors: usize,
    cap: f32,
    #[comptime] limit: Limit,
    #[define(F)] _type: ElemType,
) {
    let row = CUBE_POS_X as usize;
    let start = row * n_vectors;
    let place = first + row;
    let weight = weights[place];
    let target = usize::cast_from(targets[place]);
    let mut max = f32::min_value();
    let mut sum = 0.0f32;
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let z = limited::<N>(Vector::cast_from(logits[start + i]), cap, limit);
        let (new_max, new_sum) = with_vector::<N>(z, max, sum);
        max = new_max;
        sum = new_sum;
    }
    let log_sum = log_sum_over_cube(max, sum);
    let size = max_size::<N>();
    // Everybody reads it before anybody writes.
    let target_vector = limited::<N>(Vector::cast_from(logits[start + target / size]), cap, limit);
    sync_cube();
    if UNIT_POS == 0 {
        nll[place] = log_sum - target_vector.extract_dynamic(target % size);
    }
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let z = limited::<N>(Vector::cast_from(logits[start + i]), cap, limit);
        let mut dz = (z - Vector::new(log_sum)).exp() * Vector::new(weight);
        if i == target / size {
            #[unroll]
            for lane in 0..size {
                if lane == target % size {
                    dz.insert(lane, dz.extract(lane) - weight);
                }
            }
        }
        match limit {
            Limit::None => {}
            Limit::Tanh => {
                let t = z / Vector::new(cap);
                dz *= Vector::new(1.0) - t * t;
            }
        }
        logits[start + i] = Vector::cast_from(dz);
    }
}

#[cube(launch)]
fn score_rows<F: Float, N: Size>(
    logits: &[Vector<F, N>],
    targets: &[u32],
    scores: &mut [f32],
    first: usize,
    n_vectors: usize,
    cap: f32,
    #[comptime] limit: Limit,
    #[define(F)] _type: ElemType,
) {
    let row = CUBE_POS_X as usize;
    let start = row * n_vectors;
    let place = first + row;
    let target = usize::cast_from(targets[place]);
    let size = max_size::<N>();
    let target_vector = limited::<N>(Vector::cast_from(logits[start + target / size]), cap, limit);
    let of_target = target_vector.extract_dynamic(target % size);
    let mut max = f32::min_value();
    let mut sum = 0.0f32;
    let mut n_before = 0.0f32;
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let z = limited::<N>(Vector::cast_from(logits[start + i]), cap, limit);
        let (new_max, new_sum) = with_vector::<N>(z, max, sum);
        max = new_max;
        sum = new_sum;
        #[unroll]
        for lane in 0..size {
            let value = z.extract(lane);
            if value > of_target || (value == of_target && i * size + lane < target) {
                n_before += 1.0;
            }
        }
    }
    let log_sum = log_sum_over_cube(max, sum);
    let n_before = sum_over_cube(n_before, N_THREADS);
    if UNIT_POS == 0 {
        scores[2 * place] = log_sum - of_target;
        scores[2 * place + 1] = n_before;
    }
}

/// How many values a vector has.
#[cube]
fn max_size<N: Size>() -> comptime_type!(usize) {
    N::value()
}

#[cube]
fn limited<N: Size>(z: Vector<f32, N>, cap: f32, #[comptime] limit: Limit) -> Vector<f32, N> {
    match limit {
        Limit::None => z,
        Limit::Tanh => Vector::new(cap) * (z / Vector::new(cap)).tanh(),
    }
}

/// The largest value so far and the sum of all exponentials relative to it, with those of another vector.
#[cube]
fn with_vector<N: Size>(z: Vector<f32, N>, max: f32, sum: f32) -> (f32, f32) {
    let mut new_max = max;
    #[unroll]
    for lane in 0..z.vector_size() {
        new_max = f32::max(new_max, z.extract(lane));
    }
    let of_vector = sum_of_vector::<N>((z - Vector::new(new_max)).exp());
    (new_max, sum * f32::exp(max - new_max) + of_vector)
}

/// The logarithm of the sum of all threads' exponentials.
#[cube]
fn log_sum_over_cube(max: f32, sum: f32) -> f32 {
    let of_all = max_over_cube(max, N_THREADS);
    of_all + f32::ln(sum_over_cube(sum * f32::exp(max - of_all), N_THREADS))
}
