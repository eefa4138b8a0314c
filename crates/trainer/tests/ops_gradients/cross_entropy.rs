//! Output head and cross-entropy.

use burn::tensor::{Device, Tensor, TensorData, activation};
use ftl_trainer::data::sample::IGNORED;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::cross_entropy::{Head, forward_backward, logits, score};
use ftl_trainer::ops::param::{Gradients, Param, Slot};

use crate::draw::Draw;
use crate::operation::{Operation, TOLERANCE, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, difference_of, values};
use crate::reference;

#[derive(Clone, Debug)]
struct CrossEntropy {
    hidden: usize,
    vocab: usize,
    targets: Vec<i32>,
    scale: f64,
    softcap: Option<f32>,
}

impl CrossEntropy {
    fn inputs(&self) -> (Tensor<2>, Tensor<2>) {
        let mut draw = Draw::new(17);
        (draw.tensor([self.targets.len(), self.hidden]), draw.tensor([self.vocab, self.hidden]))
    }

    /// The rows that count, and their targets.
    fn counted(&self) -> impl Iterator<Item = (usize, usize)> {
        let counted = self.targets.iter().enumerate().filter(|(_, target)| **target != IGNORED);
        counted.map(|(row, target)| (row, *target as usize))
    }

    fn dy(&self) -> Tensor<2> {
        Tensor::from_data(TensorData::new(vec![self.scale as f32], [1, 1]), &Device::flex())
    }
}

impl Operation for CrossEntropy {
    fn run(&self, kernels: Kernels) -> Outcome {
        let (hidden, head) = self.inputs();
        let mut gradients = Gradients::zeros([head.dims()], &Device::flex(), kernels);
        let head = Param { slot: Some(Slot(0)), ..Param::frozen(head) };
        let head = Head { softcap: self.softcap, ..Head::plain(&head) };
        let (sum_nats, d_hidden) =
            forward_backward(kernels, head, (&hidden, &self.targets), self.scale, &mut gradients);
        Outcome::from([
            ("y".to_owned(), vec![sum_nats]),
            ("hidden".to_owned(), values(&d_hidden)),
            ("head".to_owned(), values(gradients.get(Slot(0)))),
        ])
    }

    fn autodiff(&self) -> Outcome {
        let (hidden, head) = self.inputs();
        let (hidden, head) = (reference::leaf(&hidden), reference::leaf(&head));
        let n = self.targets.len();
        let mut picked = vec![0.0; n * self.vocab];
        self.counted().for_each(|(row, target)| picked[row * self.vocab + target] = -1.0);
        let logits = hidden.clone().matmul(head.clone().transpose());
        let logits = match self.softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        };
        let log_p = activation::log_softmax(logits, 1);
        let sum = (log_p * reference::constant(picked, [n, self.vocab])).sum().reshape([1, 1]);
        reference::autodiff(&sum, &self.dy(), &[("hidden", &hidden), ("head", &head)])
    }

    fn slopes(&self) -> Outcome {
        let (hidden, head) = self.inputs();
        reference::slopes(&[("hidden", &hidden), ("head", &head)], &self.dy(), &|inputs| {
            let nll = self.counted().map(|(row, target)| {
                let h = &inputs[0][row * self.hidden..][..self.hidden];
                let z =
                    inputs[1].chunks(self.hidden).map(|w| w.iter().zip(h).map(|(w, h)| w * h).sum::<f64>());
                let limited =
                    |z: f64| self.softcap.map_or(z, |cap| f64::from(cap) * (z / f64::from(cap)).tanh());
                let z: Vec<f64> = z.map(limited).collect();
                z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[target]
            });
            vec![nll.sum()]
        })
    }
}

/// Every third target is ignored, and the rest is random.
fn case(n_tokens: usize, [hidden, vocab]: [usize; 2]) -> CrossEntropy {
    let mut draw = Draw::new(18);
    let target = |i| if i % 3 == 1 { IGNORED } else { draw.count(0..vocab) as i32 };
    let targets = (0..n_tokens).map(target).collect();
    CrossEntropy { hidden, vocab, targets, scale: 0.3, softcap: None }
}

fn capped(cap: f32, case: CrossEntropy) -> CrossEntropy {
    CrossEntropy { softcap: Some(cap), ..case }
}

#[test]
fn cross_entropy_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(19);
    let mut cases = vec![case(1, [1, 1]), case(1, [3, 2]), case(50, [16, 512]), case(400, [33, 97])];
    cases.extend((0..12).map(|_| case(draw.count(1..60), [draw.count(1..40), draw.count(2..700)])));
    cases.extend([capped(3.0, case(50, [16, 512])), capped(30.0, case(400, [33, 97]))]);
    assert_equals_autodiff(&cases);
}

