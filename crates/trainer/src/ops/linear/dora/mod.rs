//! DoRA (Liu et al. 2024): each row of the weight is split into a direction, which the low-rank update turns, and a
//! magnitude m, which is learned by itself. PEFT 0.21, `lora/dora.py`, is the reference.
//!
//! With V = W + s B A, its rows' lengths n (held constant for the gradient, section 4.3 of the paper) and c = m / n:
//!
//! ```text
//! y = c ⊙ (x Vᵀ) + b                                        nothing dropped
//! y = x Wᵀ + (c − 1) ⊙ (d Wᵀ) + c ⊙ (s d Aᵀ Bᵀ) + b         d = drop(x): PEFT drops what enters the base, too
//!
//! e = c ⊙ dy      du = s e B      dB += s eᵀ u      dA += duᵀ d      dm += Σ_tokens dy ⊙ (d Vᵀ) / n
//! dx = e W + du A                                            nothing dropped
//! dx = dy W + drop((e − dy) W + du A)
//! ```
//!
//! V is never made. Its rows' lengths follow from small products, with |W_j|² taken once:
//!
//! ```text
//! n_j² = |W_j|² + 2 s B_j · (A W_jᵀ) + s² B_j (A Aᵀ) B_jᵀ
//! ```
//!
//! Of the base weight nothing else is needed than products with it and with some of its rows. Where nothing is
//! dropped, d Vᵀ / n is (y − b) / m, so no more than y is kept.

mod backward;

pub(super) use backward::backward;

use std::ops::Range;

use burn::tensor::Tensor;

use super::{Linear, Lora, Weight, dropped};
use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product, product};
use crate::kernels::cpu::{dora as rows, tensor};
use crate::kernels::{Kernels, cpu::tensor::Values, wide};
use crate::ops::dropout::Mask;
use crate::ops::param::Param;

/// What DoRA adds to the low-rank update of one part.
#[derive(Clone, Debug)]
pub struct Dora {
    /// m, `[1, outputs]`.
    pub magnitude: Param,
    /// `|W_j|²`, `[1, outputs]`; W does not change while it is adapted.
    pub base_squares: Tensor<2>,
    /// n with the factors as they are while they are not trained, `[1, outputs]`.
    pub norms: Tensor<2>,
}

/// What the backward pass needs beside x and u.
#[derive(Debug)]
pub(super) struct Saved {
    /// c, `[1, out]`; 1 where a part has no update.
    factors: Tensor<2>,
    /// n, `[1, out]`; 1 where a part has no update.
    norms: Tensor<2>,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    /// y, where nothing was dropped.
    Output(Tensor<2>),
    /// `d Vᵀ`.
    Turned(Tensor<2>),
}

/// A layer whose update has magnitudes.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) linear: &'a Linear,
    pub(super) lora: &'a Lora,
}

/// `|W_j|²` of the rows `outputs` of a weight, `[1, outputs]`.
pub fn base_squares(kernels: Kernels, weight: &Weight, outputs: Range<usize>) -> Tensor<2> {
    let n_outputs = outputs.len();
    match kernels {
        Kernels::Plain | Kernels::Cube(_) => {
            let rows = wide(&weight.dense(kernels)).narrow(0, outputs.start, n_outputs);
            rows.square().sum_dim(1).reshape([1, n_outputs])
        }
        Kernels::Cpu => {
            let mut squares = Vec::with_capacity(n_outputs);
            weight.for_each_tile(outputs, |_, tile| squares.extend(rows::row_squares(tile)));
            tensor::tensor(squares, [1, n_outputs])
        }
    }
}

/// n of the parts of `lora` as they are now, each `[1, outputs]`.
pub fn norms(kernels: Kernels, weight: &Weight, lora: &Lora) -> Vec<Tensor<2>> {
    let parts = (0..lora.parts.len()).filter(|part| lora.parts[*part].dora.is_some());
    parts.map(|part| part_norms(kernels, weight, lora, part)).collect()
}

