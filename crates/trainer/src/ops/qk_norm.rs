//! The norms of queries and keys inside merged q, k, v, before the rotary positions: the formulas of
//! [`norm`](super::norm) over each head (Qwen3, Gemma 3) or over all heads together (OLMo 2). Values go through.
//!
//! ```text
//! [ q heads | k heads | v heads ]   ->   [ norm(q heads) | norm(k heads) | v heads ]
//! ```

use std::ops::Deref;

use burn::tensor::Tensor;

use super::attention::AttentionShape;
use super::norm::{Groups, NormWeight};
use super::param::{Gradients, Param};
use super::rope::{self, Rotation, Turn};
use crate::kernels::{Kernels, cpu, cube};

/// The norms of queries and keys. As many values as a weight has are normalized together.
#[derive(Clone, Debug)]
pub struct QkNorm {
    /// `[1, head_dim]` or `[1, n_heads · head_dim]`.
    pub q: Param,
    /// `[1, head_dim]` or `[1, n_kv_heads · head_dim]`.
    pub k: Param,
    /// Added to the mean square.
    pub eps: f64,
    /// What the weights mean.
    pub meaning: NormWeight,
}

/// What [`QkNorm::backward`] works on.
#[derive(Clone, Copy)]
pub struct BackwardInput<'a> {
    /// The input.
    pub qkv: &'a Tensor<2>,
    /// `1 / rms` of each group.
    pub inverse_rms: &'a Tensor<2>,
    /// Heads and widths.
    pub shape: &'a AttentionShape,
}

/// The columns that one weight normalizes, in groups as wide as it is.
struct Part<'a> {
    weight: &'a Param,
    start: usize,
    width: usize,
}

impl QkNorm {
    /// Returns merged q, k, v with q and k normalized, and `1 / rms` of each group.
    ///
    /// # Shapes
    /// - `qkv`: `[tokens, (n_heads + 2 · n_kv_heads) · head_dim]`, output the same
    /// - `1 / rms`: `[tokens, groups]`, those of q before those of k
    pub fn forward(
        &self,
        kernels: Kernels,
        qkv: &Tensor<2>,
        shape: &AttentionShape,
    ) -> (Tensor<2>, Tensor<2>) {
        let [n_tokens, width] = qkv.dims();
        let parts = self.parts(shape);
        match kernels {
            Kernels::Plain => {
                let (mut normed, mut inverse_rms) = (Vec::new(), Vec::new());
                for part in &parts {
                    let x = part.groups(qkv);
                    let r = x.clone().square().mean_dim(2).add_scalar(self.eps).sqrt().recip();
                    normed.push((x * r.clone() * self.factors(part)).reshape([n_tokens, part.width]));
                    inverse_rms.push(r.reshape([n_tokens, part.n_groups()]));
                }
                normed.push(values_of(qkv, &parts));
                (Tensor::cat(normed, 1), Tensor::cat(inverse_rms, 1))
            }
            Kernels::Cpu => {
                let weights = self.weights();
                let parts = cpu_parts(&parts, &weights);
                let (y, r) = cpu::qk_norm::forward(&cpu::tensor::values(qkv), width, &parts, self.eps as f32);
                let n_groups = parts.iter().map(|part| part.n_groups).sum();
                (cpu::tensor::tensor(y, [n_tokens, width]), cpu::tensor::tensor(r, [n_tokens, n_groups]))
            }
            Kernels::Cube(gpu) => cube::qk_norm::forward(gpu, self, (qkv, shape), None),
        }
    }

    /// As [`forward`](Self::forward), with q and k turned behind it.
    pub fn forward_turned(
        &self,
        kernels: Kernels,
        (qkv, shape): (&Tensor<2>, &AttentionShape),
        rotation: Option<Rotation<'_>>,
    ) -> (Tensor<2>, Tensor<2>) {
        match kernels {
            Kernels::Plain | Kernels::Cpu => {
                let (normed, inverse_rms) = self.forward(kernels, qkv, shape);
                (rope::turned(kernels, normed, rotation, (Turn::Forward, shape)), inverse_rms)
            }
            Kernels::Cube(gpu) => cube::qk_norm::forward(gpu, self, (qkv, shape), rotation),
        }
    }

