//! Linear layers that read the same input, as one product, with a low-rank update (LoRA, Hu et al. 2021) inside.
//!
//! The weights of q, k and v (or of gate and up) stand one under the other in one matrix W, and so do their A
//! factors. With x `[tokens, in]` and, for each part i of the outputs, its rows of A and its own B and scale s:
//!
//! ```text
//! y = x Wᵀ + b          u = drop(x) Aᵀ            y_i += s_i · u_i B_iᵀ
//!
//! du_i = s_i · dy_i B_i     dB_i += s_i · dy_iᵀ u_i     dA += duᵀ drop(x)
//! dx = dy W + drop(du A)    dW += dyᵀ x                 db += Σ_tokens dy
//! ```
//!
//! A frozen W gets no gradient; it may be held in 4 bits (see [`Weight`]). Only x and u are kept for the backward pass.
//! [`dora`] has what DoRA changes.

pub mod dora;
mod gpu;
mod weight;

pub use gpu::{HalfFactors, make_factors};
pub(crate) use weight::tile_rows;
pub use weight::{Frozen, Nf4Weight, Weight};

use std::ops::Range;

use burn::tensor::{DType, Tensor};

use dora::Dora;

use super::dropout::Mask;
use super::param::{Gradients, Param};
use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product, product};
use crate::kernels::cpu::{self, reduce, tensor};
use crate::kernels::{Kernels, matmul, wide};

/// Linear layers that read the same input.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[out, in]`, as in the files.
    pub weight: Weight,
    /// `[1, out]`.
    pub bias: Option<Param>,
    /// The low-rank update.
    pub lora: Option<Lora>,
}

/// The low-rank updates of the parts of a [`Linear`].
#[derive(Clone, Debug)]
pub struct Lora {
    /// The A factors of all parts, `[Σ r, in]`.
    pub a: Param,
    /// The parts that have one.
    pub parts: Vec<LoraPart>,
    /// Probability of dropping an input of A while training.
    pub dropout_prob: f64,
    /// What products on a GPU read.
    pub half: HalfFactors,
}

/// The low-rank update of one part.
#[derive(Clone, Debug)]
pub struct LoraPart {
    /// Its outputs, as columns of y.
    pub outputs: Range<usize>,
    /// Its rows of A.
    pub ranks: Range<usize>,
    /// `[outputs, r]`.
    pub b: Param,
    /// `lora_alpha / r`, or `lora_alpha / √r`.
    pub scale: f32,
    /// What DoRA adds; in a layer all parts have it or none.
    pub dora: Option<Dora>,
}

/// What the backward pass needs beside x.
#[derive(Debug)]
pub struct Saved {
    /// `[tokens, Σ r]`.
    u: Option<Tensor<2>>,
    dora: Option<dora::Saved>,
}

/// Whether the gradient of the input is wanted; the first block's is not, unless embeddings are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputGradient {
    /// It is.
    Wanted,
    /// It is not.
    Unused,
}

impl Linear {
    /// # Shapes
    /// - `x`: `[tokens, in]`
    /// - output: `[tokens, out]`
    pub fn forward(&self, kernels: Kernels, x: &Tensor<2>, dropout: Option<&Mask>) -> (Tensor<2>, Saved) {
        if let Some(lora) = self.dora() {
            return dora::forward(dora::Layer { linear: self, lora }, kernels, x, dropout);
        }
        match kernels {
            Kernels::Plain => self.forward_plain(kernels, x, dropout),
            Kernels::Cube(gpu) => self.forward_gpu(gpu, x, dropout),
            Kernels::Cpu => self.forward_cpu(x, dropout),
        }
    }

    /// Adds the gradients of what is trained to `gradients` and returns that of x.
    pub fn backward(
        &self,
        kernels: Kernels,
        input: BackwardInput<'_>,
        want: InputGradient,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        if let Some(lora) = self.dora() {
            return dora::backward(dora::Layer { linear: self, lora }, kernels, &input, want, gradients);
        }
        match kernels {
            Kernels::Plain => self.backward_plain(kernels, &input, want, gradients),
            Kernels::Cube(gpu) => self.backward_gpu(gpu, &input, want, gradients),
            Kernels::Cpu => self.backward_cpu(&input, want, gradients),
        }
    }

    /// Shows every weight.
    pub fn for_each_param(&self, show: &mut dyn FnMut(&Param)) {
        self.weight.param().into_iter().for_each(&mut *show);
        self.bias.iter().for_each(&mut *show);
        if let Some(lora) = &self.lora {
            lora.for_each_param(show);
        }
    }

    /// As [`for_each_param`](Self::for_each_param), in the same order, to change them.
    pub fn for_each_param_mut(&mut self, change: &mut dyn FnMut(&mut Param)) {
        self.weight.param_mut().into_iter().for_each(&mut *change);
        self.bias.iter_mut().for_each(&mut *change);
        if let Some(lora) = &mut self.lora {
            lora.for_each_param_mut(change);
        }
    }

