//! The way back through a layer with magnitudes.

use burn::tensor::Tensor;

use super::{Kept, Layer, Saved, rows, update_plain};
use crate::kernels::cpu::matrix::{Matrix, MatrixMut, Product};
use crate::kernels::cpu::{self, reduce, tensor};
use crate::kernels::{Kernels, wide};
use crate::ops::linear::{BackwardInput, InputGradient, dropped};
use crate::ops::param::{Gradients, Param};

/// As [`Linear::backward`].
pub(in super::super) fn backward(
    layer: Layer<'_>,
    kernels: Kernels,
    input: &BackwardInput<'_>,
    want: InputGradient,
    gradients: &mut Gradients,
) -> Option<Tensor<2>> {
    match kernels {
        Kernels::Cpu => {
            add_magnitude_gradients(layer, kernels, input, gradients);
            backward_cpu(layer, input, want, gradients)
        }
        Kernels::Plain | Kernels::Cube(_) => {
            let (x, dy) = (wide(input.x), wide(input.dy));
            let input = BackwardInput { x: &x, dy: &dy, ..*input };
            add_magnitude_gradients(layer, kernels, &input, gradients);
            let dx = backward_plain((kernels, layer), &input, want, gradients);
            dx.map(|dx| kernels.narrow(dx))
        }
    }
}

fn add_magnitude_gradients(
    Layer { linear, lora }: Layer<'_>,
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
    let saved = kept(input);
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
            let bias = linear.bias.as_ref().map_or_else(zeros, |bias| wide(&bias.value));
            (column_products(kernels, dy, y, &bias), saved.norms.clone() * saved.factors.clone())
        }
        (None, Kept::Turned(turned)) => (column_products(kernels, dy, turned, &zeros()), saved.norms.clone()),
        (None, Kept::Output(_)) => {
            let u = of_layer.u.as_ref().expect("a layer with an update keeps u");
            let base = x.clone().matmul(wide(&linear.weight.dense(kernels)).transpose());
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
        Kernels::Plain | Kernels::Cube(_) => (dy.clone() * (y.clone() - shift.clone())).sum_dim(0),
        Kernels::Cpu => {
            let (dy, y, shift) = (tensor::values(dy), tensor::values(y), tensor::values(shift));
            tensor::tensor(rows::column_products(&dy, &y, &shift), [1, shift.len()])
        }
    }
}

fn backward_plain(
    (kernels, Layer { linear, lora }): (Kernels, Layer<'_>),
    input: &BackwardInput<'_>,
    want: InputGradient,
    gradients: &mut Gradients,
) -> Option<Tensor<2>> {
    let BackwardInput { x, saved: of_layer, dropout, dy } = *input;
    let saved = kept(input);
    let u = of_layer.u.as_ref().expect("a layer with an update keeps u");
    let weight = wide(&linear.weight.dense(kernels));
    let d = dropped(Kernels::Plain, x, dropout);
    let e = dy.clone() * saved.factors.clone();
    // What goes through the base beside `dy`, where something is dropped.
    let rest = e.clone() - dy.clone();
    if let Some(slot) = linear.weight.slot() {
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
    Layer { linear, lora }: Layer<'_>,
    input: &BackwardInput<'_>,
    want: InputGradient,
    gradients: &mut Gradients,
) -> Option<Tensor<2>> {
    let BackwardInput { x, saved: of_layer, dropout, dy } = *input;
    let saved = kept(input);
    let ([n, n_in], [n_out, _]) = (x.dims(), linear.weight.dims());
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
    if let Some(slot) = linear.weight.slot() {
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
        let mut back = linear.weight.times_transposed(e);
        MatrixMut::new(&mut back, n, n_in).product(Product::ADD, du, Matrix::new(&a, n_ranks, n_in));
        let dx = match dropout {
            None => back,
            Some(mask) => {
                let mut dx = linear.weight.times_transposed(dy);
                cpu::dropout::add(&mut dx, &back, mask);
                dx
            }
        };
        tensor::tensor(dx, [n, n_in])
    })
}

fn kept<'a>(input: &BackwardInput<'a>) -> &'a Saved {
    input.saved.dora.as_ref().expect("a layer with magnitudes keeps them")
}
