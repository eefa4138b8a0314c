//! Attention inside segments.

use std::ops::Range;

use burn::tensor::{Bool, Tensor, TensorData, activation};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::attention::{AttentionShape, Segments, backward, cached, forward};

use crate::draw::Draw;
use crate::operation::{Operation, TOLERANCE, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, difference, difference_of, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Attention {
    lengths: Vec<usize>,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    softcap: Option<f32>,
    /// What q, k and v are multiplied by: scores grow with its square.
    spread: f64,
}

impl Attention {
    fn shape(&self) -> AttentionShape {
        let Self { n_heads, n_kv_heads, head_dim, window, softcap, .. } = *self;
        let scale = 0.8 / (head_dim as f32).sqrt();
        AttentionShape { n_heads, n_kv_heads, head_dim, scale, window, softcap }
    }

    fn n_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }

    fn segments(&self) -> Vec<Range<usize>> {
        let mut end = 0;
        let next = |length: &usize| {
            let start = end;
            end += length;
            start..end
        };
        self.lengths.iter().map(next).collect()
    }

    fn inputs(&self) -> (Tensor<2>, Tensor<2>) {
        let mut draw = Draw::new(15);
        let qkv = draw.tensor([self.n_tokens(), self.shape().width()]).mul_scalar(self.spread);
        (qkv, draw.tensor([self.n_tokens(), self.n_heads * self.head_dim]))
    }

    /// Whether query `i` sees key `j`, for all i and j.
    fn seen(&self) -> Vec<bool> {
        let segment_of: Vec<usize> =
            self.segments().into_iter().enumerate().flat_map(|(i, rows)| rows.map(move |_| i)).collect();
        let n = self.n_tokens();
        let near = |i: usize, j: usize| self.window.is_none_or(|window| i - j < window);
        let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
        pairs.map(|(i, j)| j <= i && segment_of[i] == segment_of[j] && near(i, j)).collect()
    }
}

impl Operation for Attention {
    fn run(&self, kernels: Kernels) -> Outcome {
        let (qkv, dy) = self.inputs();
        let (segments, shape) = (self.segments(), self.shape());
        let segments = Segments::new(kernels, &segments, &qkv.device());
        let saved = forward(kernels, qkv, &segments, &shape);
        let y = values(&saved.y);
        let dqkv = backward(kernels, saved, &dy, &segments, &shape);
        Outcome::from([("y".to_owned(), y), ("qkv".to_owned(), values(&dqkv))])
    }

    fn autodiff(&self) -> Outcome {
        let (qkv, dy) = self.inputs();
        let qkv = reference::leaf(&qkv);
        let (n, d, shape) = (self.n_tokens(), self.head_dim, self.shape());
        let hidden: Vec<bool> = self.seen().into_iter().map(|seen| !seen).collect();
        let hidden = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [n, n]), &reference::device());
        let head = |index: usize| qkv.clone().narrow(1, index * d, d);
        let outputs = (0..self.n_heads).map(|index| {
            let kv_head = index * self.n_kv_heads / self.n_heads;
            let k = head(self.n_heads + kv_head);
            let v = head(self.n_heads + self.n_kv_heads + kv_head);
            let scores = head(index).matmul(k.transpose()).mul_scalar(shape.scale);
            let scores = match self.softcap {
                Some(cap) => scores.div_scalar(cap).tanh().mul_scalar(cap),
                None => scores,
            };
            activation::softmax(scores.mask_fill(hidden.clone(), -1e30), 1).matmul(v)
        });
        reference::autodiff(&Tensor::cat(outputs.collect(), 1), &dy, &[("qkv", &qkv)])
    }

    fn slopes(&self) -> Outcome {
        let (qkv, dy) = self.inputs();
        let seen = self.seen();
        reference::slopes(&[("qkv", &qkv)], &dy, &|inputs| self.formula(&inputs[0], &seen))
    }
}

impl Attention {
    fn formula(&self, qkv: &[f64], seen: &[bool]) -> Vec<f64> {
        let (n, d, shape) = (self.n_tokens(), self.head_dim, self.shape());
        let head = |row: usize, index: usize| &qkv[row * shape.width() + index * d..][..d];
        let mut y = Vec::new();
        for (i, index) in (0..n).flat_map(|i| (0..self.n_heads).map(move |index| (i, index))) {
            let kv_head = index / (self.n_heads / self.n_kv_heads);
            let keys: Vec<usize> = (0..n).filter(|j| seen[i * n + j]).collect();
            let weights: Vec<f64> = keys
                .iter()
                .map(|j| {
                    let k = head(*j, self.n_heads + kv_head);
                    let product: f64 = head(i, index).iter().zip(k).map(|(q, k)| q * k).sum();
                    let score = product * f64::from(shape.scale);
                    self.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp()
                })
                .collect();
            let sum: f64 = weights.iter().sum();
            y.extend((0..d).map(|column| {
                let v = |j: &usize| head(*j, self.n_heads + self.n_kv_heads + kv_head)[column];
                keys.iter().zip(&weights).map(|(j, weight)| v(j) * weight / sum).sum::<f64>()
            }));
        }
        y
    }
}

fn case([n_heads, n_kv_heads, head_dim]: [usize; 3], window: Option<usize>, lengths: &[usize]) -> Attention {
    Attention { lengths: lengths.to_vec(), n_heads, n_kv_heads, head_dim, window, softcap: None, spread: 1.0 }
}