fn part_norms(kernels: Kernels, weight: &Weight, lora: &Lora, part: usize) -> Tensor<2> {
    let part = &lora.parts[part];
    let dora = part.dora.as_ref().expect("the caller asks for a part that has it");
    let (n_outputs, r, scale) = (part.outputs.len(), part.ranks.len(), part.scale);
    match kernels {
        Kernels::Plain | Kernels::Cube(_) => {
            let a = lora.a.value.clone().narrow(0, part.ranks.start, r);
            let w = wide(&weight.dense(kernels)).narrow(0, part.outputs.start, n_outputs);
            let gram = a.clone().matmul(a.clone().transpose());
            let b = part.b.value.clone();
            let p = w.matmul(a.transpose()).mul_scalar(2.0 * scale)
                + b.clone().matmul(gram).mul_scalar(scale * scale); // [outputs, r]
            let sum = (b * p).sum_dim(1).reshape([1, n_outputs]);
            (dora.base_squares.clone() + sum).clamp_min(0.0).sqrt()
        }
        Kernels::Cpu => {
            let [n_ranks, n_in] = lora.a.value.dims();
            let (a, b) = (tensor::values(&lora.a.value), tensor::values(&part.b.value));
            let a = Matrix::new(&a, n_ranks, n_in).rows(part.ranks.clone());
            let gram = product(a, a.t(), [r, r]);
            let mut p = rows_times(weight, part.outputs.clone(), (a.t(), r), 2.0 * scale);
            let (b_matrix, gram) = (Matrix::new(&b, n_outputs, r), Matrix::new(&gram, r, r));
            MatrixMut::new(&mut p, n_outputs, r).product(Product::ADD.scaled(scale * scale), b_matrix, gram);
            let squares = tensor::values(&dora.base_squares);
            tensor::tensor(rows::norms(&squares, &b, &p), [1, n_outputs])
        }
    }
}

/// c and n for all outputs of a layer.
fn factors(kernels: Kernels, layer: Layer<'_>) -> (Tensor<2>, Tensor<2>) {
    let Layer { linear, lora } = layer;
    let [n_out, _] = linear.weight.dims();
    let device = linear.weight.device();
    let mut norms = Tensor::ones([1, n_out], &device);
    let mut magnitudes = norms.clone();
    for (index, part) in lora.parts.iter().enumerate() {
        let Some(dora) = &part.dora else { continue };
        let is_trained = lora.a.slot.is_some() || part.b.slot.is_some();
        let now =
            if is_trained { part_norms(kernels, &linear.weight, lora, index) } else { dora.norms.clone() };
        let area = [0..1, part.outputs.clone()];
        norms = norms.slice_assign(area.clone(), now);
        magnitudes = magnitudes.slice_assign(area, dora.magnitude.value.clone());
    }
    (magnitudes / norms.clone(), norms)
}

/// As [`Linear::forward`].
pub(super) fn forward(
    layer: Layer<'_>,
    kernels: Kernels,
    x: &Tensor<2>,
    dropout: Option<&Mask>,
) -> (Tensor<2>, super::Saved) {
    let (factors, norms) = factors(kernels, layer);
    let (y, u, turned) = match kernels {
        Kernels::Plain | Kernels::Cube(_) => forward_plain(kernels, layer, &factors, (&wide(x), dropout)),
        Kernels::Cpu => forward_cpu(layer, &factors, (x, dropout)),
    };
    let kept = turned.map_or_else(|| Kept::Output(y.clone()), Kept::Turned);
    (kernels.narrow(y), super::Saved { u: Some(u), dora: Some(Saved { factors, norms, kept }) })
}

/// y, u, and `d Vᵀ` where something is dropped.
type Outputs = (Tensor<2>, Tensor<2>, Option<Tensor<2>>);

fn forward_plain(
    kernels: Kernels,
    layer: Layer<'_>,
    factors: &Tensor<2>,
    (x, dropout): (&Tensor<2>, Option<&Mask>),
) -> Outputs {
    let Layer { linear, lora } = layer;
    let weight = || wide(&linear.weight.dense(kernels)).transpose();
    let d = dropped(Kernels::Plain, x, dropout);
    let u = d.clone().matmul(lora.a.value.clone().transpose());
    let base = d.matmul(weight());
    let turned = base.clone() + update_plain(lora, &u, base.dims());
    let turned_scaled = turned.clone() * factors.clone();
    let mut y = match dropout {
        None => turned_scaled,
        Some(_) => x.clone().matmul(weight()) - base + turned_scaled,
    };
    if let Some(bias) = &linear.bias {
        y = y + wide(&bias.value);
    }
    (y, u, dropout.map(|_| turned))
}

