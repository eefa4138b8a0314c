//! AdamW (Loshchilov and Hutter 2017) with PyTorch's arithmetic: decay is decoupled and comes first.
//!
//! ```text
//! m = β₁ m + (1 − β₁) g        v = β₂ v + (1 − β₂) g²
//! p = p (1 − lr · decay) − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//! ```

use burn::tensor::Tensor;
use ftl_core::spec::resolved;

use crate::kernels::{Kernels, cpu};
use crate::ops::param::zeros;

/// Whether weight decay applies to a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Matrices and every tensor of an adapter.
    Applies,
    /// Norms and biases of the base.
    Exempt,
}

/// The moments of one weight.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Tensor<2>,
    /// Running mean of its square.
    pub second: Tensor<2>,
}

impl Moments {
    /// Those of a weight that was never updated.
    pub fn zeros(like: &Tensor<2>) -> Self {
        let zeros = || zeros(like.dims(), &like.device());
        Self { first: zeros(), second: zeros() }
    }
}

/// The numbers of one update, as the formula uses them.
#[derive(Clone, Copy, Debug)]
pub struct Coefficients {
    /// `1 − β₁`.
    pub new1: f32,
    /// β₂.
    pub beta2: f32,
    /// `1 − β₂`. Not to be computed from `beta2` in f32: for 0.999 that is too small by one part in 80,000.
    pub new2: f32,
    /// ε.
    pub epsilon: f32,
    /// `lr / (1 − β₁ᵗ)`.
    pub step_size: f32,
    /// `1 / √(1 − β₂ᵗ)`.
    pub root_correction: f32,
    /// `1 − lr · decay`.
    pub kept: f32,
    /// What the gradient is multiplied by first.
    pub clip: f32,
}

impl Coefficients {
    /// Those of update number `step`, counted from 1.
    pub fn new(adamw: &resolved::AdamW, decay: Decay, learning_rate: f64, step: u64, clip: f64) -> Self {
        let resolved::AdamW { beta1, beta2, epsilon, weight_decay } = *adamw;
        let weight_decay = match decay {
            Decay::Applies => weight_decay,
            Decay::Exempt => 0.0,
        };
        let step = step as f64;
        Self {
            new1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            new2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            step_size: (learning_rate / (1.0 - beta1.powf(step))) as f32,
            root_correction: (1.0 / (1.0 - beta2.powf(step)).sqrt()) as f32,
            kept: (1.0 - learning_rate * weight_decay) as f32,
            clip: clip as f32,
        }
    }
}

/// Updates `weight` and its moments with `gradient`.
pub fn update(
    kernels: Kernels,
    weight: &mut Tensor<2>,
    gradient: &Tensor<2>,
    moments: &mut Moments,
    coefficients: &Coefficients,
) {
    match kernels {
        Kernels::Plain | Kernels::Cube(_) => {
            let Coefficients { new1, beta2, new2, epsilon, step_size, root_correction, kept, clip } =
                *coefficients;
            let g = gradient.clone().mul_scalar(clip);
            let first = moments.first.clone();
            moments.first = first.clone() + (g.clone() - first).mul_scalar(new1);
            moments.second = moments.second.clone().mul_scalar(beta2) + g.square().mul_scalar(new2);
            let denominator = moments.second.clone().sqrt().mul_scalar(root_correction).add_scalar(epsilon);
            *weight = weight.clone().mul_scalar(kept)
                - moments.first.clone().div(denominator).mul_scalar(step_size);
        }
        Kernels::Cpu => {
            let gradient = cpu::tensor::values(gradient);
            let Moments { first, second } = moments;
            cpu::tensor::modify(weight, |p| {
                cpu::tensor::modify(first, |m| {
                    cpu::tensor::modify(second, |v| cpu::adamw::update(p, &gradient, m, v, coefficients));
                });
            });
        }
    }
}
