//! Output head and cross-entropy.

use burn::tensor::{Device, Tensor, TensorData, activation};
use ftl_trainer::data::sample::IGNORED;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::cross_entropy::{Head, Objective, forward_backward, logits, score};
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
    /// One for each target, also where it is ignored.
    weights: Vec<f32>,
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

    fn supervised_weights(&self) -> Vec<f32> {
        self.counted().map(|(row, _)| self.weights[row]).collect()
    }

    /// A head of which the gradient is wanted.
    fn trained(head: Tensor<2>) -> Param {
        Param { slot: Some(Slot(0)), ..Param::frozen(head) }
    }

    /// The log-probabilities of all tokens, as autodiff records them.
    fn log_p(&self, hidden: &Tensor<2>, head: &Tensor<2>) -> Tensor<2> {
        let logits = hidden.clone().matmul(head.clone().transpose());
        let logits = match self.softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        };
        activation::log_softmax(logits, 1)
    }

    /// That of each counted target, in order, `[targets, 1]`.
    fn recorded_log_p(&self, hidden: &Tensor<2>, head: &Tensor<2>) -> Tensor<2> {
        let counted: Vec<(usize, usize)> = self.counted().collect();
        let (n, all) = (counted.len(), self.targets.len());
        let mut rows = vec![0.0; n * all];
        let mut picked = vec![0.0; n * self.vocab];
        for (i, (row, target)) in counted.into_iter().enumerate() {
            rows[i * all + row] = 1.0;
            picked[i * self.vocab + target] = 1.0;
        }
        let log_p = self.log_p(hidden, head);
        let log_p = reference::constant(rows, [n, all]).matmul(log_p);
        (log_p * reference::constant(picked, [n, self.vocab])).sum_dim(1)
    }

    /// The negative log-likelihood of each counted target in f64.
    fn nll(&self, [hidden, head]: [&[f64]; 2]) -> Vec<f64> {
        let nll = self.counted().map(|(row, target)| {
            let h = &hidden[row * self.hidden..][..self.hidden];
            let z = head.chunks(self.hidden).map(|w| w.iter().zip(h).map(|(w, h)| w * h).sum::<f64>());
            let limited = |z: f64| self.softcap.map_or(z, |cap| f64::from(cap) * (z / f64::from(cap)).tanh());
            let z: Vec<f64> = z.map(limited).collect();
            z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[target]
        });
        nll.collect()
    }
}

fn one() -> Tensor<2> {
    Tensor::from_data(TensorData::new(vec![1f32], [1, 1]), &Device::flex())
}

impl Operation for CrossEntropy {
    fn run(&self, kernels: Kernels) -> Outcome {
        let (hidden, head) = self.inputs();
        let mut gradients = Gradients::zeros([head.dims()], &Device::flex(), kernels);
        let head = Self::trained(head);
        let weights = self.supervised_weights();
        let (nll, d_hidden) = forward_backward(
            kernels,
            Head { softcap: self.softcap, ..Head::plain(&head) },
            (&hidden, &self.targets),
            Objective::Weighted(&weights),
            &mut gradients,
        );
        let y = nll.read().iter().zip(&weights).map(|(nll, weight)| f64::from(nll * weight)).sum();
        Outcome::from([
            ("y".to_owned(), vec![y]),
            ("hidden".to_owned(), values(&d_hidden)),
            ("head".to_owned(), values(gradients.get(Slot(0)))),
        ])
    }

    fn autodiff(&self) -> Outcome {
        let (hidden, head) = self.inputs();
        let (hidden, head) = (reference::leaf(&hidden), reference::leaf(&head));
        let n = self.targets.len();
        let mut picked = vec![0.0; n * self.vocab];
        self.counted().for_each(|(row, target)| picked[row * self.vocab + target] = -self.weights[row]);
        let log_p = self.log_p(&hidden, &head);
        let sum = (log_p * reference::constant(picked, [n, self.vocab])).sum().reshape([1, 1]);
        reference::autodiff(&sum, &one(), &[("hidden", &hidden), ("head", &head)])
    }

    fn slopes(&self) -> Outcome {
        let (hidden, head) = self.inputs();
        let weights = self.supervised_weights();
        reference::slopes(&[("hidden", &hidden), ("head", &head)], &one(), &|inputs| {
            let nll = self.nll([&inputs[0], &inputs[1]]);
            vec![nll.iter().zip(&weights).map(|(nll, weight)| nll * f64::from(*weight)).sum()]
        })
    }
}

/// An objective in which a token's weight follows from the scores of all: half the square of the mean over the tokens
/// with an even index, times the mean over the others.
#[derive(Clone, Debug)]
struct Coupled {
    tokens: CrossEntropy,
    gradient: OfHead,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum OfHead {
    Trained,
    Frozen,
}

impl Coupled {
    /// The sums over both kinds, each divided by the number of all.
    fn halves(nll: &[f64]) -> [f64; 2] {
        let n = nll.len() as f64;
        let sum = |odd: usize| nll.iter().skip(odd).step_by(2).sum::<f64>() / n;
        [sum(0), sum(1)]
    }

