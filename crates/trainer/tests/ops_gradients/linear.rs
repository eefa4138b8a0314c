//! Linear layers with bias, low-rank updates and dropout.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::dropout::{Key, Mask};
use ftl_trainer::ops::linear::{BackwardInput, HalfFactors, InputGradient, Linear, Lora, LoraPart};
use ftl_trainer::ops::param::{Gradients, Param, Slot};

use crate::draw::Draw;
use crate::operation::{Operation, TOLERANCE, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, difference_of, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Layer {
    n_tokens: usize,
    n_in: usize,
    n_out: usize,
    base: Base,
    bias: Option<Base>,
    parts: Vec<Part>,
    /// Seed of the mask; `None`: nothing is dropped.
    dropout: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Base {
    Frozen,
    Trained,
}

#[derive(Clone, Debug)]
struct Part {
    outputs: Range<usize>,
    rank: usize,
    scale: f32,
}

const DROPOUT_PROB: f64 = 0.4;

/// Everything that the layer reads, by name; trained weights are in the order of their slots.
struct Inputs {
    x: Tensor<2>,
    dy: Tensor<2>,
    weights: Vec<Weight>,
}

struct Weight {
    name: String,
    value: Tensor<2>,
    base: Base,
}

impl Layer {
    fn inputs(&self) -> Inputs {
        let mut draw = Draw::new(13);
        let mut weights = Vec::new();
        let mut weight =
            |name: &str, value, base| weights.push(Weight { name: name.to_owned(), value, base });
        let (x, dy) = (draw.tensor([self.n_tokens, self.n_in]), draw.tensor([self.n_tokens, self.n_out]));
        weight("weight", draw.tensor([self.n_out, self.n_in]), self.base);
        if let Some(base) = self.bias {
            weight("bias", draw.tensor([1, self.n_out]), base);
        }
        if !self.parts.is_empty() {
            weight("a", draw.tensor([self.ranks(), self.n_in]), Base::Trained);
        }
        for (i, part) in self.parts.iter().enumerate() {
            weight(&format!("b{i}"), draw.tensor([part.outputs.len(), part.rank]), Base::Trained);
        }
        Inputs { x, dy, weights }
    }

    fn ranks(&self) -> usize {
        self.parts.iter().map(|part| part.rank).sum()
    }

    fn mask(&self) -> Option<Mask> {
        self.dropout.map(|seed| Mask::new(Key::new(seed), DROPOUT_PROB))
    }

    /// What the inputs of A are multiplied by.
    fn factors(&self) -> Vec<f32> {
        let mask = self.mask();
        let factor = |i| mask.as_ref().map_or(1.0, |mask| mask.factor(i));
        (0..(self.n_tokens * self.n_in) as u64).map(factor).collect()
    }

    /// The layer, its weights' slots counted from 0, and zeros for their gradients.
    fn build(&self, weights: &[Weight], kernels: Kernels) -> (Linear, Gradients) {
        let mut shapes = Vec::new();
        let mut param = |weight: &Weight| {
            let slot = (weight.base == Base::Trained).then(|| {
                shapes.push(weight.value.dims());
                Slot(shapes.len() - 1)
            });
            Param { slot, ..Param::frozen(weight.value.clone()) }
        };
        let mut rest = weights.iter();
        let mut next = || param(rest.next().expect("as many weights as `inputs` made"));
        let weight = next();
        let bias = self.bias.map(|_| next());
        let lora = (!self.parts.is_empty()).then(|| {
            let a = next();
            let mut end = 0;
            let parts = self.parts.iter().map(|part| {
                let ranks = end..end + part.rank;
                end = ranks.end;
                LoraPart { outputs: part.outputs.clone(), ranks, b: next(), scale: part.scale, dora: None }
            });
            Lora { a, parts: parts.collect(), dropout_prob: DROPOUT_PROB, half: HalfFactors::default() }
        });
        (Linear { weight: weight.into(), bias, lora }, Gradients::zeros(shapes, &Device::flex(), kernels))
    }

    /// The gradients of the trained weights after `n_microbatches` equal ones, and y and dx of the last.
    fn run_often(&self, kernels: Kernels, want: InputGradient, n_microbatches: usize) -> Outcome {
        let Inputs { x, dy, weights } = self.inputs();
        let (linear, mut gradients) = self.build(&weights, kernels);
        let mask = self.mask();
        let mut outcome = Outcome::new();
        for _ in 0..n_microbatches {
            let (y, saved) = linear.forward(kernels, &x, mask.as_ref());
            outcome.insert("y".to_owned(), values(&y));
            let input = BackwardInput { x: &x, saved: &saved, dropout: mask.as_ref(), dy: &dy };
            let dx = linear.backward(kernels, input, want, &mut gradients);
            outcome.extend(dx.map(|dx| ("x".to_owned(), values(&dx))));
        }
        let trained = weights.into_iter().filter(|weight| weight.base == Base::Trained);
        outcome.extend(trained.zip(gradients.iter()).map(|(weight, sum)| (weight.name, values(sum))));
        outcome
    }
}

impl Operation for Layer {
    fn run(&self, kernels: Kernels) -> Outcome {
        self.run_often(kernels, InputGradient::Wanted, 1)
    }

    fn autodiff(&self) -> Outcome {
        let Inputs { x, dy, weights } = self.inputs();
        let x = reference::leaf(&x);
        let tensors: Vec<Tensor<2>> = weights.iter().map(|weight| reference::leaf(&weight.value)).collect();
        let named = |name: &str| weights.iter().position(|weight| weight.name == name).map(|i| &tensors[i]);
        // With the dense update: W + s B A where nothing is dropped, so each part makes its own columns.
        let dropped = x.clone() * reference::constant(self.factors(), [self.n_tokens, self.n_in]);
        let mut y = x.clone().matmul(tensors[0].clone().transpose());
        if let Some(bias) = named("bias") {
            y = y + bias.clone().expand([self.n_tokens, self.n_out]);
        }
        let mut first_rank = 0;
        for (i, part) in self.parts.iter().enumerate() {
            let a = named("a").expect("a part has an A").clone().narrow(0, first_rank, part.rank);
            first_rank += part.rank;
            let b = named(&format!("b{i}")).expect("a part has a B").clone();
            let update = dropped.clone().matmul(b.matmul(a).mul_scalar(part.scale).transpose());
            let zeros = |width: usize| Tensor::zeros([self.n_tokens, width], &reference::device());
            let Range { start, end } = part.outputs.clone();
            let columns = [
                (start > 0).then(|| zeros(start)),
                Some(update),
                (end < self.n_out).then(|| zeros(self.n_out - end)),
            ];
            y = y + Tensor::cat(columns.into_iter().flatten().collect(), 1);
        }
        let trained = weights.iter().zip(&tensors).filter(|(weight, _)| weight.base == Base::Trained);
        let mut leaves: Vec<(&str, &Tensor<2>)> = trained.map(|(w, leaf)| (w.name.as_str(), leaf)).collect();
        leaves.push(("x", &x));
        reference::autodiff(&y, &dy, &leaves)
    }

    fn slopes(&self) -> Outcome {
        let Inputs { x, dy, weights } = self.inputs();
        let mut inputs = vec![("x", &x)];
        inputs.extend(weights.iter().map(|weight| (weight.name.as_str(), &weight.value)));
        let mut outcome = reference::slopes(&inputs, &dy, &|at| self.formula(at));
        let frozen = weights.iter().filter(|weight| weight.base == Base::Frozen);
        frozen.for_each(|weight| drop(outcome.remove(&weight.name)));
        outcome
    }
}

impl Layer {
    fn formula(&self, at: &[Vec<f64>]) -> Vec<f64> {
        let (x, weight) = (&at[0], &at[1]);
        let (bias, low_rank) = at[2..].split_at(usize::from(self.bias.is_some()));
        let factors = self.factors();
        let mut y = vec![0.0; self.n_tokens * self.n_out];
        for (place, y) in y.iter_mut().enumerate() {
            let (t, o) = (place / self.n_out, place % self.n_out);
            *y = bias.first().map_or(0.0, |bias| bias[o]);
            for i in 0..self.n_in {
                *y += x[t * self.n_in + i] * weight[o * self.n_in + i];
            }
            let mut first_rank = 0;
            for (part_index, part) in self.parts.iter().enumerate() {
                if part.outputs.contains(&o) {
                    let (a, b) = (&low_rank[0], &low_rank[1 + part_index]);
                    for (r, i) in (0..part.rank).flat_map(|r| (0..self.n_in).map(move |i| (r, i))) {
                        let dropped = x[t * self.n_in + i] * f64::from(factors[t * self.n_in + i]);
                        let b = b[(o - part.outputs.start) * part.rank + r];
                        *y += f64::from(part.scale) * b * a[(first_rank + r) * self.n_in + i] * dropped;
                    }
                }
                first_rank += part.rank;
            }
        }
        y
    }
}

const fn frozen(n_tokens: usize, n_in: usize, n_out: usize) -> Layer {
    Layer { n_tokens, n_in, n_out, base: Base::Frozen, bias: None, parts: Vec::new(), dropout: None }
}

fn trained(n_tokens: usize, n_in: usize, n_out: usize) -> Layer {
    Layer { base: Base::Trained, ..frozen(n_tokens, n_in, n_out) }
}

fn part(outputs: Range<usize>, rank: usize, scale: f32) -> Part {
    Part { outputs, rank, scale }
}

/// Each way in which a layer is used; `k` stretches the sizes.
fn uses(k: usize) -> Vec<Layer> {
    let (n, i, o) = (3 * k, 4 * k, 6 * k);
    let all = vec![part(0..3 * k, 2, 2.0), part(3 * k..5 * k, 1, 0.5), part(5 * k..o, 3, 1.0)];
    let last = vec![part(4 * k..o, 2, 1.5)];
    let outer = vec![part(0..k, 1, 1.0), part(4 * k..o, 2, 1.5)];
    vec![
        frozen(n, i, o),
        trained(n, i, o),
        Layer { bias: Some(Base::Frozen), ..frozen(n, i, o) },
        Layer { bias: Some(Base::Trained), ..frozen(n, i, o) },
        Layer { bias: Some(Base::Trained), ..trained(n, i, o) },
        Layer { parts: all.clone(), ..frozen(n, i, o) },
        Layer { parts: last, bias: Some(Base::Frozen), ..frozen(n, i, o) },
        Layer { parts: outer.clone(), dropout: Some(1), ..frozen(n, i, o) },
        Layer { parts: all, dropout: Some(2), bias: Some(Base::Trained), ..trained(n, i, o) },
        Layer { parts: outer, ..trained(1, 1, o) },
    ]
}

#[test]
fn linear_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(14);
    let mut cases = [uses(1), uses(5), uses(24)].concat();
    // Sums of rows are taken 64 at a time.
    cases.push(Layer { bias: Some(Base::Trained), ..trained(129, 65, 17) });
    cases.extend((0..20).map(|_| {
        let sizes = [draw.count(1..150), draw.count(1..70), draw.count(1..70)];
        let outputs = draw.count(0..sizes[2])..sizes[2];
        let parts = vec![part(outputs, draw.count(1..9), 0.7)];
        Layer { parts, dropout: Some(draw.count(0..99) as u64), ..trained(sizes[0], sizes[1], sizes[2]) }
    }));
    assert_equals_autodiff(&cases);
}

#[test]
fn linear_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&uses(1));
}

