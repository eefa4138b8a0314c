//! Low-rank updates of the embedding and of the head.

use burn::tensor::{Device, Tensor, activation};
use ftl_trainer::data::sample::IGNORED;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::cross_entropy::{Head, Objective, forward_backward, logits, score};
use ftl_trainer::ops::dropout::{Key, Mask};
use ftl_trainer::ops::embedding::{self, EmbeddingLora};
use ftl_trainer::ops::linear::{HalfFactors, Linear, Lora, LoraPart};
use ftl_trainer::ops::param::{Gradients, Param, Slot};

use crate::draw::Draw;
use crate::operation::{Operation, TOLERANCE, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, difference_of, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Embedding {
    vocab: usize,
    hidden: usize,
    rank: usize,
    scale: f32,
    ids: Vec<u32>,
}

impl Embedding {
    /// W, A, B and dy.
    fn inputs(&self) -> [Tensor<2>; 4] {
        let Self { vocab, hidden, rank, ids, .. } = self;
        let mut draw = Draw::new(51);
        [[*vocab, *hidden], [*rank, *vocab], [*hidden, *rank], [ids.len(), *hidden]].map(|s| draw.tensor(s))
    }
}

fn trained(value: Tensor<2>, slot: usize) -> Param {
    Param { slot: Some(Slot(slot)), ..Param::frozen(value) }
}

impl Operation for Embedding {
    fn run(&self, kernels: Kernels) -> Outcome {
        let [weight, a, b, dy] = self.inputs();
        let mut gradients = Gradients::zeros([a.dims(), b.dims()], &Device::flex(), kernels);
        let lora = EmbeddingLora { a: trained(a, 0), b: trained(b, 1), scale: self.scale };
        let y = embedding::forward(kernels, &Param::frozen(weight), &self.ids);
        let y = lora.forward(kernels, &self.ids, y);
        lora.backward(kernels, &self.ids, &dy, &mut gradients);
        let mut outcome = Outcome::from([("y".to_owned(), values(&y))]);
        outcome.extend(
            ["a", "b"].into_iter().zip(gradients.iter()).map(|(name, g)| (name.to_owned(), values(g))),
        );
        outcome
    }

    fn autodiff(&self) -> Outcome {
        let [weight, a, b, dy] = self.inputs();
        let (a, b) = (reference::leaf(&a), reference::leaf(&b));
        let table = reference::recorded(&weight)
            + a.clone().transpose().matmul(b.clone().transpose()).mul_scalar(self.scale);
        let n = self.ids.len();
        let mut one_hot = vec![0.0; n * self.vocab];
        self.ids.iter().enumerate().for_each(|(row, id)| one_hot[row * self.vocab + *id as usize] = 1.0);
        let y = reference::constant(one_hot, [n, self.vocab]).matmul(table);
        reference::autodiff(&y, &dy, &[("a", &a), ("b", &b)])
    }

    fn slopes(&self) -> Outcome {
        let [weight, a, b, dy] = self.inputs();
        let weight = values(&weight);
        reference::slopes(&[("a", &a), ("b", &b)], &dy, &|at| {
            let entry = |id: usize, h: usize| {
                let update: f64 =
                    (0..self.rank).map(|r| at[0][r * self.vocab + id] * at[1][h * self.rank + r]).sum();
                weight[id * self.hidden + h] + f64::from(self.scale) * update
            };
            self.ids.iter().flat_map(|id| (0..self.hidden).map(move |h| entry(*id as usize, h))).collect()
        })
    }
}

fn embedding(vocab: usize, hidden: usize, rank: usize, ids: &[u32]) -> Embedding {
    Embedding { vocab, hidden, rank, scale: 1.5, ids: ids.to_vec() }
}

#[test]
fn embeddings_have_the_gradients_of_autodiff() {
    let mut draw = Draw::new(6);
    let mut cases = vec![embedding(1, 1, 1, &[0, 0, 0]), embedding(5, 3, 2, &[4, 0, 4, 4, 2])];
    cases.extend((0..12).map(|_| {
        let (vocab, n) = (draw.count(1..60), draw.count(1..200));
        embedding(vocab, draw.count(1..40), draw.count(1..9), &draw.ids(n, vocab))
    }));
    assert_equals_autodiff(&cases);
}

#[test]
fn embeddings_have_the_gradients_of_central_differences() {
    assert_equals_slopes(&[embedding(1, 1, 1, &[0, 0]), embedding(6, 3, 2, &[5, 0, 5, 5, 2])]);
}

#[test]
fn another_token_or_scale_is_noticed() {
    let right = embedding(6, 3, 2, &[5, 0, 5, 5, 2]);
    assert_differs(&right, &embedding(6, 3, 2, &[5, 0, 4, 5, 2]));
    assert_differs(&right, &Embedding { scale: 1.6, ..right.clone() });
}

#[derive(Clone, Debug)]
struct AdaptedHead {
    vocab: usize,
    width: usize,
    rank: usize,
    scale: f32,
    targets: Vec<i32>,
    /// Seed of the mask; `None`: nothing is dropped.
    dropout: Option<u64>,
}

const DROPOUT_PROB: f64 = 0.3;

impl AdaptedHead {
    /// Hidden states, W, A and B.
    fn inputs(&self) -> [Tensor<2>; 4] {
        let Self { vocab, width, rank, targets, .. } = self;
        let mut draw = Draw::new(52);
        [[targets.len(), *width], [*vocab, *width], [*rank, *width], [*vocab, *rank]].map(|s| draw.tensor(s))
    }

    fn linear(&self, [weight, a, b]: [Tensor<2>; 3]) -> Linear {
        let part = LoraPart {
            outputs: 0..self.vocab,
            ranks: 0..self.rank,
            b: trained(b, 1),
            scale: self.scale,
            dora: None,
        };
        let lora = Lora {
            a: trained(a, 0),
            parts: vec![part],
            dropout_prob: DROPOUT_PROB,
            half: HalfFactors::default(),
        };
        Linear { weight: Param::frozen(weight).into(), bias: None, lora: Some(lora) }
    }

    /// What the hidden states are multiplied by before A. The rows that count are numbered among themselves.
    fn factors(&self) -> Vec<f32> {
        let mask = self.dropout.map(|seed| Mask::new(Key::new(seed).fold(0), DROPOUT_PROB));
        let mut row = 0;
        let mut factors = Vec::new();
        for target in &self.targets {
            let of_row = (0..self.width).map(|i| (row * self.width + i) as u64);
            factors.extend(of_row.map(|i| mask.as_ref().map_or(1.0, |mask| mask.factor(i))));
            row += usize::from(*target != IGNORED);
        }
        factors
    }
}

impl Operation for AdaptedHead {
    fn run(&self, kernels: Kernels) -> Outcome {
        let [hidden, weight, a, b] = self.inputs();
        let mut gradients = Gradients::zeros([a.dims(), b.dims()], &Device::flex(), kernels);
        let linear = self.linear([weight, a, b]);
        let weight = linear.weight.param().expect("it is dense");
        let dropout = self.dropout.map(Key::new);
        let head = Head { adapted: Some(&linear), dropout, ..Head::plain(weight) };
        let ones = vec![1.0; self.targets.iter().filter(|target| **target != IGNORED).count()];
        let objective = Objective::Weighted(&ones);
        let (nll, dh) = forward_backward(kernels, head, (&hidden, &self.targets), objective, &mut gradients);
        let sum = nll.read().into_iter().map(f64::from).sum();
        let mut outcome = Outcome::from([("y".to_owned(), vec![sum]), ("hidden".to_owned(), values(&dh))]);
        outcome.extend(
            ["a", "b"].into_iter().zip(gradients.iter()).map(|(name, g)| (name.to_owned(), values(g))),
        );
        outcome
    }

    fn autodiff(&self) -> Outcome {
        let [hidden, weight, a, b] = self.inputs();
        let n = self.targets.len();
        let [hidden, a, b] = [&hidden, &a, &b].map(reference::leaf);
        let dropped = hidden.clone() * reference::constant(self.factors(), [n, self.width]);
        let update = dropped.matmul(b.clone().matmul(a.clone()).mul_scalar(self.scale).transpose());
        let z = hidden.clone().matmul(reference::recorded(&weight).transpose()) + update;
        let mut picked = vec![0.0; n * self.vocab];
        for (row, target) in self.targets.iter().enumerate().filter(|(_, target)| **target != IGNORED) {
            picked[row * self.vocab + *target as usize] = -1.0;
        }
        let sum = (activation::log_softmax(z, 1) * reference::constant(picked, [n, self.vocab])).sum();
        let one = Tensor::ones([1, 1], &Device::flex());
        reference::autodiff(&sum.reshape([1, 1]), &one, &[("hidden", &hidden), ("a", &a), ("b", &b)])
    }

    fn slopes(&self) -> Outcome {
        let [hidden, weight, a, b] = self.inputs();
        let (weight, factors) = (values(&weight), self.factors());
        let one = Tensor::ones([1, 1], &Device::flex());
        reference::slopes(&[("hidden", &hidden), ("a", &a), ("b", &b)], &one, &|at| {
            let logit = |t: usize, v: usize| -> f64 {
                let entry = |i: usize| {
                    let update: f64 =
                        (0..self.rank).map(|r| at[2][v * self.rank + r] * at[1][r * self.width + i]).sum();
                    let kept = f64::from(factors[t * self.width + i]);
                    at[0][t * self.width + i]
                        * (weight[v * self.width + i] + kept * f64::from(self.scale) * update)
                };
                (0..self.width).map(entry).sum()
            };
            let nll = |(t, target): (usize, &i32)| {
                let z: Vec<f64> = (0..self.vocab).map(|v| logit(t, v)).collect();
                z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[*target as usize]
            };
            let counted = self.targets.iter().enumerate().filter(|(_, target)| **target != IGNORED);
            vec![counted.map(nll).sum()]
        })
    }
}

fn head(vocab: usize, width: usize, rank: usize, targets: &[i32]) -> AdaptedHead {
    AdaptedHead { vocab, width, rank, scale: 0.7, targets: targets.to_vec(), dropout: None }
}

fn heads() -> Vec<AdaptedHead> {
    let plain = [head(4, 3, 2, &[1, IGNORED, 3, 0]), head(7, 5, 3, &[6, 6, 2, 0, IGNORED])];
    let dropped = plain.clone().map(|plain| AdaptedHead { dropout: Some(3), ..plain });
    plain.into_iter().chain(dropped).collect()
}

#[test]
fn heads_have_the_gradients_of_autodiff() {
    let mut draw = Draw::new(61);
    let mut cases = heads();
    cases.extend((0..10).map(|i| {
        let (vocab, n) = (draw.count(2..90), draw.count(1..120));
        let targets: Vec<i32> = draw.ids(n, vocab).iter().map(|id| *id as i32).collect();
        AdaptedHead {
            dropout: (i % 2 == 0).then_some(i),
            ..head(vocab, draw.count(1..30), draw.count(1..9), &targets)
        }
    }));
    assert_equals_autodiff(&cases);
}

#[test]
fn heads_have_the_gradients_of_central_differences() {
    assert_equals_slopes(&heads());
}

#[test]
fn another_scale_or_mask_of_a_head_is_noticed() {
    let right = AdaptedHead { dropout: Some(3), ..head(7, 5, 3, &[6, 6, 2, 0]) };
    assert_differs(&right, &AdaptedHead { scale: 0.8, ..right.clone() });
    assert_differs(&right, &AdaptedHead { dropout: Some(4), ..right.clone() });
}

#[test]
fn an_adapted_head_scores_by_its_own_logits() {
    for case in heads() {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let [hidden, weight, a, b] = case.inputs();
            let linear = case.linear([weight.clone(), a.clone(), b.clone()]);
            let base = linear.weight.param().expect("it is dense");
            let head = Head { adapted: Some(&linear), ..Head::plain(base) };
            let merged = Param::frozen(weight + b.matmul(a).mul_scalar(case.scale));
            let [got, want] = [head, Head::plain(&merged)].map(|head| {
                let nll = score(kernels, head, &hidden, &case.targets);
                let nll: Vec<f64> = nll.iter().map(|score| score.nll_nats.into()).collect();
                [nll, values(&logits(kernels, head, &hidden))].concat()
            });
            assert!(difference_of(&got, &want) < TOLERANCE);
            let base = values(&logits(kernels, Head::plain(base), &hidden));
            assert!(difference_of(&got[got.len() - base.len()..], &base) > 10.0 * TOLERANCE);
        }
    }
}

