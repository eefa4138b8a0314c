//! Clipping by the global norm, as `torch.nn.utils.clip_grad_norm_` does it.

use burn::tensor::Tensor;

use crate::kernels::{Kernels, cpu};
use crate::ops::param::Gradients;

/// Keeps the factor finite for a norm of zero; PyTorch's number.
pub const NORM_EPSILON: f64 = 1e-6;

/// The L2 norm over all gradients.
pub fn global_norm(kernels: Kernels, gradients: &Gradients) -> f64 {
    gradients.iter().map(|gradient| sum_of_squares(kernels, gradient)).sum::<f64>().sqrt()
}

/// The sum of the squares of one gradient.
pub fn sum_of_squares(kernels: Kernels, gradient: &Tensor<2>) -> f64 {
    match kernels {
        Kernels::Cpu => cpu::reduce::sum_of_squares(&cpu::tensor::values(gradient)),
        Kernels::Plain | Kernels::Cube(_) => f64::from(gradient.clone().square().sum().into_scalar::<f32>()),
    }
}

/// What gradients of this norm are multiplied by, so that it stays at `max_norm` or below.
pub fn factor(norm: f64, max_norm: Option<f64>) -> f64 {
    max_norm.map_or(1.0, |max_norm| (max_norm / (norm + NORM_EPSILON)).min(1.0))
}