fn forward_cpu(layer: Layer<'_>, factors: &Tensor<2>, (x, dropout): (&Tensor<2>, Option<&Mask>)) -> Outputs {
    let Layer { linear, lora } = layer;
    let ([n, n_in], [n_out, _]) = (x.dims(), linear.weight.dims());
    let n_ranks = lora.a.value.dims()[0];
    let factors = tensor::values(factors);
    let bias = Bias::of(linear);
    let d = dropped(Kernels::Cpu, x, dropout);
    let (d, a) = (tensor::values(&d), tensor::values(&lora.a.value));
    let d = Matrix::new(&d, n, n_in);
    let u = product(d, Matrix::new(&a, n_ranks, n_in).t(), [n, n_ranks]);
    let mut turned = linear.weight.times(d);
    let (y, turned) = match dropout {
        None => {
            add_update_cpu(
                lora,
                Matrix::new(&u, n, n_ranks),
                &mut MatrixMut::new(&mut turned, n, n_out),
                None,
            );
            rows::scale_columns(&mut turned, &factors, bias.values());
            (turned, None)
        }
        Some(_) => {
            let values = tensor::values(x);
            let mut y = linear.weight.times(Matrix::new(&values, n, n_in));
            rows::add_scaled_columns(&mut y, &turned, &factors, bias.values());
            let u = Matrix::new(&u, n, n_ranks);
            add_update_cpu(lora, u, &mut MatrixMut::new(&mut y, n, n_out), Some(&factors));
            add_update_cpu(lora, u, &mut MatrixMut::new(&mut turned, n, n_out), None);
            (y, Some(turned))
        }
    };
    let matrix = |values| tensor::tensor(values, [n, n_out]);
    (matrix(y), tensor::tensor(u, [n, n_ranks]), turned.map(matrix))
}

/// `s u Bᵀ` at the outputs of each part, 0 elsewhere.
fn update_plain(lora: &Lora, u: &Tensor<2>, [n, n_out]: [usize; 2]) -> Tensor<2> {
    let mut update = Tensor::zeros([n, n_out], &u.device());
    for part in &lora.parts {
        let u = u.clone().narrow(1, part.ranks.start, part.ranks.len());
        let own = u.matmul(part.b.value.clone().transpose()).mul_scalar(part.scale);
        update = update.slice_assign([0..n, part.outputs.clone()], own);
    }
    update
}

/// `y += s u Bᵀ`, times c where it is given.
fn add_update_cpu(lora: &Lora, u: Matrix<'_>, y: &mut MatrixMut<'_>, factors: Option<&[f32]>) {
    for part in &lora.parts {
        let b = tensor::values(&part.b.value);
        let r = part.ranks.len();
        let scaled: Option<Vec<f32>> = factors.map(|factors| {
            let rows = b.chunks(r).zip(&factors[part.outputs.clone()]);
            rows.flat_map(|(row, factor)| row.iter().map(move |b| b * factor)).collect()
        });
        let b = Matrix::new(scaled.as_deref().unwrap_or(&b), part.outputs.len(), r);
        let u = u.cols(part.ranks.clone());
        y.cols(part.outputs.clone()).product(Product::ADD.scaled(part.scale), u, b.t());
    }
}

/// `scale · W m` for some of W's rows, with m `[in, width]`.
fn rows_times(weight: &Weight, rows: Range<usize>, (m, width): (Matrix<'_>, usize), scale: f32) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() * width];
    let (first, mut products) = (rows.start, MatrixMut::new(&mut out, rows.len(), width));
    weight.for_each_tile(rows, |rows, tile| {
        let area = rows.start - first..rows.end - first;
        products.rows(area).product(Product::SET.scaled(scale), tile, m);
    });
    out
}

/// The bias, or zeros in its place.
enum Bias {
    Of(Values),
    Zeros(Vec<f32>),
}

impl Bias {
    fn of(linear: &Linear) -> Self {
        match &linear.bias {
            Some(bias) => Self::Of(tensor::values(&bias.value)),
            None => Self::Zeros(vec![0.0; linear.weight.dims()[0]]),
        }
    }

    fn values(&self) -> &[f32] {
        match self {
            Self::Of(values) => values,
            Self::Zeros(zeros) => zeros,
        }
    }
}
