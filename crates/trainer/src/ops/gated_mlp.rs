//! The gate of the Llama MLP: SwiGLU (Shazeer 2020).
//!
//! ```text
//! σ = 1 / (1 + e^−g)      y = g · σ · u
//! dg = dy · u · (σ + g σ (1 − σ))      du = dy · g · σ
//! ```

use burn::tensor::{Tensor, activation};

use crate::kernels::{Kernels, cpu};

/// `silu(gate) · up`.
///
/// # Shapes
/// - `gate_up`: `[tokens, 2 · intermediate]`, gate before up
/// - output: `[tokens, intermediate]`
pub fn forward(kernels: Kernels, gate_up: &Tensor<2>) -> Tensor<2> {
    let [n_tokens, width] = gate_up.dims();
    let width = width / 2;
    match kernels {
        Kernels::Plain => {
            let (gate, up) = (gate_up.clone().narrow(1, 0, width), gate_up.clone().narrow(1, width, width));
            activation::silu(gate) * up
        }
        Kernels::Cpu => cpu::tensor::tensor(
            cpu::gated_mlp::forward(&cpu::tensor::values(gate_up), width),
            [n_tokens, width],
        ),
    }
}

/// Turns `gate_up` into its gradient.
pub fn backward(kernels: Kernels, mut gate_up: Tensor<2>, dy: Tensor<2>) -> Tensor<2> {
    let width = dy.dims()[1];
    match kernels {
        Kernels::Plain => {
            let (gate, up) = (gate_up.clone().narrow(1, 0, width), gate_up.narrow(1, width, width));
            let sigmoid = activation::sigmoid(gate.clone());
            let silu = gate * sigmoid.clone();
            let slope = sigmoid.clone() + silu.clone() - silu.clone() * sigmoid; // d silu / d gate
            Tensor::cat(vec![dy.clone() * up * slope, dy * silu], 1)
        }
        Kernels::Cpu => {
            let dy = cpu::tensor::values(&dy);
            cpu::tensor::modify(&mut gate_up, |gate_up| cpu::gated_mlp::backward(gate_up, &dy, width));
            gate_up
        }
    }
}