#[test]
fn another_scale_or_mask_of_a_low_rank_update_is_noticed() {
    let right = Layer { parts: vec![part(1..4, 2, 1.0)], dropout: Some(1), ..frozen(3, 5, 6) };
    assert_differs(&right, &Layer { parts: vec![part(1..4, 2, 1.1)], ..right.clone() });
    assert_differs(&right, &Layer { parts: vec![part(2..5, 2, 1.0)], ..right.clone() });
    assert_differs(&right, &Layer { dropout: Some(2), ..right.clone() });
    assert_differs(&right, &Layer { dropout: None, ..right.clone() });
}

#[test]
fn an_unused_input_gradient_leaves_the_weights_gradients_alone() {
    for layer in uses(2) {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let mut wanted = layer.run_often(kernels, InputGradient::Wanted, 1);
            let unused = layer.run_often(kernels, InputGradient::Unused, 1);
            assert_ne!(wanted, unused);
            wanted.remove("x");
            assert_eq!(wanted, unused);
        }
    }
}

#[test]
fn gradients_add_up_over_microbatches() {
    for layer in uses(2) {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let [once, twice] = [1, 2].map(|n| layer.run_often(kernels, InputGradient::Wanted, n));
            for (name, once) in once {
                let factor = if name == "x" || name == "y" { 1.0 } else { 2.0 };
                let want: Vec<f64> = once.iter().map(|value| value * factor).collect();
                assert!(difference_of(&twice[&name], &want) < TOLERANCE, "{kernels:?} {name}");
                assert!(factor == 1.0 || difference_of(&twice[&name], &once) > 10.0 * TOLERANCE);
            }
        }
    }
}
