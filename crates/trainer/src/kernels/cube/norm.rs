//! RMS normalization: a cube for each row.
//!
//! The formulas stand in [`crate::ops::norm`].

use burn::tensor::{DType, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::reduce::{sum_of_vector, sum_over_cube};
use super::tensor::{buffer, element, empty, owned, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::ops::norm::{BackwardInput, NormWeight, RmsNorm};

/// Threads of a cube.
const N_THREADS: usize = 128;

/// Returns y and `1 / rms`.
pub fn forward(_gpu: Gpu, norm: &RmsNorm, x: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let [n_rows, width] = x.dims();
    let (x, weight) = (buffer(x), buffer(&norm.weight.value));
    let y = empty(&x, [n_rows, width], x.dtype);
    let inverse_rms = empty(&x, [n_rows, 1], DType::F32);
    let types = [element(&x), element(&weight)];
    let size = vector_size(width, x.dtype);
    forward_rows::launch(
        &y.client.clone(),
        CubeCount::Static(n_rows as u32, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        size,
        x.into_buffer_arg(),
        weight.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        inverse_rms.clone().into_buffer_arg(),
        width / size,
        norm.eps as f32,
        offset(norm.meaning),
        types,
    );
    (tensor(y), tensor(inverse_rms))
}

/// The sum of `x` and `added`, and its y and `1 / rms`.
pub fn forward_added(
    _gpu: Gpu,
    norm: &RmsNorm,
    x: &Tensor<2>,
    added: Tensor<2>,
) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    let [n_rows, width] = x.dims();
    let (x, weight, sum) = (buffer(x), buffer(&norm.weight.value), owned(added));
    let y = empty(&x, [n_rows, width], x.dtype);
    let inverse_rms = empty(&x, [n_rows, 1], DType::F32);
    let types = [element(&x), element(&weight)];
    let size = vector_size(width, x.dtype);
    forward_added_rows::launch(
        &y.client.clone(),
        CubeCount::Static(n_rows as u32, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        size,
        x.into_buffer_arg(),
        sum.clone().into_buffer_arg(),
        weight.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        inverse_rms.clone().into_buffer_arg(),
        width / size,
        norm.eps as f32,
        offset(norm.meaning),
        types,
    );
    (tensor(sum), tensor(y), tensor(inverse_rms))
}

/// The gradient of x.
pub fn backward_alone(_gpu: Gpu, norm: &RmsNorm, input: BackwardInput<'_>) -> Tensor<2> {
    let [n_rows, width] = input.x.dims();
    let dx = empty(&buffer(input.x), [n_rows, width], input.x.dtype());
    launch_backward(norm, input, &dx, Outcome::Written);
    tensor(dx)
}

/// Adds the gradient of x to `dx`.
pub fn backward(_gpu: Gpu, norm: &RmsNorm, input: BackwardInput<'_>, dx: &mut Tensor<2>) {
    let empty = Tensor::empty([0, 0], &dx.device());
    let sum = owned(std::mem::replace(dx, empty));
    launch_backward(norm, input, &sum, Outcome::Added);
    *dx = tensor(sum);
}

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    /// It takes the place of what was there.
    Written,
    /// It is added to that.
    Added,
}

fn launch_backward(norm: &RmsNorm, input: BackwardInput<'_>, dx: &CubeTensor, outcome: Outcome) {
    let [n_rows, width] = input.x.dims();
    let (x, dy) = (buffer(input.x), buffer(input.dy));
    let (weight, inverse_rms) = (buffer(&norm.weight.value), buffer(input.inverse_rms));
    let types = [element(&x), element(&weight)];
    let size = vector_size(width, x.dtype);
    backward_rows::launch(
        &dx.client,
        CubeCount::Static(n_rows as u32, 1, 1),
        CubeDim::new_1d(N_THREADS as u32),
        size,
        x.into_buffer_arg(),
        dy.into_buffer_arg(),
        weight.into_buffer_arg(),
        inverse_rms.into_buffer_arg(),
        dx.clone().into_buffer_arg(),
        width / size,
        offset(norm.meaning),
        outcome,
        types,
    );
}

/// What is added to the weight.
pub(super) fn offset(meaning: NormWeight) -> f32 {
    match meaning {
        NormWeight::Factor => 0.0,
        NormWeight::OnePlus => 1.0,
    }
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = CubeDim::new_1d(N_THREADS as u32);
    for (activation, size) in activations() {
        for (weight, size) in [(activation, size), (activation, 1), (f32::elem_type_native(), size)] {
            let types = [activation, weight];
            variant!(variants, threads, forward_rows::ForwardRows, [_ _ _ _ _ _ _], size, types);
            variant!(variants, threads, forward_added_rows::ForwardAddedRows, [_ _ _ _ _ _ _ _], size, types);
            for outcome in [Outcome::Written, Outcome::Added] {
                variant!(
                    variants,
                    threads,
                    backward_rows::BackwardRows,
                    [_ _ _ _ _ _ _],
                    size,
                    outcome,
                    types
                );
            }
        }
    }
}

#[cube(launch)]
fn forward_rows<F: Float, W: Float, N: Size>(
    x: &[Vector<F, N>],
    weight: &[Vector<W, N>],
    y: &mut [Vector<F, N>],
    inverse_rms: &mut [f32],
    n_vectors: usize,
    eps: f32,
    offset: f32,
    #[define(F, W)] _types: [ElemType; 2],
) {
    let row = CUBE_POS_X as usize;
    let start = row * n_vectors;
    let mut sum = Vector::<f32, N>::new(0.0);
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let x = Vector::<f32, N>::cast_from(x[start + i]);
        sum += x * x;
    }
    let total = sum_over_cube(sum_of_vector::<N>(sum), N_THREADS);
    let mean = total / f32::cast_from(n_vectors * sum.vector_size());
    let r = 1.0f32 / f32::sqrt(mean + eps);
    if UNIT_POS == 0 {
        inverse_rms[row] = r;
    }
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let x = Vector::<f32, N>::cast_from(x[start + i]);
        let factor = Vector::<f32, N>::cast_from(weight[i]) + Vector::new(offset);
        y[start + i] = Vector::cast_from(x * Vector::new(r) * factor);
    }
}

