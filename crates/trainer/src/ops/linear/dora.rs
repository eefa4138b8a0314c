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

use std::ops::Range;

use burn::tensor::Tensor;

use super::{BackwardInput, InputGradient, Linear, Lora, dropped};
use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product, product};
use crate::kernels::cpu::{self, dora as rows, reduce, tensor};
use crate::kernels::{Kernels, cpu::tensor::Values};
use crate::ops::dropout::Mask;
use crate::ops::param::{Gradients, Param};

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

/// `|W_j|²` of the rows `outputs` of a weight, `[1, outputs]`.
pub fn base_squares(kernels: Kernels, weight: &Param, outputs: Range<usize>) -> Tensor<2> {
    let n_outputs = outputs.len();
    match kernels {
        Kernels::Plain => {
            let rows = weight.value.clone().narrow(0, outputs.start, n_outputs);
            rows.square().sum_dim(1).reshape([1, n_outputs])
        }
        Kernels::Cpu => {
            let [_, n_in] = weight.value.dims();
            let values = tensor::values(&weight.value);
            let squares = rows::row_squares(&values[outputs.start * n_in..outputs.end * n_in], n_in);
            tensor::tensor(squares, [1, n_outputs])
        }
    }
}

/// n of the parts of `lora` as they are now, each `[1, outputs]`.
pub fn norms(kernels: Kernels, weight: &Param, lora: &Lora) -> Vec<Tensor<2>> {
    let parts = (0..lora.parts.len()).filter(|part| lora.parts[*part].dora.is_some());
    parts.map(|part| part_norms(kernels, weight, lora, part)).collect()
}

