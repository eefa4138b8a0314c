//! Noise on the embeddings.

use burn::tensor::Tensor;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::dropout::Key;
use ftl_trainer::ops::neftune::Noise;

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Neftune {
    lengths: Vec<usize>,
    hidden: usize,
    alpha: f64,
    seed: u64,
}

impl Neftune {
    fn inputs(&self) -> [Tensor<2>; 2] {
        let mut draw = Draw::new(8);
        [(); 2].map(|()| draw.tensor([self.n_tokens(), self.hidden]))
    }

    fn n_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn noise(&self) -> Noise {
        Noise { alpha: self.alpha, key: Key::new(self.seed) }
    }

    /// α / √(n · d) times a number between -1 and 1, value by value.
    fn values(&self) -> Vec<f32> {
        let tokens = self.lengths.iter().flat_map(|n| std::iter::repeat_n(*n, n * self.hidden));
        let magnitude = |n: usize| self.alpha / ((n * self.hidden) as f64).sqrt();
        tokens
            .enumerate()
            .map(|(i, n)| (magnitude(n) * f64::from(self.noise().unit(i as u64))) as f32)
            .collect()
    }
}

impl Operation for Neftune {
    fn run(&self, kernels: Kernels) -> Outcome {
        let [mut x, dy] = self.inputs();
        let mut start = 0;
        let segments: Vec<_> = self
            .lengths
            .iter()
            .map(|n| {
                start += n;
                start - n..start
            })
            .collect();
        self.noise().add(kernels, &mut x, &segments);
        // The gradient goes through as it is.
        Outcome::from([("y".to_owned(), values(&x)), ("x".to_owned(), values(&dy))])
    }

    fn autodiff(&self) -> Outcome {
        let [x, dy] = self.inputs();
        let x = reference::leaf(&x);
        let y = x.clone() + reference::constant(self.values(), [self.n_tokens(), self.hidden]);
        reference::autodiff(&y, &dy, &[("x", &x)])
    }

    fn slopes(&self) -> Outcome {
        let [x, dy] = self.inputs();
        let noise = self.values();
        reference::slopes(&[("x", &x)], &dy, &|inputs| {
            inputs[0].iter().zip(&noise).map(|(x, noise)| x + f64::from(*noise)).collect()
        })
    }
}

fn case(lengths: &[usize], hidden: usize) -> Neftune {
    Neftune { lengths: lengths.to_vec(), hidden, alpha: 5.0, seed: 4 }
}

#[test]
fn noise_has_the_gradients_of_autodiff() {
    // 16,384 values are one task of the CPU version.
    assert_equals_autodiff(&[
        case(&[1], 1),
        case(&[3, 1, 7], 5),
        case(&[128], 128),
        case(&[300, 5, 200], 129),
    ]);
}

#[test]
fn noise_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case(&[1], 1), case(&[3, 1, 7], 5)]);
}

#[test]
fn another_stream_strength_or_segment_is_noticed() {
    let right = case(&[3, 1, 7], 5);
    assert_differs(&right, &Neftune { seed: 5, ..right.clone() });
    assert_differs(&right, &Neftune { alpha: 6.0, ..right.clone() });
    assert_differs(&right, &case(&[4, 7], 5));
}
