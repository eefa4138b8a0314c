//! A [`Linear`](super::Linear) on a GPU: the update is part of the product with the weight.
//!
//! With B the factors of all parts as one block-diagonal matrix, and one scale s for all of them:
//!
//! ```text
//! u = s drop(x) Aᵀ      y = x Wᵀ + u Bᵀ                 du = s dy B      dx = dy W + du A
//! dA += duᵀ drop(x)     dB_i += dy_iᵀ u_i
//! ```
//!
//! So an update costs two narrow products in each direction, and no pass over y or dx of its own. What is kept as u has
//! the scale in it here.

use std::sync::OnceLock;

use burn::tensor::Tensor;

use super::{BackwardInput, InputGradient, Linear, Lora, Saved, dropped};
use crate::kernels::cube::lora::Factors;
use crate::kernels::cube::matmul::{product, scaled_product, sum_of_products};
use crate::kernels::cube::tensor::columns;
use crate::kernels::{Gpu, Kernels, cube, wide};
use crate::ops::dropout::Mask;
use crate::ops::param::Gradients;

/// The factors in the type of activations, made when they are used first after a change, or for many layers at once
/// ([`make_factors`]).
#[derive(Clone, Debug, Default)]
pub struct HalfFactors(OnceLock<Factors>);

/// Makes the factors of all layers that have none and will want them, in a few launches.
pub fn make_factors<'a>(gpu: Gpu, linears: impl Iterator<Item = &'a Linear>) {
    let wants = |linear: &'a Linear| {
        let lora = linear.lora.as_ref().filter(|lora| lora.half.0.get().is_none())?;
        (linear.dora().is_none() && lora.scale().is_some()).then(|| (lora, linear.weight.dims()[0]))
    };
    let layers: Vec<_> = linears.filter_map(wants).collect();
    for ((lora, _), factors) in layers.iter().zip(cube::lora::factors(gpu, &layers)) {
        lora.half.0.get_or_init(|| factors);
    }
}

impl HalfFactors {
    /// The factors are about to change.
    pub fn forget(&mut self) {
        self.0.take();
    }

    fn of(&self, lora: &Lora, gpu: Gpu, n_outputs: usize) -> &Factors {
        self.0.get_or_init(|| cube::lora::factors(gpu, &[(lora, n_outputs)]).remove(0))
    }
}

impl Lora {
    /// The scale of all parts; `None`: they differ.
    fn scale(&self) -> Option<f32> {
        let first = self.parts.first()?.scale;
        self.parts.iter().all(|part| part.scale == first).then_some(first)
    }
}

impl Linear {
    pub(super) fn forward_gpu(&self, gpu: Gpu, x: &Tensor<2>, dropout: Option<&Mask>) -> (Tensor<2>, Saved) {
        let kernels = Kernels::Cube(gpu);
        let with_update = self.lora.as_ref().map(|lora| (lora, lora.scale()));
        let weight = kernels.narrow(self.weight.dense(kernels)).transpose();
        let (y, u) = match with_update {
            Some((_, None)) => return self.forward_plain(kernels, x, dropout),
            None => (product(gpu, (x, &weight), gpu.dtype()), None),
            Some((lora, Some(scale))) => {
                let Factors { a, b } = lora.half.of(lora, gpu, self.weight.dims()[0]);
                let d = dropped(kernels, x, dropout);
                let u = scaled_product(gpu, (&d, &a.clone().transpose()), scale, gpu.dtype());
                let y = sum_of_products(gpu, (x, &weight), (&u, &b.clone().transpose()));
                (y, Some(u))
            }
        };
        let y = match &self.bias {
            Some(bias) => y + kernels.narrow(bias.value.clone()),
            None => y,
        };
        (y, Saved { u, dora: None })
    }

    pub(super) fn backward_gpu(
        &self,
        gpu: Gpu,
        input: &BackwardInput<'_>,
        want: InputGradient,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let kernels = Kernels::Cube(gpu);
        let with_update = self.lora.as_ref().map(|lora| (lora, lora.scale()));
        if let Some((_, None)) = with_update {
            return self.backward_plain(kernels, input, want, gradients);
        }
        let BackwardInput { x, saved, dropout, dy } = *input;
        if let Some(slot) = self.weight.slot() {
            gradients.add_product(gpu, slot, (&dy.clone().transpose(), x));
        }
        if let Some(slot) = self.bias.as_ref().and_then(|bias| bias.slot) {
            gradients.add(slot, wide(dy).sum_dim(0));
        }
        let wanted = want == InputGradient::Wanted;
        let weight = wanted.then(|| kernels.narrow(self.weight.dense(kernels)));
        let (Some((lora, Some(scale))), Some(u)) = (with_update, &saved.u) else {
            return weight.map(|weight| product(gpu, (dy, &weight), gpu.dtype()));
        };
        let Factors { a, b } = lora.half.of(lora, gpu, self.weight.dims()[0]);
        for part in &lora.parts {
            if let Some(slot) = part.b.slot {
                let (dy, u) = (columns(dy, part.outputs.clone()), columns(u, part.ranks.clone()));
                gradients.add_product(gpu, slot, (&dy.transpose(), &u));
            }
        }
        if lora.a.slot.is_none() && !wanted {
            return None;
        }
        let du = scaled_product(gpu, (dy, b), scale, gpu.dtype());
        if let Some(slot) = lora.a.slot {
            gradients.add_product(gpu, slot, (&du.clone().transpose(), &dropped(kernels, x, dropout)));
        }
        weight.map(|weight| match dropout {
            None => sum_of_products(gpu, (dy, &weight), (&du, a)),
            Some(mask) => {
                let mut dx = product(gpu, (dy, &weight), gpu.dtype());
                mask.backward(kernels, &product(gpu, (&du, a), gpu.dtype()), &mut dx);
                dx
            }
        })
    }
}