#[test]
fn a_coupled_objective_of_an_adapted_head_sees_what_the_gradient_drops() {
    let case = AdaptedHead { dropout: Some(3), ..head(7, 5, 3, &[6, 6, 2, 0]) };
    for kernels in [Kernels::Plain, Kernels::Cpu] {
        let [hidden, weight, a, b] = case.inputs();
        let linear = case.linear([weight, a.clone(), b.clone()]);
        let base = linear.weight.param().expect("it is dense");
        let dropping = Head { adapted: Some(&linear), dropout: Some(Key::new(3)), ..Head::plain(base) };
        let mut gradients = Gradients::zeros([a.dims(), b.dims()], &Device::flex(), kernels);
        let mut seen = Vec::new();
        let mut derivative = |nll: &[f32]| {
            seen = nll.to_vec();
            vec![1.0; nll.len()]
        };
        let objective = Objective::Coupled(&mut derivative);
        let (nll, _) =
            forward_backward(kernels, dropping, (&hidden, &case.targets), objective, &mut gradients);
        let f64s = |values: &[f32]| values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
        assert!(difference_of(&f64s(&seen), &f64s(&nll.read())) < TOLERANCE);
        let plain = score(kernels, Head { dropout: None, ..dropping }, &hidden, &case.targets);
        let plain: Vec<f64> = plain.iter().map(|score| score.nll_nats.into()).collect();
        assert!(difference_of(&f64s(&seen), &plain) > 10.0 * TOLERANCE);
    }
}