#[cube(launch)]
fn forward_added_rows<F: Float, W: Float, N: Size>(
    x: &[Vector<F, N>],
    sum: &mut [Vector<F, N>],
    weight: &[Vector<W, N>],
    y: &mut [Vector<F, N>],
    inverse_rms: &mut [f32],
    n_vectors: usize,
    eps: f32,
    offset: f32,
    #[define(F, W)] _types: [ElemType; 2],
) {
    let row = CUBE_POS_X as usize;
    let start = row * n_vectors;
    let mut square = Vector::<f32, N>::new(0.0);
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let exact = Vector::<f32, N>::cast_from(x[start + i]) + Vector::cast_from(sum[start + i]);
        // The norm is that of the values which are kept.
        let kept = Vector::<F, N>::cast_from(exact);
        sum[start + i] = kept;
        let kept = Vector::<f32, N>::cast_from(kept);
        square += kept * kept;
    }
    let total = sum_over_cube(sum_of_vector::<N>(square), N_THREADS);
    let mean = total / f32::cast_from(n_vectors * square.vector_size());
    let r = 1.0f32 / f32::sqrt(mean + eps);
    if UNIT_POS == 0 {
        inverse_rms[row] = r;
    }
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let x = Vector::<f32, N>::cast_from(sum[start + i]);
        let factor = Vector::<f32, N>::cast_from(weight[i]) + Vector::new(offset);
        y[start + i] = Vector::cast_from(x * Vector::new(r) * factor);
    }
}

#[cube(launch)]
fn backward_rows<F: Float, W: Float, N: Size>(
    x: &[Vector<F, N>],
    dy: &[Vector<F, N>],
    weight: &[Vector<W, N>],
    inverse_rms: &[f32],
    dx: &mut [Vector<F, N>],
    n_vectors: usize,
    offset: f32,
    #[comptime] outcome: Outcome,
    #[define(F, W)] _types: [ElemType; 2],
) {
    let row = CUBE_POS_X as usize;
    let start = row * n_vectors;
    let r = inverse_rms[row];
    let mut sum = Vector::<f32, N>::new(0.0);
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let factor = Vector::<f32, N>::cast_from(weight[i]) + Vector::new(offset);
        sum += Vector::<f32, N>::cast_from(dy[start + i]) * factor * Vector::cast_from(x[start + i]);
    }
    let total = sum_over_cube(sum_of_vector::<N>(sum), N_THREADS);
    let c = total / f32::cast_from(n_vectors * sum.vector_size()) * r * r * r;
    for i in range_stepped(UNIT_POS as usize, n_vectors, N_THREADS) {
        let factor = Vector::<f32, N>::cast_from(weight[i]) + Vector::new(offset);
        let weighted = Vector::<f32, N>::cast_from(dy[start + i]) * factor * Vector::new(r);
        let back = weighted - Vector::cast_from(x[start + i]) * Vector::new(c);
        match outcome {
            Outcome::Written => dx[start + i] = Vector::cast_from(back),
            Outcome::Added => {
                dx[start + i] = Vector::cast_from(Vector::<f32, N>::cast_from(dx[start + i]) + back);
            }
        }
    }
}
