//! RMSNorm.

use burn::tensor::{Device, Tensor};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::norm::{BackwardInput, NormWeight, RmsNorm};
use ftl_trainer::ops::param::{Gradients, Param, Slot};

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Norm {
    n_tokens: usize,
    hidden: usize,
    eps: f64,
    meaning: NormWeight,
}

struct Inputs {
    x: Tensor<2>,
    weight: Tensor<2>,
    dy: Tensor<2>,
    /// The gradient of x that comes from elsewhere, to which the norm's is added.
    dx_before: Tensor<2>,
}

impl Norm {
    /// What is added to the weight.
    fn offset(&self) -> f64 {
        match self.meaning {
            NormWeight::Factor => 0.0,
            NormWeight::OnePlus => 1.0,
        }
    }

    fn inputs(&self) -> Inputs {
        let mut draw = Draw::new(1);
        let shape = [self.n_tokens, self.hidden];
        let [x, dy, dx_before] = [(); 3].map(|()| draw.tensor(shape));
        Inputs { x, weight: draw.tensor([1, self.hidden]), dy, dx_before }
    }
}

impl Operation for Norm {
    fn run(&self, kernels: Kernels) -> Outcome {
        let Inputs { x, weight, dy, dx_before } = self.inputs();
        let mut gradients = Gradients::zeros([weight.dims()], &Device::flex(), kernels);
        let weight = Param { slot: Some(Slot(0)), ..Param::frozen(weight) };
        let norm = RmsNorm { weight, eps: self.eps, meaning: self.meaning };
        let (y, inverse_rms) = norm.forward(kernels, &x);
        let mut dx = dx_before.clone();
        let input = BackwardInput { x: &x, inverse_rms: &inverse_rms, dy: &dy };
        norm.backward(kernels, input, &mut dx, &mut gradients);
        Outcome::from([
            ("y".to_owned(), values(&y)),
            ("x".to_owned(), values(&(dx - dx_before))),
            ("weight".to_owned(), values(gradients.get(Slot(0)))),
        ])
    }

    fn autodiff(&self) -> Outcome {
        let Inputs { x, weight, dy, .. } = self.inputs();
        let (x, weight) = (reference::leaf(&x), reference::leaf(&weight));
        let mean_square = x.clone().powi_scalar(2).sum_dim(1).div_scalar(self.hidden as f64);
        let factor = weight.clone().add_scalar(self.offset());
        let y = x.clone().div((mean_square + self.eps).sqrt()) * factor;
        reference::autodiff(&y, &dy, &[("x", &x), ("weight", &weight)])
    }

    fn slopes(&self) -> Outcome {
        let Inputs { x, weight, dy, .. } = self.inputs();
        reference::slopes(&[("x", &x), ("weight", &weight)], &dy, &|inputs| {
            let [x, weight] = inputs else { unreachable!() };
            let rows = x.chunks(self.hidden).flat_map(|row| {
                let mean_square = row.iter().map(|x| x * x).sum::<f64>() / self.hidden as f64;
                row.iter()
                    .zip(weight)
                    .map(move |(x, w)| x * (w + self.offset()) / (mean_square + self.eps).sqrt())
            });
            rows.collect()
        })
    }
}

const fn case(n_tokens: usize, hidden: usize, eps: f64) -> Norm {
    Norm { n_tokens, hidden, eps, meaning: NormWeight::Factor }
}

/// The same with the weight of Gemma's files.
const fn one_plus(norm: Norm) -> Norm {
    Norm { meaning: NormWeight::OnePlus, ..norm }
}

#[test]
fn norm_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(2);
    let mut cases = vec![case(1, 2, 1e-6), case(1, 15, 1e-5), case(65, 16, 1e-6), case(200, 100, 1e-5)];
    cases.extend((0..12).map(|_| case(draw.count(1..150), draw.count(2..80), 1e-5)));
    cases.extend([one_plus(case(1, 15, 1e-5)), one_plus(case(200, 100, 1e-6))]);
    assert_equals_autodiff(&cases);
}

#[test]
fn norm_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case(1, 2, 1e-5), case(3, 7, 1e-5), case(2, 33, 1e-2), case(20, 5, 1.0)]);
    assert_equals_slopes(&[one_plus(case(3, 7, 1e-5)), one_plus(case(2, 33, 1e-2))]);
}

#[test]
fn norm_with_another_epsilon_is_noticed() {
    assert_differs(&case(3, 7, 1e-5), &case(3, 7, 1e-2));
}

#[test]
fn a_weight_of_another_meaning_is_noticed() {
    assert_differs(&case(3, 7, 1e-5), &one_plus(case(3, 7, 1e-5)));
    assert_differs(&one_plus(case(3, 7, 1e-5)), &case(3, 7, 1e-5));
}

#[test]
fn a_frozen_norm_passes_the_same_gradient_on() {
    let inputs = case(3, 7, 1e-5).inputs();
    for kernels in [Kernels::Plain, Kernels::Cpu] {
        let through = |slot| {
            let mut gradients = Gradients::zeros([[1, 7]], &Device::flex(), kernels);
            let weight = Param { slot, ..Param::frozen(inputs.weight.clone()) };
            let norm = RmsNorm { weight, eps: 1e-5, meaning: NormWeight::Factor };
            let inverse_rms = norm.forward(kernels, &inputs.x).1;
            let input = BackwardInput { x: &inputs.x, inverse_rms: &inverse_rms, dy: &inputs.dy };
            let mut dx = inputs.dx_before.clone();
            norm.backward(kernels, input, &mut dx, &mut gradients);
            (values(&dx), values(gradients.get(Slot(0))))
        };
        let (frozen, trained) = (through(None), through(Some(Slot(0))));
        assert_eq!(frozen.0, trained.0);
        assert!(frozen.1.iter().all(|value| *value == 0.0));
        assert!(trained.1.iter().any(|value| *value != 0.0));
    }
}