    fn dora(&self) -> Option<&Lora> {
        self.lora.as_ref().filter(|lora| lora.parts.iter().any(|part| part.dora.is_some()))
    }

    fn forward_plain(&self, kernels: Kernels, x: &Tensor<2>, dropout: Option<&Mask>) -> (Tensor<2>, Saved) {
        let dtype = kernels.dtype();
        let mut y = matmul(kernels, (x, &self.weight.dense(kernels).transpose()), dtype);
        if let Some(bias) = &self.bias {
            y = y + kernels.narrow(bias.value.clone());
        }
        let Some(lora) = &self.lora else { return (y, Saved { u: None, dora: None }) };
        let a = lora.a.value.clone();
        let u = matmul(kernels, (&dropped(kernels, x, dropout), &a.transpose()), dtype);
        for part in &lora.parts {
            let area = [0..x.dims()[0], part.outputs.clone()];
            let u = u.clone().narrow(1, part.ranks.start, part.ranks.len());
            let b = part.b.value.clone().mul_scalar(part.scale);
            let update = matmul(kernels, (&u, &b.transpose()), dtype);
            let sum = y.clone().slice(area.clone()) + update;
            y = y.slice_assign(area, sum);
        }
        (y, Saved { u: Some(u), dora: None })
    }

    fn backward_plain(
        &self,
        kernels: Kernels,
        input: &BackwardInput<'_>,
        want: InputGradient,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let BackwardInput { x, saved, dropout, dy } = *input;
        let dtype = kernels.dtype();
        if let Some(slot) = self.weight.slot() {
            gradients.add(slot, matmul(kernels, (&dy.clone().transpose(), x), DType::F32));
        }
        if let Some(slot) = self.bias.as_ref().and_then(|bias| bias.slot) {
            gradients.add(slot, wide(dy).sum_dim(0));
        }
        let mut dx = (want == InputGradient::Wanted)
            .then(|| matmul(kernels, (dy, &self.weight.dense(kernels)), dtype));
        if let (Some(lora), Some(u)) = (&self.lora, &saved.u) {
            let mut du = kernels.narrow(Tensor::zeros(u.dims(), &u.device()));
            for part in &lora.parts {
                let dy = dy.clone().narrow(1, part.outputs.start, part.outputs.len());
                if let Some(slot) = part.b.slot {
                    let u = u.clone().narrow(1, part.ranks.start, part.ranks.len());
                    let db = matmul(kernels, (&dy.clone().transpose(), &u), DType::F32);
                    gradients.add(slot, db.mul_scalar(part.scale));
                }
                let area = [0..u.dims()[0], part.ranks.clone()];
                let b = part.b.value.clone().mul_scalar(part.scale);
                du = du.slice_assign(area, matmul(kernels, (&dy, &b), dtype));
            }
            if let Some(slot) = lora.a.slot {
                let d = dropped(kernels, x, dropout);
                gradients.add(slot, matmul(kernels, (&du.clone().transpose(), &d), DType::F32));
            }
            if let Some(dx) = &mut dx {
                let back = matmul(kernels, (&du, &lora.a.value), dtype);
                match dropout {
                    Some(mask) => mask.backward(kernels, &back, dx),
                    None => *dx = dx.clone() + back,
                }
            }
        }
        dx
    }

    fn forward_cpu(&self, x: &Tensor<2>, dropout: Option<&Mask>) -> (Tensor<2>, Saved) {
        let ([n, n_in], [n_out, _]) = (x.dims(), self.weight.dims());
        let values = tensor::values(x);
        let x_matrix = Matrix::new(&values, n, n_in);
        let mut y = match &self.bias {
            Some(bias) => {
                let mut y = tensor::values(&bias.value).repeat(n);
                self.weight.multiply(Product::ADD, x_matrix, MatrixMut::new(&mut y, n, n_out));
                y
            }
            None => self.weight.times(x_matrix),
        };
        let Some(lora) = &self.lora else {
            return (tensor::tensor(y, [n, n_out]), Saved { u: None, dora: None });
        };
        let dropped = dropped(Kernels::Cpu, x, dropout);
        let (dropped, a) = (tensor::values(&dropped), tensor::values(&lora.a.value));
        let n_ranks = lora.a.value.dims()[0];
        let (dropped, a) = (Matrix::new(&dropped, n, n_in), Matrix::new(&a, n_ranks, n_in));
        let u = product(dropped, a.t(), [n, n_ranks]);
        let mut out = MatrixMut::new(&mut y, n, n_out);
        for part in &lora.parts {
            let b = tensor::values(&part.b.value);
            let b = Matrix::new(&b, part.outputs.len(), part.ranks.len());
            let u = Matrix::new(&u, n, n_ranks).cols(part.ranks.clone());
            out.cols(part.outputs.clone()).product(Product::ADD.scaled(part.scale), u, b.t());
        }
        (tensor::tensor(y, [n, n_out]), Saved { u: Some(tensor::tensor(u, [n, n_ranks])), dora: None })
    }