    fn leaves<'a>(&self, hidden: &'a Tensor<2>, head: &'a Tensor<2>) -> Vec<(&'static str, &'a Tensor<2>)> {
        match self.gradient {
            OfHead::Trained => vec![("hidden", hidden), ("head", head)],
            OfHead::Frozen => vec![("hidden", hidden)],
        }
    }
}

impl Operation for Coupled {
    fn run(&self, kernels: Kernels) -> Outcome {
        let (hidden, head) = self.tokens.inputs();
        let mut gradients = Gradients::zeros([head.dims()], &Device::flex(), kernels);
        let head = match self.gradient {
            OfHead::Trained => CrossEntropy::trained(head),
            OfHead::Frozen => Param::frozen(head),
        };
        let mut y = Vec::new();
        let mut derivative = |nll: &[f32]| {
            let nll: Vec<f64> = nll.iter().map(|nll| f64::from(*nll)).collect();
            let ([even, odd], n) = (Self::halves(&nll), nll.len() as f64);
            y.push(even * even / 2.0 * odd);
            let of = |i: usize| if i.is_multiple_of(2) { even * odd / n } else { even * even / 2.0 / n };
            (0..nll.len()).map(|i| of(i) as f32).collect::<Vec<_>>()
        };
        let targets = &self.tokens.targets;
        let objective = Objective::Coupled(&mut derivative);
        let head = Head { softcap: self.tokens.softcap, ..Head::plain(&head) };
        let (nll, d_hidden) = forward_backward(kernels, head, (&hidden, targets), objective, &mut gradients);
        assert_eq!(nll.read().len(), self.tokens.counted().count());
        let mut outcome = Outcome::from([("y".to_owned(), y), ("hidden".to_owned(), values(&d_hidden))]);
        if self.gradient == OfHead::Trained {
            outcome.insert("head".to_owned(), values(gradients.get(Slot(0))));
        }
        outcome
    }

    fn autodiff(&self) -> Outcome {
        let (hidden, head) = self.tokens.inputs();
        let (hidden, head) = (reference::leaf(&hidden), reference::leaf(&head));
        let nll = self.tokens.recorded_log_p(&hidden, &head).neg();
        let n = nll.dims()[0];
        let of = |odd: usize| {
            let picked = (0..n).map(|i| if i % 2 == odd { 1.0 / n as f32 } else { 0.0 }).collect();
            (nll.clone() * reference::constant(picked, [n, 1])).sum().reshape([1, 1])
        };
        let (even, odd) = (of(0), of(1));
        let y = even.clone() * even * odd * 0.5;
        reference::autodiff(&y, &one(), &self.leaves(&hidden, &head))
    }

    fn slopes(&self) -> Outcome {
        let (hidden, head) = self.tokens.inputs();
        let frozen = values(&head);
        reference::slopes(&self.leaves(&hidden, &head), &one(), &|inputs| {
            let [even, odd] = Self::halves(&self.tokens.nll([&inputs[0], inputs.get(1).unwrap_or(&frozen)]));
            vec![even * even / 2.0 * odd]
        })
    }
}

/// Every third target is ignored, and the rest is random.
fn case(n_tokens: usize, [hidden, vocab]: [usize; 2]) -> CrossEntropy {
    let mut draw = Draw::new(18);
    let target = |i| if i % 3 == 1 { IGNORED } else { draw.count(0..vocab) as i32 };
    let targets: Vec<i32> = (0..n_tokens).map(target).collect();
    let weights = targets.iter().map(|_| draw.count(0..30) as f32 / 20.0).collect();
    CrossEntropy { hidden, vocab, targets, weights, softcap: None }
}

fn capped(cap: f32, case: CrossEntropy) -> CrossEntropy {
    CrossEntropy { softcap: Some(cap), ..case }
}

#[test]
fn cross_entropy_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(19);
    let mut cases = vec![case(1, [1, 1]), case(1, [3, 2]), case(50, [16, 512]), case(400, [33, 97])];
    cases.extend([capped(3.0, case(50, [16, 512])), capped(30.0, case(400, [33, 97]))]);
    cases.extend((0..12).map(|_| case(draw.count(1..60), [draw.count(1..40), draw.count(2..700)])));
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
fn another_weight_is_noticed() {
    let right = case(7, [4, 11]);
    let mut wrong = right.clone();
    wrong.weights[3] += 0.5;
    assert_differs(&right, &wrong);
}

#[test]
fn weights_that_follow_from_all_scores_have_the_gradients_of_autodiff() {
    for gradient in [OfHead::Trained, OfHead::Frozen] {
        let of = |tokens| Coupled { tokens, gradient };
        assert_equals_autodiff(&[
            of(case(4, [3, 5])),
            of(case(50, [16, 512])),
            of(capped(3.0, case(50, [16, 512]))),
            // Several chunks.
            of(case(195, [3, 1 << 16])),
        ]);
        assert_equals_slopes(&[of(case(4, [3, 5])), of(case(7, [4, 11]))]);
        let (right, mut wrong) = (of(case(7, [4, 11])), of(case(7, [4, 11])));
        wrong.tokens.targets[3] = (wrong.tokens.targets[3] + 1) % 11;
        assert_differs(&right, &wrong);
    }
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
            Objective::Weighted(&trained.supervised_weights()),
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
