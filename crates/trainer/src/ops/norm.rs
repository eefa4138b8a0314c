//! Root-mean-square normalization (Zhang and Sennrich 2019), as `LlamaRMSNorm` computes it.
//!
//! ```text
//! r = 1 / sqrt(mean(x²) + eps)          y = x · r · w
//! dw = Σ_tokens dy · x · r              dx = dy · w · r − x · r³ · mean(dy · w · x)
//! ```
//!
//! In `GemmaRMSNorm` w is 1 and the weight of the file, which has the same gradient.

use std::ops::Deref;

use burn::tensor::Tensor;

use super::param::{Gradients, Param};
use crate::kernels::{Gpu, Kernels, cpu, cube};

/// A normalization with its weight `[1, hidden]`.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// The weight.
    pub weight: Param,
    /// Added to the mean square.
    pub eps: f64,
    /// What the weight means.
    pub meaning: NormWeight,
}

/// What the weight of a norm means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormWeight {
    /// It is the factor.
    Factor,
    /// The factor is 1 and it.
    OnePlus,
}

impl NormWeight {
    /// The weight whose factor is 1.
    pub fn neutral(self) -> f32 {
        match self {
            Self::Factor => 1.0,
            Self::OnePlus => 0.0,
        }
    }

    /// The factors.
    pub(super) fn factors(self, weight: &Tensor<2>) -> Tensor<2> {
        match self {
            Self::Factor => weight.clone(),
            Self::OnePlus => weight.clone().add_scalar(1.0),
        }
    }

    /// The factors, for a CPU kernel.
    pub(super) fn factor_values(self, weight: &Tensor<2>) -> impl Deref<Target = [f32]> {
        cpu::tensor::values(&self.factors(weight))
    }
}

impl RmsNorm {
    /// Returns y and `1 / rms`.
    ///
    /// # Shapes
    /// - `x`: `[tokens, hidden]`, y the same
    /// - `1 / rms`: `[tokens, 1]`
    pub fn forward(&self, kernels: Kernels, x: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let weight = &self.weight.value;
        match kernels {
            Kernels::Plain => {
                let weight = self.meaning.factors(weight);
                let r = x.clone().square().mean_dim(1).add_scalar(self.eps).sqrt().recip(); // [tokens, 1]
                (x.clone() * r.clone() * weight, r)
            }
            Kernels::Cpu => {
                let (y, r) = cpu::norm::forward(
                    &cpu::tensor::values(x),
                    &self.meaning.factor_values(weight),
                    self.eps as f32,
                );
                let n_tokens = r.len();
                (cpu::tensor::tensor(y, x.dims()), cpu::tensor::tensor(r, [n_tokens, 1]))
            }
            Kernels::Cube(gpu) => cube::norm::forward(gpu, self, x),
        }
    }

    /// The sum of `x` and `added` with what [`forward`](Self::forward) gives for it.
    pub fn forward_added(
        &self,
        kernels: Kernels,
        x: &Tensor<2>,
        added: Tensor<2>,
    ) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        match kernels {
            Kernels::Plain | Kernels::Cpu => {
                let sum = x.clone() + added;
                let (y, inverse_rms) = self.forward(kernels, &sum);
                (sum, y, inverse_rms)
            }
            Kernels::Cube(gpu) => cube::norm::forward_added(gpu, self, x, added),
        }
    }

    /// The gradient of x; adds that of the weight to `gradients` if it is trained.
    pub fn backward_alone(
        &self,
        kernels: Kernels,
        input: BackwardInput<'_>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        match kernels {
            Kernels::Plain | Kernels::Cpu => {
                let mut dx = Tensor::zeros(input.x.dims(), &input.x.device());
                self.backward(kernels, input, &mut dx, gradients);
                dx
            }
            Kernels::Cube(gpu) => {
                self.add_weight_gradient(gpu, input, gradients);
                cube::norm::backward_alone(gpu, self, input)
            }
        }
    }

    fn add_weight_gradient(&self, gpu: Gpu, input: BackwardInput<'_>, gradients: &mut Gradients) {
        let BackwardInput { x, inverse_rms, dy } = input;
        if let Some(slot) = self.weight.slot {
            let groups = Groups { start: 0, width: x.dims()[1], n: 1, first: 0 };
            gradients.add(slot, cube::norm_weight::gradient(gpu, (x, dy, inverse_rms), groups));
        }
    }

    /// Adds the gradient of x to `dx`, and that of the weight to `gradients` if it is trained.
    pub fn backward(
        &self,
        kernels: Kernels,
        input: BackwardInput<'_>,
        dx: &mut Tensor<2>,
        gradients: &mut Gradients,
    ) {
        let BackwardInput { x, inverse_rms, dy } = input;
        let weight = &self.weight.value;
        match kernels {
            Kernels::Plain => {
                let r = inverse_rms.clone();
                if let Some(slot) = self.weight.slot {
                    gradients.add(slot, (dy.clone() * x.clone() * r.clone()).sum_dim(0));
                }
                let weighted = dy.clone() * self.meaning.factors(weight);
                let c = (weighted.clone() * x.clone()).mean_dim(1) * r.clone().powi_scalar(3);
                *dx = dx.clone() + weighted * r - x.clone() * c;
            }
            Kernels::Cpu => {
                let (dy, x) = (cpu::tensor::values(dy), cpu::tensor::values(x));
                let r = cpu::tensor::values(inverse_rms);
                if let Some(slot) = self.weight.slot {
                    gradients.modify(slot, |dweight| cpu::norm::backward_weight(&dy, &x, &r, dweight));
                }
                let weight = self.meaning.factor_values(weight);
                cpu::tensor::modify(dx, |dx| cpu::norm::backward(&dy, &x, &weight, &r, dx));
            }
            Kernels::Cube(gpu) => {
                self.add_weight_gradient(gpu, input, gradients);
                cube::norm::backward(gpu, self, input, dx);
            }
        }
    }
}

/// What [`RmsNorm::backward`] works on.
#[derive(Clone, Copy)]
pub struct BackwardInput<'a> {
    /// The input.
    pub x: &'a Tensor<2>,
    /// `1 / rms` of each row.
    pub inverse_rms: &'a Tensor<2>,
    /// The gradient of the output.
    pub dy: &'a Tensor<2>,
}

/// The groups of columns that a weight normalizes, one after the other in each row.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// Columns before the first.
    pub start: usize,
    /// Columns of a group, as many values as the weight has.
    pub width: usize,
    /// How many there are in a row.
    pub n: usize,
    /// Columns of `1 / rms` before that of the first.
    pub first: usize,
}