    fn backward_cpu(
        &self,
        input: &BackwardInput<'_>,
        want: InputGradient,
        gradients: &mut Gradients,
    ) -> Option<Tensor<2>> {
        let BackwardInput { x, saved, dropout, dy } = *input;
        let ([n, n_in], [n_out, _]) = (x.dims(), self.weight.dims());
        let dy_values = tensor::values(dy);
        let dy = Matrix::new(&dy_values, n, n_out);
        if let Some(slot) = self.weight.slot() {
            let x = tensor::values(x);
            gradients.modify(slot, |dw| {
                let x = Matrix::new(&x, n, n_in);
                MatrixMut::new(dw, n_out, n_in).product(Product::ADD, dy.t(), x);
            });
        }
        if let Some(slot) = self.bias.as_ref().and_then(|bias| bias.slot) {
            gradients.modify(slot, |db| reduce::sum_of_rows(&dy_values, db));
        }
        let mut dx = (want == InputGradient::Wanted).then(|| self.weight.times_transposed(dy));
        if let (Some(lora), Some(u)) = (&self.lora, &saved.u) {
            let u = tensor::values(u);
            let n_ranks = lora.a.value.dims()[0];
            let du = lora.backward_parts(dy, Matrix::new(&u, n, n_ranks), gradients);
            let du = Matrix::new(&du, n, n_ranks);
            if let Some(slot) = lora.a.slot {
                let dropped = dropped(Kernels::Cpu, x, dropout);
                let dropped = tensor::values(&dropped);
                gradients.modify(slot, |da| {
                    let dropped = Matrix::new(&dropped, n, n_in);
                    MatrixMut::new(da, n_ranks, n_in).product(Product::ADD, du.t(), dropped);
                });
            }
            if let Some(dx) = &mut dx {
                let a = tensor::values(&lora.a.value);
                let a = Matrix::new(&a, n_ranks, n_in);
                match dropout {
                    Some(mask) => {
                        let back = product(du, a, [n, n_in]);
                        cpu::dropout::add(dx, &back, mask);
                    }
                    None => MatrixMut::new(dx, n, n_in).product(Product::ADD, du, a),
                }
            }
        }
        dx.map(|dx| tensor::tensor(dx, [n, n_in]))
    }
}

impl Lora {
    /// Shows every weight: A, then part by part B and magnitude.
    pub fn for_each_param(&self, show: &mut dyn FnMut(&Param)) {
        show(&self.a);
        for part in &self.parts {
            show(&part.b);
            part.dora.iter().for_each(|dora| show(&dora.magnitude));
        }
    }

    /// As [`for_each_param`](Self::for_each_param), in the same order, to change them.
    pub fn for_each_param_mut(&mut self, change: &mut dyn FnMut(&mut Param)) {
        self.half.forget();
        change(&mut self.a);
        for part in &mut self.parts {
            change(&mut part.b);
            part.dora.iter_mut().for_each(|dora| change(&mut dora.magnitude));
        }
    }

    /// Adds the gradients of the B factors and returns du, `[tokens, Σ r]`.
    fn backward_parts(&self, dy: Matrix<'_>, u: Matrix<'_>, gradients: &mut Gradients) -> Vec<f32> {
        let (n, n_ranks) = (u.n_rows(), u.n_cols());
        let mut du = vec![0.0; n * n_ranks];
        for part in &self.parts {
            let (dy, u) = (dy.cols(part.outputs.clone()), u.cols(part.ranks.clone()));
            let (n_outputs, r) = (part.outputs.len(), part.ranks.len());
            if let Some(slot) = part.b.slot {
                gradients.modify(slot, |db| {
                    MatrixMut::new(db, n_outputs, r).product(Product::ADD.scaled(part.scale), dy.t(), u);
                });
            }
            let b = tensor::values(&part.b.value);
            let mut du = MatrixMut::new(&mut du, n, n_ranks);
            let b = Matrix::new(&b, n_outputs, r);
            du.cols(part.ranks.clone()).product(Product::SET.scaled(part.scale), dy, b);
        }
        du
    }
}

/// What [`Linear::backward`] works on.
#[derive(Clone, Copy)]
pub struct BackwardInput<'a> {
    /// The input of the forward pass.
    pub x: &'a Tensor<2>,
    /// What the forward pass kept.
    pub saved: &'a Saved,
    /// The mask of the forward pass.
    pub dropout: Option<&'a Mask>,
    /// The gradient of the output.
    pub dy: &'a Tensor<2>,
}

fn dropped(kernels: Kernels, x: &Tensor<2>, dropout: Option<&Mask>) -> Tensor<2> {
    dropout.map_or_else(|| x.clone(), |mask| mask.apply(kernels, x))
}