fn capped(cap: f32, case: Attention) -> Attention {
    Attention { softcap: Some(cap), ..case }
}

#[test]
fn attention_has_the_gradients_of_autodiff() {
    let mut cases = vec![
        case([1, 1, 2], None, &[1]),
        case([4, 2, 16], None, &[1, 1, 7, 1]),
        case([3, 1, 20], Some(1), &[5, 130]),
        case([2, 2, 64], None, &[300]),
    ];
    // A tile of the CPU version has 128 queries, a chunk of the plain one 256.
    for window in [None, Some(1), Some(5), Some(127), Some(128), Some(129), Some(200), Some(1000)] {
        cases.push(case([2, 1, 6], window, &[127, 128, 129]));
        cases.push(case([4, 2, 10], window, &[255, 1, 256]));
        cases.push(case([2, 2, 4], window, &[257, 300]));
        cases.push(capped(1.5, case([4, 2, 10], window, &[255, 1, 256])));
    }
    cases.push(Attention { spread: 3.0, ..capped(5.0, case([4, 2, 16], None, &[150, 3])) });
    assert_equals_autodiff(&cases);
}

#[test]
fn attention_over_random_segments_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(16);
    let cases: Vec<Attention> = (0..30)
        .map(|_| {
            let lengths: Vec<usize> = (0..draw.count(1..6)).map(|_| draw.count(1..140)).collect();
            let (n_kv_heads, group) = (draw.count(1..4), draw.count(1..4));
            let window = [None, Some(draw.count(1..150))][draw.count(0..2)];
            case([n_kv_heads * group, n_kv_heads, 2 * draw.count(1..20)], window, &lengths)
        })
        .collect();
    assert_equals_autodiff(&cases);
}

#[test]
fn attention_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[
        case([1, 1, 2], None, &[1]),
        case([4, 2, 6], None, &[1, 3, 5]),
        case([3, 1, 2], Some(2), &[6, 1, 2]),
        case([2, 2, 10], Some(1), &[4]),
        capped(0.7, case([4, 2, 6], None, &[1, 3, 5])),
        capped(50.0, case([3, 1, 2], Some(2), &[6, 1, 2])),
    ]);
}

#[test]
fn a_key_that_should_be_hidden_is_noticed() {
    let right = case([4, 2, 6], Some(3), &[2, 3, 4]);
    assert_differs(&right, &case([4, 2, 6], Some(3), &[5, 4]));
    assert_differs(&right, &case([4, 2, 6], Some(4), &[2, 3, 4]));
    assert_differs(&right, &case([4, 2, 6], None, &[2, 3, 4]));
}

#[test]
fn another_limit_of_scores_is_noticed() {
    let right = capped(1.0, case([4, 2, 6], None, &[2, 3, 4]));
    assert_differs(&right, &capped(1.5, right.clone()));
    assert_differs(&right, &case([4, 2, 6], None, &[2, 3, 4]));
}

#[test]
fn attention_stays_exact_for_scores_in_the_hundreds() {
    // A score of 300 is rounded to 3e-5, and its exponential with it.
    let tolerance = 1e-3;
    for window in [None, Some(40)] {
        let large = Attention { spread: 10.0, ..case([4, 2, 16], window, &[150, 3]) };
        let autodiff = large.autodiff();
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let seen = difference(&large.run(kernels), &autodiff);
            println!("{kernels:?}: {seen:.1e}");
            assert!(seen < tolerance, "{kernels:?} {window:?}: {seen:.1e}");
        }
    }
}

#[test]
fn cached_attention_is_the_end_of_attention_over_all() {
    let mut worst = 0f64;
    let variants = [None, Some(1), Some(100), Some(300)].map(|window| (window, None));
    for (window, softcap) in variants.into_iter().chain([(None, Some(0.8)), (Some(100), Some(2.0))]) {
        for (n_all, n_new) in [(1, 1), (9, 1), (9, 9), (300, 1), (300, 7), (600, 257), (513, 513)] {
            let all = Attention { softcap, ..case([4, 2, 10], window, &[n_all]) };
            let (qkv, _) = all.inputs();
            let [q, k, v] = [(0, 40), (40, 20), (60, 20)].map(|(start, n)| qkv.clone().narrow(1, start, n));
            let got = cached(q.narrow(0, n_all - n_new, n_new), &k, &v, &all.shape());
            for kernels in [Kernels::Plain, Kernels::Cpu] {
                let whole = forward(
                    kernels,
                    qkv.clone(),
                    &Segments::new(kernels, &all.segments(), &qkv.device()),
                    &all.shape(),
                )
                .y;
                let want = values(&whole.clone().narrow(0, n_all - n_new, n_new));
                let seen = difference_of(&values(&got), &want);
                assert!(seen < TOLERANCE, "{window:?} {n_new} of {n_all}: {seen:.1e}");
                worst = worst.max(seen);
                if n_all > n_new {
                    let earlier = values(&whole.narrow(0, n_all - n_new - 1, n_new));
                    assert!(difference_of(&values(&got), &earlier) > 10.0 * TOLERANCE);
                }
            }
        }
    }
    println!("worst {worst:.1e}");
}
