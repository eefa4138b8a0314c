//! The norms of queries and keys.

use burn::tensor::{Device, Tensor};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::attention::AttentionShape;
use ftl_trainer::ops::norm::NormWeight;
use ftl_trainer::ops::param::{Gradients, Param, Slot};
use ftl_trainer::ops::qk_norm::{BackwardInput, QkNorm};

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Norms {
    n_tokens: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    over: Over,
    meaning: NormWeight,
    eps: f64,
}

/// What is normalized together.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Head,
    AllHeads,
}

struct Inputs {
    qkv: Tensor<2>,
    q: Tensor<2>,
    k: Tensor<2>,
    dy: Tensor<2>,
}

impl Norms {
    fn shape(&self) -> AttentionShape {
        let Self { n_heads, n_kv_heads, head_dim, .. } = *self;
        AttentionShape { n_heads, n_kv_heads, head_dim, scale: 1.0, window: None, softcap: None }
    }

    /// The widths of a group of q and of one of k.
    fn widths(&self) -> [usize; 2] {
        match self.over {
            Over::Head => [self.head_dim; 2],
            Over::AllHeads => [self.n_heads, self.n_kv_heads].map(|n| n * self.head_dim),
        }
    }

    /// The first column of each group, and whether it is one of k.
    fn groups(&self) -> Vec<(usize, usize)> {
        let q_width = self.n_heads * self.head_dim;
        let [q, k] = self.widths();
        let of_q = (0..q_width).step_by(q).map(|start| (start, 0));
        let of_k = (0..self.n_kv_heads * self.head_dim).step_by(k).map(|start| (q_width + start, 1));
        of_q.chain(of_k).collect()
    }

    fn inputs(&self) -> Inputs {
        let mut draw = Draw::new(41);
        let shape = [self.n_tokens, self.shape().width()];
        let [q, k] = self.widths();
        Inputs {
            qkv: draw.tensor(shape),
            q: draw.tensor([1, q]),
            k: draw.tensor([1, k]),
            dy: draw.tensor(shape),
        }
    }

    /// What is added to the weights.
    fn offset(&self) -> f64 {
        match self.meaning {
            NormWeight::Factor => 0.0,
            NormWeight::OnePlus => 1.0,
        }
    }
}

impl Operation for Norms {
    fn run(&self, kernels: Kernels) -> Outcome {
        let Inputs { qkv, q, k, dy } = self.inputs();
        let mut gradients = Gradients::zeros([q.dims(), k.dims()], &Device::flex(), kernels);
        let trained = |slot, weight| Param { slot: Some(Slot(slot)), ..Param::frozen(weight) };
        let norm = QkNorm { q: trained(0, q), k: trained(1, k), eps: self.eps, meaning: self.meaning };
        let shape = self.shape();
        let (y, inverse_rms) = norm.forward(kernels, &qkv, &shape);
        let input = BackwardInput { qkv: &qkv, inverse_rms: &inverse_rms, shape: &shape };
        let dqkv = norm.backward(kernels, input, dy, &mut gradients);
        Outcome::from([
            ("y".to_owned(), values(&y)),
            ("qkv".to_owned(), values(&dqkv)),
            ("q".to_owned(), values(gradients.get(Slot(0)))),
            ("k".to_owned(), values(gradients.get(Slot(1)))),
        ])
    }

    fn autodiff(&self) -> Outcome {
        let Inputs { qkv, q, k, dy } = self.inputs();
        let (qkv, weights) = (reference::leaf(&qkv), [&q, &k].map(reference::leaf));
        let mut end = 0;
        let mut columns: Vec<Tensor<2>> = Vec::new();
        for (start, part) in self.groups() {
            let width = self.widths()[part];
            let x = qkv.clone().narrow(1, start, width);
            let mean_square = x.clone().powi_scalar(2).sum_dim(1).div_scalar(width as f64);
            let factor = weights[part].clone().add_scalar(self.offset());
            columns.push(x.div((mean_square + self.eps).sqrt()) * factor);
            end = start + width;
        }
        columns.push(qkv.clone().narrow(1, end, self.shape().width() - end));
        let y = Tensor::cat(columns, 1);
        reference::autodiff(&y, &dy, &[("qkv", &qkv), ("q", &weights[0]), ("k", &weights[1])])
    }