    /// As [`backward`](Self::backward), for [`forward_turned`](Self::forward_turned).
    pub fn backward_turned(
        &self,
        kernels: Kernels,
        input: BackwardInput<'_>,
        (d, rotation): (Tensor<2>, Option<Rotation<'_>>),
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        match kernels {
            // The gradients of the weights need the gradient between the two.
            Kernels::Cube(gpu) if [&self.q, &self.k].iter().all(|weight| weight.slot.is_none()) => {
                cube::qk_norm::backward(gpu, self, input, (d, rotation))
            }
            Kernels::Plain | Kernels::Cpu | Kernels::Cube(_) => {
                let d = rope::turned(kernels, d, rotation, (Turn::Backward, input.shape));
                self.backward(kernels, input, d, gradients)
            }
        }
    }

    /// Turns `d`, the gradient of the output, into that of the input, and adds those of the weights to `gradients` if
    /// they are trained.
    pub fn backward(
        &self,
        kernels: Kernels,
        input: BackwardInput<'_>,
        mut d: Tensor<2>,
        gradients: &mut Gradients,
    ) -> Tensor<2> {
        let BackwardInput { qkv, inverse_rms, shape } = input;
        let [n_tokens, width] = qkv.dims();
        let parts = self.parts(shape);
        match kernels {
            Kernels::Plain => {
                let (mut dx, mut first_group) = (Vec::new(), 0);
                for part in &parts {
                    let (x, dy) = (part.groups(qkv), part.groups(&d));
                    let r = inverse_rms.clone().narrow(1, first_group, part.n_groups());
                    let r = r.reshape([n_tokens, part.n_groups(), 1]);
                    first_group += part.n_groups();
                    if let Some(slot) = part.weight.slot {
                        let products = dy.clone() * x.clone() * r.clone();
                        let sum = products.sum_dim(0).sum_dim(1);
                        gradients.add(slot, sum.reshape(part.weight.value.dims()));
                    }
                    let weighted = dy * self.factors(part);
                    let c = (weighted.clone() * x.clone()).mean_dim(2) * r.clone().powi_scalar(3);
                    dx.push((weighted * r - x * c).reshape([n_tokens, part.width]));
                }
                dx.push(values_of(&d, &parts));
                Tensor::cat(dx, 1)
            }
            Kernels::Cpu => {
                let weights = self.weights();
                let cpu_parts = cpu_parts(&parts, &weights);
                let (x, r) = (cpu::tensor::values(qkv), cpu::tensor::values(inverse_rms));
                let saved = cpu::qk_norm::Saved { x: &x, inverse_rms: &r, width };
                if parts.iter().any(|part| part.weight.slot.is_some()) {
                    let sums = cpu::qk_norm::weight_gradients(&cpu::tensor::values(&d), saved, &cpu_parts);
                    for (part, sum) in parts.iter().zip(sums) {
                        let Some(slot) = part.weight.slot else { continue };
                        gradients.modify(slot, |dweight| {
                            dweight.iter_mut().zip(sum).for_each(|(dweight, sum)| *dweight += sum);
                        });
                    }
                }
                cpu::tensor::modify(&mut d, |d| cpu::qk_norm::backward(d, saved, &cpu_parts));
                d
            }
            Kernels::Cube(gpu) => {
                let mut first = 0;
                for part in &parts {
                    let groups = part.weight_groups(first);
                    first += groups.n;
                    if let Some(slot) = part.weight.slot {
                        let sum = cube::norm_weight::gradient(gpu, (qkv, &d, inverse_rms), groups);
                        gradients.add(slot, sum);
                    }
                }
                cube::qk_norm::backward(gpu, self, input, (d, None))
            }
        }
    }

    fn parts(&self, shape: &AttentionShape) -> [Part<'_>; 2] {
        let (q_width, k_width) = (shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim);
        [
            Part { weight: &self.q, start: 0, width: q_width },
            Part { weight: &self.k, start: q_width, width: k_width },
        ]
    }

    /// `[1, 1, group]`.
    fn factors(&self, part: &Part<'_>) -> Tensor<3> {
        self.meaning.factors(&part.weight.value).unsqueeze_dim(0)
    }

    fn weights(&self) -> [impl Deref<Target = [f32]>; 2] {
        [&self.q, &self.k].map(|weight| self.meaning.factor_values(&weight.value))
    }
}

impl Part<'_> {
    fn n_groups(&self) -> usize {
        self.width / self.weight.value.dims()[1]
    }

    /// The groups, of which `first` others come before.
    fn weight_groups(&self, first: usize) -> Groups {
        let n = self.n_groups();
        Groups { start: self.start, width: self.width / n, n, first }
    }

    /// `[tokens, groups, group]`.
    fn groups(&self, qkv: &Tensor<2>) -> Tensor<3> {
        let (n_tokens, n_groups) = (qkv.dims()[0], self.n_groups());
        qkv.clone().narrow(1, self.start, self.width).reshape([n_tokens, n_groups, self.width / n_groups])
    }
}

/// The columns behind q and k.
fn values_of(qkv: &Tensor<2>, [_, k]: &[Part<'_>; 2]) -> Tensor<2> {
    let start = k.start + k.width;
    qkv.clone().narrow(1, start, qkv.dims()[1] - start)
}

fn cpu_parts<'a>(
    parts: &[Part<'_>; 2],
    weights: &'a [impl Deref<Target = [f32]>; 2],
) -> [cpu::qk_norm::Part<'a>; 2] {
    [0, 1].map(|i| cpu::qk_norm::Part { weight: &weights[i], n_groups: parts[i].n_groups() })
}