#[test]
fn cross_entropy_in_several_chunks_has_the_gradients_of_autodiff() {
    // 64 supervised tokens are a chunk of a vocabulary of 65,536 or more. Of 3 n tokens 2 n are supervised.
    let cases = [95, 96, 99, 192, 195].map(|n_tokens| case(n_tokens, [3, 1 << 16]));
    assert_equals_autodiff(&cases);
    assert_equals_autodiff(&[capped(4.0, case(99, [3, 1 << 16]))]);
}

#[test]
fn cross_entropy_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case(1, [3, 2]), case(7, [4, 11]), case(12, [3, 37])]);
    assert_equals_slopes(&[capped(1.0, case(1, [3, 2])), capped(5.0, case(12, [3, 37]))]);
}

#[test]
fn another_limit_of_logits_is_noticed() {
    let right = capped(2.0, case(7, [4, 11]));
    assert_differs(&right, &capped(2.5, right.clone()));
    assert_differs(&right, &case(7, [4, 11]));
}

#[test]
fn another_target_is_noticed() {
    let right = case(7, [4, 11]);
    let mut wrong = right.clone();
    wrong.targets[3] = (wrong.targets[3] + 1) % 11;
    assert_differs(&right, &wrong);
    wrong.targets[3] = IGNORED;
    assert_differs(&right, &wrong);
}

#[test]
fn a_frozen_head_passes_the_same_gradient_on() {
    let trained = case(20, [8, 30]);
    let (hidden, head) = trained.inputs();
    for kernels in [Kernels::Plain, Kernels::Cpu] {
        let mut gradients = Gradients::zeros([], &Device::flex(), kernels);
        let d_hidden = forward_backward(
            kernels,
            Head::plain(&Param::frozen(head.clone())),
            (&hidden, &trained.targets),
            trained.scale,
            &mut gradients,
        );
        assert_eq!(values(&d_hidden.1), trained.run(kernels)["hidden"]);
    }
}

#[test]
fn a_batch_without_targets_has_no_loss_and_no_gradient() {
    let nothing = CrossEntropy { targets: vec![IGNORED; 5], ..case(5, [4, 11]) };
    for kernels in [Kernels::Plain, Kernels::Cpu] {
        for (name, values) in nothing.run(kernels) {
            assert!(values.iter().all(|value| *value == 0.0), "{kernels:?} {name}");
        }
        let (hidden, head) = nothing.inputs();
        assert!(score(kernels, Head::plain(&Param::frozen(head)), &hidden, &nothing.targets).is_empty());
    }
}

#[test]
fn scores_are_those_of_the_supervised_tokens_in_order() {
    for case in [case(50, [16, 512]), case(192, [3, 1 << 16]), capped(3.0, case(50, [16, 512]))] {
        let (hidden, weight) = case.inputs();
        let weight = Param::frozen(weight);
        let head = Head { softcap: case.softcap, ..Head::plain(&weight) };
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let logits = values(&logits(kernels, head, &hidden));
            // Half of the targets are made the most likely token.
            let mut targets = case.targets.clone();
            let best_of =
                |row: &[f64]| (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            let mut want = Vec::new();
            for (row, z) in logits.chunks(case.vocab).enumerate() {
                let best = best_of(z);
                if row % 2 == 0 && targets[row] != IGNORED {
                    targets[row] = best as i32;
                }
                if targets[row] != IGNORED {
                    let target = targets[row] as usize;
                    let nll = z.iter().map(|other| (other - z[target]).exp()).sum::<f64>().ln();
                    want.push((nll, target == best));
                }
            }
            let got = score(kernels, head, &hidden, &targets);
            let nll = |from: &dyn Fn(usize) -> f64| (0..want.len()).map(from).collect::<Vec<_>>();
            let got_nll = nll(&|i| f64::from(got[i].nll_nats));
            assert_eq!(got.len(), want.len());
            assert!(difference_of(&got_nll, &nll(&|i| want[i].0)) < TOLERANCE);
            assert!(difference_of(&got_nll, &nll(&|i| want[want.len() - 1 - i].0)) > TOLERANCE);
            assert!(got.iter().zip(&want).all(|(got, want)| got.correct == want.1));
            assert!(want.iter().any(|want| want.1) && want.iter().any(|want| !want.1));
        }
    }
}