    fn slopes(&self) -> Outcome {
        let Inputs { qkv, q, k, dy } = self.inputs();
        reference::slopes(&[("qkv", &qkv), ("q", &q), ("k", &k)], &dy, &|inputs| {
            let mut y = inputs[0].clone();
            for row in y.chunks_mut(self.shape().width()) {
                for (start, part) in self.groups() {
                    let group = &mut row[start..start + self.widths()[part]];
                    let mean_square = group.iter().map(|x| x * x).sum::<f64>() / group.len() as f64;
                    let rms = (mean_square + self.eps).sqrt();
                    for (x, w) in group.iter_mut().zip(&inputs[1 + part]) {
                        *x *= (w + self.offset()) / rms;
                    }
                }
            }
            y
        })
    }
}

fn case(n_tokens: usize, [n_heads, n_kv_heads, head_dim]: [usize; 3], over: Over) -> Norms {
    Norms { n_tokens, n_heads, n_kv_heads, head_dim, over, meaning: NormWeight::Factor, eps: 1e-5 }
}

#[test]
fn qk_norm_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(42);
    let mut cases = Vec::new();
    for over in [Over::Head, Over::AllHeads] {
        cases.extend([case(1, [1, 1, 2], over), case(65, [4, 2, 16], over), case(200, [6, 3, 10], over)]);
        cases.extend((0..10).map(|_| {
            let n_kv_heads = draw.count(1..4);
            let shape = [n_kv_heads * draw.count(1..4), n_kv_heads, 2 * draw.count(1..20)];
            case(draw.count(1..150), shape, over)
        }));
    }
    let one_plus = cases.iter().step_by(3).map(|case| Norms { meaning: NormWeight::OnePlus, ..case.clone() });
    let one_plus: Vec<_> = one_plus.collect();
    assert_equals_autodiff(&[cases, one_plus].concat());
}

#[test]
fn qk_norm_has_the_gradients_of_central_differences() {
    for over in [Over::Head, Over::AllHeads] {
        let cases = [case(1, [1, 1, 2], over), case(4, [4, 2, 6], over), case(2, [3, 1, 4], over)];
        assert_equals_slopes(&cases);
        assert_equals_slopes(&cases.map(|case| Norms { meaning: NormWeight::OnePlus, ..case }));
    }
}

#[test]
fn other_settings_are_noticed() {
    let right = case(4, [4, 2, 6], Over::Head);
    assert_differs(&right, &Norms { eps: 0.1, ..right.clone() });
    assert_differs(&right, &Norms { meaning: NormWeight::OnePlus, ..right.clone() });
}

#[test]
fn frozen_norms_pass_the_same_gradient_on() {
    let case = case(70, [4, 2, 6], Over::Head);
    let Inputs { qkv, q, k, dy } = case.inputs();
    for kernels in [Kernels::Plain, Kernels::Cpu] {
        let through = |slots: [Option<Slot>; 2]| {
            let mut gradients = Gradients::zeros([q.dims(), k.dims()], &Device::flex(), kernels);
            let [q, k] = [(slots[0], &q), (slots[1], &k)]
                .map(|(slot, weight)| Param { slot, ..Param::frozen(weight.clone()) });
            let norm = QkNorm { q, k, eps: case.eps, meaning: case.meaning };
            let inverse_rms = norm.forward(kernels, &qkv, &case.shape()).1;
            let input = BackwardInput { qkv: &qkv, inverse_rms: &inverse_rms, shape: &case.shape() };
            let dqkv = values(&norm.backward(kernels, input, dy.clone(), &mut gradients));
            (dqkv, [0, 1].map(|slot| values(gradients.get(Slot(slot)))))
        };
        let all = through([Some(Slot(0)), Some(Slot(1))]);
        let one = through([None, Some(Slot(1))]);
        let none = through([None, None]);
        assert!(all.0 == one.0 && all.0 == none.0);
        assert!(all.1[1] == one.1[1] && one.1[0].iter().all(|value| *value == 0.0));
        assert!(none.1.concat().iter().all(|value| *value == 0.0));
        assert!(all.1[0].iter().any(|value| *value != 0.0));
    }
}
