//! Dropout.

use burn::tensor::Tensor;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::dropout::{Key, Mask};

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Dropout {
    shape: [usize; 2],
    prob: f64,
    seed: u64,
}

impl Dropout {
    fn inputs(&self) -> [Tensor<2>; 3] {
        let mut draw = Draw::new(7);
        [(); 3].map(|()| draw.tensor(self.shape))
    }

    fn mask(&self) -> Mask {
        Mask::new(Key::new(self.seed), self.prob)
    }

    fn factors(&self) -> Vec<f32> {
        (0..(self.shape[0] * self.shape[1]) as u64).map(|i| self.mask().factor(i)).collect()
    }
}

impl Operation for Dropout {
    fn run(&self, kernels: Kernels) -> Outcome {
        let [x, dy, dx_before] = self.inputs();
        let mut dx = dx_before.clone();
        self.mask().backward(kernels, &dy, &mut dx);
        Outcome::from([
            ("y".to_owned(), values(&self.mask().apply(kernels, &x))),
            ("x".to_owned(), values(&(dx - dx_before))),
        ])
    }

    fn autodiff(&self) -> Outcome {
        let [x, dy, _] = self.inputs();
        let x = reference::leaf(&x);
        let y = x.clone() * reference::constant(self.factors(), self.shape);
        reference::autodiff(&y, &dy, &[("x", &x)])
    }

    fn slopes(&self) -> Outcome {
        let [x, dy, _] = self.inputs();
        let factors = self.factors();
        reference::slopes(&[("x", &x)], &dy, &|inputs| {
            inputs[0].iter().zip(&factors).map(|(x, factor)| x * f64::from(*factor)).collect()
        })
    }
}

const fn case(shape: [usize; 2], prob: f64) -> Dropout {
    Dropout { shape, prob, seed: 11 }
}

#[test]
fn dropout_has_the_gradients_of_autodiff() {
    // 16,384 values are one task of the CPU version.
    let shapes = [[1, 1], [7, 13], [128, 128], [129, 129], [300, 200]];
    let cases = shapes.map(|shape| [0.0, 0.1, 0.7].map(|prob| case(shape, prob)));
    assert_equals_autodiff(cases.as_flattened());
}

#[test]
fn dropout_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case([7, 13], 0.5), case([1, 1], 0.0)]);
}

#[test]
fn another_mask_is_noticed() {
    assert_differs(&case([7, 13], 0.5), &Dropout { seed: 12, ..case([7, 13], 0.5) });
}