fn part_norms(kernels: Kernels, weight: &Param, lora: &Lora, part: usize) -> Tensor<2> {
    let part = &lora.parts[part];
    let dora = part.dora.as_ref().expect("the caller asks for a part that has it");
    let (n_outputs, r, scale) = (part.outputs.len(), part.ranks.len(), part.scale);
    match kernels {
        Kernels::Plain => {
            let a = lora.a.value.clone().narrow(0, part.ranks.start, r);
            let w = weight.value.clone().narrow(0, part.outputs.start, n_outputs);
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
fn factors(kernels: Kernels, linear: &Linear, lora: &Lora) -> (Tensor<2>, Tensor<2>) {
    let [n_out, _] = linear.weight.value.dims();
    let device = linear.weight.value.device();
    let mut norms = Tensor::ones([1, n_out], &device);
    let mut magnitudes = norms.clone();
    for (index, part) in lora.parts.iter().enumerate() {
        let Some(dora) = &part.dora else { continue };
        let is_trained = lora.a.slot.is_some() || part.b.slot.is_some();
        let now = if is_trained {
            part_norms(kernels, &linear.weight, lora, index)
        } else {
            dora.norms.clone()
        };
        let area = [0..1, part.outputs.clone()];
        norms = norms.slice_assign(area.clone(), now);
        magnitudes = magnitudes.slice_assign(area, dora.magnitude.value.clone());
    }
    (magnitudes / norms.clone(), norms)
}

/// As [`Linear::forward`].
pub(super) fn forward(
    linear: &Linear,
    lora: &Lora,
    kernels: Kernels,
    (x, dropout): (&Tensor<2>, Option<&Mask>),
) -> (Tensor<2>, super::Saved) {
    let (factors, norms) = factors(kernels, linear, lora);
    let (y, u, turned) = match kernels {
        Kernels::Plain => forward_plain(linear, lora, &factors, (x, dropout)),
        Kernels::Cpu => forward_cpu(linear, lora, &factors, (x, dropout)),
    };
    let kept = turned.map_or_else(|| Kept::Output(y.clone()), Kept::Turned);
    (y, super::Saved { u: Some(u), dora: Some(Saved { factors, norms, kept }) })
}

/// y, u, and `d Vᵀ` where something is dropped.
type Outputs = (Tensor<2>, Tensor<2>, Option<Tensor<2>>);

fn forward_plain(
    linear: &Linear,
    lora: &Lora,
    factors: &Tensor<2>,
    (x, dropout): (&Tensor<2>, Option<&Mask>),
) -> Outputs {
    let weight = || linear.weight.value.clone().transpose();
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
        y = y + bias.value.clone();
    }
    (y, u, dropout.map(|_| turned))
}

fn forward_cpu(
    linear: &Linear,
    lora: &Lora,
    factors: &Tensor<2>,
    (x, dropout): (&Tensor<2>, Option<&Mask>),
) -> Outputs {
    let ([n, n_in], [n_out, _]) = (x.dims(), linear.weight.value.dims());
    let n_ranks = lora.a.value.dims()[0];
    let factors = tensor::values(factors);
    let bias = Bias::of(linear);
    let d = dropped(Kernels::Cpu, x, dropout);
    let (d, a) = (tensor::values(&d), tensor::values(&lora.a.value));
    let d = Matrix::new(&d, n, n_in);
    let u = product(d, Matrix::new(&a, n_ranks, n_in).t(), [n, n_ranks]);
    let mut turned = base_times(linear, d);
    let (y, turned) = match dropout {
        None => {
            add_update_cpu(lora, Matrix::new(&u, n, n_ranks), &mut MatrixMut::new(&mut turned, n, n_out), None);
            rows::scale_columns(&mut turned, &factors, bias.values());
            (turned, None)
        }
        Some(_) => {
            let values = tensor::values(x);
            let mut y = base_times(linear, Matrix::new(&values, n, n_in));
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

/// As [`Linear::backward`].
pub(super) fn backward(
    linear: &Linear,
    (lora, saved): (&Lora, &Saved),
    kernels: Kernels,
    input: &BackwardInput<'_>,
    want: InputGradient,
    gradients: &mut Gradients,
) -> Option<Tensor<2>> {
    add_magnitude_gradients(linear, (lora, saved), kernels, input, gradients);
    match kernels {
        Kernels::Plain => backward_plain(linear, (lora, saved), input, want, gradients),
        Kernels::Cpu => backward_cpu(linear, (lora, saved), input, want, gradients),
    }
}

fn add_magnitude_gradients(
    linear: &Linear,
    (lora, saved): (&Lora, &Saved),
    kernels: Kernels,
    input: &BackwardInput<'_>,
    gradients: &mut Gradients,
) {
    let trained = lora.parts.iter().filter_map(|part| {
        let magnitude = &part.dora.as_ref()?.magnitude;
        Some((magnitude.slot?, &part.outputs, magnitude))
    });
    let trained: Vec<_> = trained.collect();
    if trained.is_empty() {
        return;
    }
    let BackwardInput { x, saved: of_layer, dy, .. } = *input;
    let [_, n_out] = dy.dims();
    // Of a row whose magnitude is exactly 0, y tells nothing: then, which is rare, d Vᵀ is computed again.
    let is_zero = |magnitude: &Param| {
        let values: Vec<f32> = magnitude.value.to_data().try_into_vec().expect("the engine computes in f32");
        values.contains(&0.0)
    };
    let from_output = match &saved.kept {
        Kept::Output(y) => Some(y).filter(|_| !trained.iter().any(|(_, _, magnitude)| is_zero(magnitude))),
        Kept::Turned(_) => None,
    };
    let zeros = || Tensor::zeros([1, n_out], &dy.device());
    let (products, divisors) = match (from_output, &saved.kept) {
        (Some(y), _) => {
            let bias = linear.bias.as_ref().map_or_else(zeros, |bias| bias.value.clone());
            (column_products(kernels, dy, y, &bias), saved.norms.clone() * saved.factors.clone())
        }
        (None, Kept::Turned(turned)) => (column_products(kernels, dy, turned, &zeros()), saved.norms.clone()),
        (None, Kept::Output(_)) => {
            let u = of_layer.u.as_ref().expect("a layer with an update keeps u");
            let base = x.clone().matmul(linear.weight.value.clone().transpose());
            let turned = base.clone() + update_plain(lora, u, base.dims());
            (column_products(kernels, dy, &turned, &zeros()), saved.norms.clone())
        }
    };
    let gradient = products / divisors;
    for (slot, outputs, _) in trained {
        gradients.add(slot, gradient.clone().slice([0..1, outputs.clone()]));
    }
}

/// `Σ_t dy[t] ⊙ (y[t] − shift)`, `[1, out]`.
fn column_products(kernels: Kernels, dy: &Tensor<2>, y: &Tensor<2>, shift: &Tensor<2>) -> Tensor<2> {
    match kernels {
        Kernels::Plain => (dy.clone() * (y.clone() - shift.clone())).sum_dim(0),
        Kernels::Cpu => {
            let (dy, y, shift) = (tensor::values(dy), tensor::values(y), tensor::values(shift));
            tensor::tensor(rows::column_products(&dy, &y, &shift), [1, shift.len()])
        }
    }
}

fn backward_plain(
    linear: &Linear,
    (lora, saved): (&Lora, &Saved),
    input: &BackwardInput<'_>,
    want: InputGradient,
    gradients: &mut Gradients,
) -> Option<Tensor<2>> {
    let BackwardInput { x, saved: of_layer, dropout, dy } = *input;
    let u = of_layer.u.as_ref().expect("a layer with an update keeps u");
    let weight = linear.weight.value.clone();
    let d = dropped(Kernels::Plain, x, dropout);
    let e = dy.clone() * saved.factors.clone();
    // What goes through the base beside `dy`, where something is dropped.
    let rest = e.clone() - dy.clone();
    if let Some(slot) = linear.weight.slot {
        match dropout {
            None => gradients.add(slot, e.clone().transpose().matmul(x.clone())),
            Some(_) => {
                gradients.add(slot, dy.clone().transpose().matmul(x.clone()));
                gradients.add(slot, rest.clone().transpose().matmul(d.clone()));
            }
        }
    }
    if let Some(slot) = linear.bias.as_ref().and_then(|bias| bias.slot) {
        gradients.add(slot, dy.clone().sum_dim(0));
    }
    let mut du = Tensor::zeros(u.dims(), &u.device());
    for part in &lora.parts {
        let e = e.clone().narrow(1, part.outputs.start, part.outputs.len()).mul_scalar(part.scale);
        if let Some(slot) = part.b.slot {
            let u = u.clone().narrow(1, part.ranks.start, part.ranks.len());
            gradients.add(slot, e.clone().transpose().matmul(u));
        }
        let area = [0..u.dims()[0], part.ranks.clone()];
        du = du.slice_assign(area, e.matmul(part.b.value.clone()));
    }
    if let Some(slot) = lora.a.slot {
        gradients.add(slot, du.clone().transpose().matmul(d));
    }
    (want == InputGradient::Wanted).then(|| {
        let back = du.matmul(lora.a.value.clone());
        match dropout {
            None => e.matmul(weight) + back,
            Some(mask) => {
                let mut dx = dy.clone().matmul(weight.clone());
                mask.backward(Kernels::Plain, &(rest.matmul(weight) + back), &mut dx);
                dx
            }
        }
    })
}

fn backward_cpu(
    linear: &Linear,
    (lora, saved): (&Lora, &Saved),
    input: &BackwardInput<'_>,
    want: InputGradient,
    gradients: &mut Gradients,
) -> Option<Tensor<2>> {
    let BackwardInput { x, saved: of_layer, dropout, dy } = *input;
    let ([n, n_in], [n_out, _]) = (x.dims(), linear.weight.value.dims());
    let n_ranks = lora.a.value.dims()[0];
    let u = tensor::values(of_layer.u.as_ref().expect("a layer with an update keeps u"));
    let (dy_values, factors) = (tensor::values(dy), tensor::values(&saved.factors));
    if let Some(slot) = linear.bias.as_ref().and_then(|bias| bias.slot) {
        gradients.modify(slot, |db| reduce::sum_of_rows(&dy_values, db));
    }
    let mut e = rows::scaled_columns(&dy_values, &factors);
    let d = dropped(Kernels::Cpu, x, dropout);
    let (x_values, d) = (tensor::values(x), tensor::values(&d));
    let (x_matrix, d) = (Matrix::new(&x_values, n, n_in), Matrix::new(&d, n, n_in));
    let dy = Matrix::new(&dy_values, n, n_out);
    let du = lora.backward_parts(Matrix::new(&e, n, n_out), Matrix::new(&u, n, n_ranks), gradients);
    let du = Matrix::new(&du, n, n_ranks);
    if let Some(slot) = lora.a.slot {
        gradients.modify(slot, |da| MatrixMut::new(da, n_ranks, n_in).product(Product::ADD, du.t(), d));
    }
    if dropout.is_some() {
        // From here on: what goes through the base beside `dy`.
        e.iter_mut().zip(dy_values.iter()).for_each(|(e, dy)| *e -= dy);
    }
    let e = Matrix::new(&e, n, n_out);
    if let Some(slot) = linear.weight.slot {
        gradients.modify(slot, |dw| {
            let mut dw = MatrixMut::new(dw, n_out, n_in);
            dw.product(Product::ADD, e.t(), d);
            if dropout.is_some() {
                dw.product(Product::ADD, dy.t(), x_matrix);
            }
        });
    }
    (want == InputGradient::Wanted).then(|| {
        let a = tensor::values(&lora.a.value);
        let mut back = base_back(linear, e);
        MatrixMut::new(&mut back, n, n_in).product(Product::ADD, du, Matrix::new(&a, n_ranks, n_in));
        let dx = match dropout {
            None => back,
            Some(mask) => {
                let mut dx = base_back(linear, dy);
                cpu::dropout::add(&mut dx, &back, mask);
                dx
            }
        };
        tensor::tensor(dx, [n, n_in])
    })
}

/// `x Wᵀ`.
fn base_times(linear: &Linear, x: Matrix<'_>) -> Vec<f32> {
    let [n_out, n_in] = linear.weight.value.dims();
    let weight = tensor::values(&linear.weight.value);
    product(x, Matrix::new(&weight, n_out, n_in).t(), [x.n_rows(), n_out])
}

/// `dy W`.
fn base_back(linear: &Linear, dy: Matrix<'_>) -> Vec<f32> {
    let [n_out, n_in] = linear.weight.value.dims();
    let weight = tensor::values(&linear.weight.value);
    product(dy, Matrix::new(&weight, n_out, n_in), [dy.n_rows(), n_in])
}

/// `scale · W m` for some of W's rows, with m `[in, width]`.
fn rows_times(weight: &Param, rows: Range<usize>, (m, width): (Matrix<'_>, usize), scale: f32) -> Vec<f32> {
    let [n_out, n_in] = weight.value.dims();
    let values = tensor::values(&weight.value);
    let weight = Matrix::new(&values, n_out, n_in).rows(rows.clone());
    let mut out = vec![0.0; rows.len() * width];
    MatrixMut::new(&mut out, rows.len(), width).product(Product::SET.scaled(scale), weight, m);
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
            None => Self::Zeros(vec![0.0; linear.weight.value.dims()[0]]),
        }
    }

    fn values(&self) -> &[f32] {
        match self {
            Self::Of(values) => values,
            Self::Zeros(zeros) => zeros,
        }
    }
}

