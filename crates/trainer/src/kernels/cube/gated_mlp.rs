//! The gate of the MLP: a thread for each 16 bytes of the output.
//!
//! The formulas stand in [`crate::ops::gated_mlp`].

use burn::tensor::Tensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::Gpu;
use super::grid::each;
use super::tensor::{buffer, element, empty, owned, tensor, vector_size};
use super::variants::{Variants, activations, variant};
use crate::ops::gated_mlp::{Activation, GELU_CUBIC, GELU_SCALE};

/// `f(gate) · up`.
pub fn forward(_gpu: Gpu, activation: Activation, gate_up: &Tensor<2>) -> Tensor<2> {
    let [n_tokens, width] = gate_up.dims();
    let width = width / 2;
    let gate_up = buffer(gate_up);
    let y = empty(&gate_up, [n_tokens, width], gate_up.dtype);
    let size = vector_size(width, gate_up.dtype);
    let n = n_tokens * width / size;
    let (count, dim) = each(&y.client, n);
    let kind = element(&gate_up);
    forward_values::launch(
        &y.client.clone(),
        count,
        dim,
        size,
        gate_up.into_buffer_arg(),
        y.clone().into_buffer_arg(),
        n,
        width / size,
        activation,
        kind,
    );
    tensor(y)
}

/// Turns `gate_up` into its gradient.
pub fn backward(_gpu: Gpu, activation: Activation, gate_up: Tensor<2>, dy: &Tensor<2>) -> Tensor<2> {
    let [n_tokens, width] = dy.dims();
    let (gate_up, dy) = (owned(gate_up), buffer(dy));
    let size = vector_size(width, gate_up.dtype);
    let n = n_tokens * width / size;
    let (count, dim) = each(&dy.client, n);
    let kind = element(&gate_up);
    backward_values::launch(
        &dy.client.clone(),
        count,
        dim,
        size,
        gate_up.clone().into_buffer_arg(),
        dy.into_buffer_arg(),
        n,
        width / size,
        activation,
        kind,
    );
    tensor(gate_up)
}

/// What is compiled without a device.
pub(super) fn variants(variants: &mut Variants) {
    let threads = super::grid::threads();
    for (kind, size) in activations() {
        for (size, activation) in
            [(size, Activation::Silu), (1, Activation::Silu), (size, Activation::GeluTanh)]
        {
            variant!(variants, threads, forward_values::ForwardValues, [_ _ _ _], size, activation, kind);
            variant!(variants, threads, backward_values::BackwardValues, [_ _ _ _], size, activation, kind);
        }
    }
}

#[cube(launch)]
fn forward_values<F: Float, N: Size>(
    gate_up: &[Vector<F, N>],
    y: &mut [Vector<F, N>],
    n_places: usize,
    n_vectors: usize,
    #[comptime] activation: Activation,
    #[define(F)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place < n_places {
        let gate_place = place + place / n_vectors * n_vectors;
        let gate = Vector::<f32, N>::cast_from(gate_up[gate_place]);
        let up = Vector::<f32, N>::cast_from(gate_up[gate_place + n_vectors]);
        let (value, _) = value_and_slope::<N>(gate, activation);
        y[place] = Vector::cast_from(value * up);
    }
}

#[cube(launch)]
fn backward_values<F: Float, N: Size>(
    gate_up: &mut [Vector<F, N>],
    dy: &[Vector<F, N>],
    n_places: usize,
    n_vectors: usize,
    #[comptime] activation: Activation,
    #[define(F)] _type: ElemType,
) {
    let place = ABSOLUTE_POS;
    if place < n_places {
        let gate_place = place + place / n_vectors * n_vectors;
        let gate = Vector::<f32, N>::cast_from(gate_up[gate_place]);
        let up = Vector::<f32, N>::cast_from(gate_up[gate_place + n_vectors]);
        let dy = Vector::<f32, N>::cast_from(dy[place]);
        let (value, slope) = value_and_slope::<N>(gate, activation);
        gate_up[gate_place] = Vector::cast_from(dy * up * slope);
        gate_up[gate_place + n_vectors] = Vector::cast_from(dy * value);
    }
}

/// f and f'.
#[cube]
fn value_and_slope<N: Size>(
    gate: Vector<f32, N>,
    #[comptime] activation: Activation,
) -> (Vector<f32, N>, Vector<f32, N>) {
    let one = Vector::<f32, N>::new(1.0);
    match activation {
        Activation::Silu => {
            let sigmoid = one / (one + (-gate).exp());
            let value = gate * sigmoid;
            (value, sigmoid + value * (one - sigmoid))
        }
        Activation::GeluTanh => {
            let half = Vector::<f32, N>::new(0.5);
            let scale = Vector::<f32, N>::new(GELU_SCALE);
            let cubic = Vector::<f32, N>::new(GELU_CUBIC) * gate * gate;
            let t = (scale * gate * (one + cubic)).tanh();
            let rest = half * (one + t);
            let bent = half * gate * (one - t * t) * scale * (one + Vector::new(3.0) * cubic);
            (gate * rest, rest + bent)
        }
    }
}
