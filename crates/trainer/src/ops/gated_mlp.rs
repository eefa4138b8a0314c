//! The gate of the MLP: SwiGLU and GeGLU (Shazeer 2020), the latter by tanh (Hendrycks and Gimpel 2016).
//!
//! ```text
//! y = f(g) · u          dg = dy · u · f'(g)          du = dy · f(g)
//!
//! SiLU   σ = 1 / (1 + e^−g)                f = g σ               f' = σ + g σ (1 − σ)
//! GELU   t = tanh(√(2/π) (g + c g³))       f = g (1 + t) / 2     f' = (1 + t) / 2 + g (1 − t²) √(2/π) (1 + 3 c g²) / 2
//! ```

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use burn::tensor::{Tensor, activation};

use crate::kernels::{Kernels, cpu, cube};

/// What the gate goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `g · sigmoid(g)`.
    Silu,
    /// GELU, approximated by tanh.
    GeluTanh,
}

/// `√(2/π)`.
pub const GELU_SCALE: f32 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// c, as in the paper.
pub const GELU_CUBIC: f32 = 0.044_715;

/// `f(gate) · up`.
///
/// # Shapes
/// - `gate_up`: `[tokens, 2 · intermediate]`, gate before up
/// - output: `[tokens, intermediate]`
pub fn forward(kernels: Kernels, activation: Activation, gate_up: &Tensor<2>) -> Tensor<2> {
    let [n_tokens, width] = gate_up.dims();
    let width = width / 2;
    match kernels {
        Kernels::Plain => {
            let (gate, up) = (gate_up.clone().narrow(1, 0, width), gate_up.clone().narrow(1, width, width));
            activation.value_and_slope(gate).0 * up
        }
        Kernels::Cpu => cpu::tensor::tensor(
            cpu::gated_mlp::forward(activation, &cpu::tensor::values(gate_up), width),
            [n_tokens, width],
        ),
        Kernels::Cube(gpu) => cube::gated_mlp::forward(gpu, activation, gate_up),
    }
}

/// Turns `gate_up` into its gradient.
pub fn backward(
    kernels: Kernels,
    activation: Activation,
    mut gate_up: Tensor<2>,
    dy: Tensor<2>,
) -> Tensor<2> {
    let width = dy.dims()[1];
    match kernels {
        Kernels::Plain => {
            let (gate, up) = (gate_up.clone().narrow(1, 0, width), gate_up.narrow(1, width, width));
            let (value, slope) = activation.value_and_slope(gate);
            Tensor::cat(vec![dy.clone() * up * slope, dy * value], 1)
        }
        Kernels::Cpu => {
            let dy = cpu::tensor::values(&dy);
            let change = |gate_up: &mut [f32]| cpu::gated_mlp::backward(activation, gate_up, &dy, width);
            cpu::tensor::modify(&mut gate_up, change);
            gate_up
        }
        Kernels::Cube(gpu) => cube::gated_mlp::backward(gpu, activation, gate_up, &dy),
    }
}

impl Activation {
    /// f and f'.
    fn value_and_slope(self, gate: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        match self {
            Self::Silu => {
                let sigmoid = activation::sigmoid(gate.clone());
                let silu = gate * sigmoid.clone();
                let slope = sigmoid.clone() + silu.clone() - silu.clone() * sigmoid;
                (silu, slope)
            }
            Self::GeluTanh => {
                let square = gate.clone().square();
                let inside = (square.clone().mul_scalar(GELU_CUBIC).add_scalar(1.0) * gate.clone())
                    .mul_scalar(GELU_SCALE);
                let t = inside.tanh();
                let half = t.clone().add_scalar(1.0).mul_scalar(0.5);
                let slope = square.mul_scalar(3.0 * GELU_CUBIC).add_scalar(1.0).mul_scalar(0.5 * GELU_SCALE);
                let bent = t.square().neg().add_scalar(1.0) * gate.clone() * slope;
                (gate * half.clone(), half + bent)
            }
        }
    }
}
