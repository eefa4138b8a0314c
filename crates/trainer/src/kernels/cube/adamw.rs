//! AdamW updates of many weights with one launch; the formulas stand in [`crate::optim::adamw`].
//!
//! An update reads from [`super::global_norm`] by how much gradients are clipped, and where they are not finite it
//! changes nothing.

use burn::tensor::{DType, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::Gpu;
use super::global_norm::{By, CHUNK, MAX_TENSORS, N_THREADS, Norm, at_once, n_values};
use super::tensor::{buffer, cube_count, owned, tensor, vector_size};
use super::variants::{Variants, variant};
use crate::optim::adamw::{Coefficients, Moments};

/// A weight with what its update reads and writes.
#[derive(Debug)]
pub struct Update<'a, M = Moments> {
    /// The weight.
    pub weight: Tensor<2>,
    /// Its gradient.
    pub gradient: &'a Tensor<2>,
    /// Its moments.
    pub moments: &'a mut M,
}

/// Updates weights, all with the same coefficients but for the factor of clipping, which `norm` has. Returns them in
/// their order.
pub fn update(
    _gpu: Gpu,
    (norm, by): (&Norm, By),
    updates: Vec<Update<'_>>,
    coefficients: &Coefficients,
) -> Vec<Tensor<2>> {
    let Some(first) = updates.first() else { return Vec::new() };
    let empty = Tensor::empty([0, 0], &first.weight.device());
    let mut trained: Vec<_> = updates.into_iter().map(|update| Trained::new(update, &empty)).collect();
    let client = trained[0].weight.client.clone();
    let at_once = at_once(&client) / 4;
    for size in [4, 2, 1] {
        let fit: Vec<_> =
            trained.iter().filter(|one| vector_size(n_values(&one.weight), DType::F32) == size).collect();
        for group in fit.chunks(at_once.max(1)) {
            let n_cubes = group.iter().map(|one| n_values(&one.weight).div_ceil(CHUNK)).sum();
            let Coefficients { new1, beta2, new2, epsilon, step_size, root_correction, kept, clip: _ } =
                *coefficients;
            let (factors, decider) = norm.decider(by);
            update_all::launch(
                &client,
                cube_count(n_cubes),
                CubeDim::new_1d(N_THREADS as u32),
                size,
                group.iter().map(|one| one.weight.clone().into_buffer_arg()).collect(),
                group.iter().map(|one| one.gradient.clone().into_buffer_arg()).collect(),
                group.iter().map(|one| one.first.clone().into_buffer_arg()).collect(),
                group.iter().map(|one| one.second.clone().into_buffer_arg()).collect(),
                factors,
                decider,
                new1,
                beta2,
                new2,
                epsilon,
                step_size,
                root_correction,
                kept,
            );
        }
    }
    trained.drain(..).map(Trained::finish).collect()
}

/// The buffers of an [`Update`].
struct Trained<'a> {
    weight: CubeTensor,
    gradient: CubeTensor,
    first: CubeTensor,
    second: CubeTensor,
    moments: &'a mut Moments,
}

impl<'a> Trained<'a> {
    /// What is taken out of the moments leaves `empty` there meanwhile.
    fn new(Update { weight, gradient, moments }: Update<'a>, empty: &Tensor<2>) -> Self {
        let first = owned(std::mem::replace(&mut moments.first, empty.clone()));
        let second = owned(std::mem::replace(&mut moments.second, empty.clone()));
        Self { weight: owned(weight), gradient: buffer(gradient), first, second, moments }
    }

    fn finish(self) -> Tensor<2> {
        self.moments.first = tensor(self.first);
        self.moments.second = tensor(self.second);
        tensor(self.weight)
    }
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    for size in [4, 1] {
        for n in [1, MAX_TENSORS] {
            variant!(
                variants,
                threads,
                update_all::UpdateAll,
                [(n) (n) (n) (n) _ _ _ _ _ _ _ _ _],
                size
            );
        }
    }
}

#[cube(launch)]
fn update_all<N: Size>(
    weights: &mut Sequence<Box<[Vector<f32, N>]>>,
    gradients: &Sequence<Box<[Vector<f32, N>]>>,
    first: &mut Sequence<Box<[Vector<f32, N>]>>,
    second: &mut Sequence<Box<[Vector<f32, N>]>>,
    factors: &[f32],
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
    let size = N::value();
    let cube = CUBE_POS;
    let mut start = 0usize;
    #[unroll]
    for i in 0..gradients.len() {
        let n = gradients[i].len();
        let end = start + n.div_ceil(comptime!(CHUNK / size));
        if cube >= start && cube < end {
            let (p, g) = (weights.index_mut(i), &gradients[i]);
            let (m, v) = (first.index_mut(i), second.index_mut(i));
            let at = (cube - start) * comptime!(CHUNK / size) + UNIT_POS as usize;
            #[unroll]
            for step in 0..comptime!(CHUNK / size / N_THREADS) {
                let at = at + step * N_THREADS;
                if at < n {
                    let g = g[at] * Vector::new(clip);
                    let mean = m[at] + (g - m[at]) * Vector::new(new1);
                    let square = v[at] * Vector::new(beta2) + g * g * Vector::new(new2);
                    let divisor = Vector::sqrt(square) * Vector::new(root_correction) + Vector::new(epsilon);
                    p[at] = p[at] * Vector::new(kept) - mean * Vector::new(step_size) / divisor;
                    m[at] = mean;
                    v[at] = square;
                }
            }
        }
        start = end;
    }
}
