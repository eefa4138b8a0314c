//! DoRA: linears whose low-rank update turns the rows of the weight, and whose magnitudes are learned. For the
//! gradient the lengths of the turned rows are constants, so the references hold them.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use ftl_core::spec::resolved::Scales;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::dropout::{Key, Mask};
use ftl_trainer::ops::linear::dora::{self, Dora};
use ftl_trainer::ops::linear::{
    BackwardInput, Frozen, HalfFactors, InputGradient, Linear, Lora, LoraPart, Nf4Weight, Weight,
};
use ftl_trainer::ops::param::{Gradients, Param, Piece, Slot};
use ftl_trainer::quant::Quantizer;

use crate::draw::Draw;
use crate::operation::{Operation, TOLERANCE, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, difference, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Layer {
    n_tokens: usize,
    n_in: usize,
    n_out: usize,
    bias: bool,
    parts: Vec<Part>,
    /// Seed of the mask; `None`: nothing is dropped.
    dropout: Option<u64>,
    /// What the first magnitude is; `None`: as drawn.
    first_magnitude: Option<f32>,
}

#[derive(Clone, Debug)]
struct Part {
    outputs: Range<usize>,
    rank: usize,
    scale: f32,
}

const DROPOUT_PROB: f64 = 0.4;

/// What the layer reads: x and dy, then every weight by name.
struct Inputs {
    x: Tensor<2>,
    dy: Tensor<2>,
    weights: Vec<(String, Tensor<2>)>,
}

impl Layer {
    fn inputs(&self) -> Inputs {
        let mut draw = Draw::new(17);
        let (x, dy) = (draw.tensor([self.n_tokens, self.n_in]), draw.tensor([self.n_tokens, self.n_out]));
        let mut weights = vec![("weight".to_owned(), draw.tensor([self.n_out, self.n_in]))];
        if self.bias {
            weights.push(("bias".to_owned(), draw.tensor([1, self.n_out])));
        }
        let n_ranks = self.parts.iter().map(|part| part.rank).sum();
        weights.push(("a".to_owned(), draw.tensor([n_ranks, self.n_in])));
        for (i, part) in self.parts.iter().enumerate() {
            weights.push((format!("b{i}"), draw.tensor([part.outputs.len(), part.rank])));
            let mut magnitude = draw.tensor([1, part.outputs.len()]).mul_scalar(0.3).add_scalar(1.5);
            if let Some(first) = self.first_magnitude {
                let first = Tensor::full([1, 1], first, &Device::flex());
                magnitude = magnitude.slice_assign([0..1, 0..1], first);
            }
            weights.push((format!("m{i}"), magnitude));
        }
        Inputs { x, dy, weights }
    }

    fn mask(&self) -> Option<Mask> {
        self.dropout.map(|seed| Mask::new(Key::new(seed), DROPOUT_PROB))
    }

    fn factors(&self) -> Vec<f32> {
        let mask = self.mask();
        let factor = |i| mask.as_ref().map_or(1.0, |mask| mask.factor(i));
        (0..(self.n_tokens * self.n_in) as u64).map(factor).collect()
    }

    fn build(&self, weights: &[(String, Tensor<2>)], kernels: Kernels) -> (Linear, Gradients) {
        let shapes: Vec<_> = weights.iter().map(|(_, value)| value.dims()).collect();
        let param = |name: &str| {
            let index = weights.iter().position(|(of, _)| of == name).expect("`inputs` made it");
            Param { slot: Some(Slot(index)), ..Param::frozen(weights[index].1.clone()) }
        };
        let weight = Weight::from(param("weight"));
        let mut end = 0;
        let parts = self.parts.iter().enumerate().map(|(i, part)| {
            let ranks = end..end + part.rank;
            end = ranks.end;
            let base_squares = dora::base_squares(kernels, &weight, part.outputs.clone());
            // Wrong on purpose: while the factors are trained, the lengths are taken anew.
            let norms = base_squares.clone();
            let dora = Some(Dora { magnitude: param(&format!("m{i}")), base_squares, norms });
            let b = param(&format!("b{i}"));
            LoraPart { outputs: part.outputs.clone(), ranks, b, scale: part.scale, dora }
        });
        let parts = parts.collect();
        let lora =
            Some(Lora { a: param("a"), parts, dropout_prob: DROPOUT_PROB, half: HalfFactors::default() });
        let bias = self.bias.then(|| param("bias"));
        (Linear { weight, bias, lora }, Gradients::zeros(shapes, &Device::flex(), kernels))
    }

    /// Lengths of the rows of W + s B A; 1 where there is no update.
    fn lengths(&self, weights: &[Vec<f64>]) -> Vec<f64> {
        (0..self.n_out)
            .map(|o| match self.parts.iter().any(|part| part.outputs.contains(&o)) {
                true => (0..self.n_in).map(|i| self.turned(weights, o, i).powi(2)).sum::<f64>().sqrt(),
                false => 1.0,
            })
            .collect()
    }

    /// An entry of W + s B A.
    fn turned(&self, weights: &[Vec<f64>], o: usize, i: usize) -> f64 {
        let rest = 1 + usize::from(self.bias);
        let mut value = weights[0][o * self.n_in + i];
        let mut first_rank = 0;
        for (index, part) in self.parts.iter().enumerate() {
            if part.outputs.contains(&o) {
                let (a, b) = (&weights[rest], &weights[rest + 1 + 2 * index]);
                for r in 0..part.rank {
                    let b = b[(o - part.outputs.start) * part.rank + r];
                    value += f64::from(part.scale) * b * a[(first_rank + r) * self.n_in + i];
                }
            }
            first_rank += part.rank;
        }
        value
    }

    /// m / n; 1 where there is no update.
    fn column_factors(&self, weights: &[Vec<f64>], lengths: &[f64]) -> Vec<f64> {
        let rest = 1 + usize::from(self.bias);
        let factor = |o: usize| {
            let found = self.parts.iter().enumerate().find(|(_, part)| part.outputs.contains(&o));
            found.map_or(1.0, |(i, part)| weights[rest + 2 + 2 * i][o - part.outputs.start] / lengths[o])
        };
        (0..self.n_out).map(factor).collect()
    }

    fn formula(&self, x: &[f64], weights: &[Vec<f64>], lengths: &[f64]) -> Vec<f64> {
        let (drops, factors) = (self.factors(), self.column_factors(weights, lengths));
        let mut y = vec![0.0; self.n_tokens * self.n_out];
        for (place, y) in y.iter_mut().enumerate() {
            let (t, o) = (place / self.n_out, place % self.n_out);
            *y = if self.bias { weights[1][o] } else { 0.0 };
            for i in 0..self.n_in {
                let (x, w) = (x[t * self.n_in + i], weights[0][o * self.n_in + i]);
                let d = x * f64::from(drops[t * self.n_in + i]);
                // PEFT: result + (m/n - 1) W drop(x) + m/n s B A drop(x).
                *y += w * x - w * d + factors[o] * self.turned(weights, o, i) * d;
            }
        }
        y
    }
}

impl Operation for Layer {
    fn run(&self, kernels: Kernels) -> Outcome {
        let Inputs { x, dy, weights } = self.inputs();
        let (linear, mut gradients) = self.build(&weights, kernels);
        let mask = self.mask();
        let (y, saved) = linear.forward(kernels, &x, mask.as_ref());
        let mut outcome = Outcome::from([("y".to_owned(), values(&y))]);
        let input = BackwardInput { x: &x, saved: &saved, dropout: mask.as_ref(), dy: &dy };
        let dx = linear.backward(kernels, input, InputGradient::Wanted, &mut gradients);
        outcome.insert("x".to_owned(), values(&dx.expect("it was asked for")));
        outcome
            .extend(weights.iter().zip(gradients.iter()).map(|((name, _), sum)| (name.clone(), values(sum))));
        outcome
    }

    fn autodiff(&self) -> Outcome {
        let Inputs { x, dy, weights } = self.inputs();
        let x = reference::leaf(&x);
        let leaves: Vec<Tensor<2>> = weights.iter().map(|(_, value)| reference::leaf(value)).collect();
        let named = |name: &str| {
            let index = weights.iter().position(|(of, _)| of == name).expect("`inputs` made it");
            leaves[index].clone()
        };
        let dropped = x.clone() * reference::constant(self.factors(), [self.n_tokens, self.n_in]);
        let base = |x: &Tensor<2>| x.clone().matmul(named("weight").transpose());
        let mut y = base(&x);
        if self.bias {
            y = y + named("bias").expand([self.n_tokens, self.n_out]);
        }
        let mut first_rank = 0;
        for (i, part) in self.parts.iter().enumerate() {
            let rows = part.outputs.clone();
            let a = named("a").narrow(0, first_rank, part.rank);
            first_rank += part.rank;
            let delta = named(&format!("b{i}")).matmul(a).mul_scalar(part.scale);
            let turned = named("weight").slice([rows.clone(), 0..self.n_in]) + delta.clone();
            let lengths = turned.square().sum_dim(1).sqrt().transpose().detach();
            let factors = (named(&format!("m{i}")) / lengths).expand([self.n_tokens, rows.len()]);
            let of_rows = base(&dropped).slice([0..self.n_tokens, rows.clone()]);
            let update =
                (factors.clone() - 1.0) * of_rows + factors * dropped.clone().matmul(delta.transpose());
            let zeros = |width: usize| Tensor::zeros([self.n_tokens, width], &reference::device());
            let columns = [
                (rows.start > 0).then(|| zeros(rows.start)),
                Some(update),
                (rows.end < self.n_out).then(|| zeros(self.n_out - rows.end)),
            ];
            y = y + Tensor::cat(columns.into_iter().flatten().collect(), 1);
        }
        let mut named: Vec<(&str, &Tensor<2>)> =
            weights.iter().zip(&leaves).map(|((name, _), leaf)| (name.as_str(), leaf)).collect();
        named.push(("x", &x));
        reference::autodiff(&y, &dy, &named)
    }

    fn slopes(&self) -> Outcome {
        let Inputs { x, dy, weights } = self.inputs();
        let start: Vec<Vec<f64>> = weights.iter().map(|(_, value)| values(value)).collect();
        let lengths = self.lengths(&start);
        let mut inputs = vec![("x", &x)];
        inputs.extend(weights.iter().map(|(name, value)| (name.as_str(), value)));
        reference::slopes(&inputs, &dy, &|at| self.formula(&at[0], &at[1..], &lengths))
    }
}

const fn layer(n_tokens: usize, n_in: usize, n_out: usize, parts: Vec<Part>) -> Layer {
    Layer { n_tokens, n_in, n_out, bias: false, parts, dropout: None, first_magnitude: None }
}

fn part(outputs: Range<usize>, rank: usize, scale: f32) -> Part {
    Part { outputs, rank, scale }
}

/// Each way in which a layer is used; `k` stretches the sizes.
fn uses(k: usize) -> Vec<Layer> {
    let (n, i, o) = (3 * k, 4 * k, 6 * k);
    let all = vec![part(0..3 * k, 2, 2.0), part(3 * k..5 * k, 1, 0.5), part(5 * k..o, 3, 1.0)];
    let outer = vec![part(0..k, 1, 1.0), part(4 * k..o, 2, 1.5)];
    let plain = [
        layer(n, i, o, vec![part(0..o, 2, 1.0)]),
        layer(n, i, o, all),
        layer(n, i, o, outer.clone()),
        layer(1, 2 * i, o, outer),
    ];
    let mut uses = Vec::new();
    for plain in plain {
        let biased = Layer { bias: true, ..plain.clone() };
        let dropped = [1, 2].map(|seed| Layer { dropout: Some(seed), ..plain.clone() });
        let zero =
            [None, Some(3)].map(|dropout| Layer { first_magnitude: Some(0.0), dropout, ..biased.clone() });
        let all = Layer { dropout: Some(4), ..biased.clone() };
        uses.extend([plain, biased, all].into_iter().chain(dropped).chain(zero));
    }
    uses
}

#[test]
fn dora_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(14);
    let mut cases = [uses(1), uses(5), uses(24)].concat();
    cases.extend((0..20).map(|_| {
        // Of a few inputs, an update may leave of a row next to nothing, of which no f32 knows the length.
        let sizes = [draw.count(1..150), draw.count(12..70), draw.count(1..70)];
        let outputs = draw.count(0..sizes[2])..sizes[2];
        let parts = vec![part(outputs, draw.count(1..9), 0.7)];
        let dropout = Some(draw.count(0..99) as u64).filter(|seed| seed % 2 == 0);
        Layer { dropout, bias: draw.count(0..2) == 0, ..layer(sizes[0], sizes[1], sizes[2], parts) }
    }));
    assert_equals_autodiff(&cases);
}

#[test]
fn dora_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&uses(1));
}

#[test]
fn another_scale_mask_or_magnitude_is_noticed() {
    let right = Layer { dropout: Some(1), ..layer(3, 5, 6, vec![part(1..4, 2, 1.0)]) };
    assert_differs(&right, &Layer { parts: vec![part(1..4, 2, 1.1)], ..right.clone() });
    assert_differs(&right, &Layer { parts: vec![part(2..5, 2, 1.0)], ..right.clone() });
    assert_differs(&right, &Layer { dropout: Some(2), ..right.clone() });
    assert_differs(&right, &Layer { dropout: None, ..right.clone() });
    assert_differs(&right, &Layer { first_magnitude: Some(1.0), ..right.clone() });
}

#[test]
fn a_frozen_update_takes_the_lengths_that_were_computed_once() {
    for case in uses(2) {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let Inputs { x, weights, .. } = case.inputs();
            let (mut linear, _) = case.build(&weights, kernels);
            let y = |linear: &Linear| {
                Outcome::from([("y".to_owned(), values(&linear.forward(kernels, &x, None).0))])
            };
            let want = y(&linear);
            linear.for_each_param_mut(&mut |param| param.slot = None);
            // `build` put something else in their place.
            assert!(difference(&y(&linear), &want) > 10.0 * TOLERANCE);
            let lora = linear.lora.as_mut().expect("a layer with an update");
            let norms = dora::norms(kernels, &linear.weight, lora);
            for (part, norms) in lora.parts.iter_mut().zip(norms) {
                part.dora.as_mut().expect("with magnitudes").norms = norms;
            }
            assert!(difference(&y(&linear), &want) < TOLERANCE);
        }
    }
}

#[test]
fn dora_beside_a_base_in_four_bits_is_dora_beside_what_its_codes_stand_for() {
    for case in uses(24) {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let Inputs { x, dy, mut weights } = case.inputs();
            let values_of: Vec<f32> = weights[0].1.to_data().try_into_vec().expect("f32");
            let mut quantizer = Quantizer::new(values_of.len());
            quantizer.push(&values_of);
            let codes = quantizer.finish(Scales::F32, &Device::flex());
            let shape = vec![case.n_out, case.n_in];
            let piece = Piece { name: String::new(), values: 0..values_of.len(), shape };
            let four_bits = Weight::Nf4(Nf4Weight::new(case.n_in, vec![piece], vec![Frozen::Nf4(codes)]));
            weights[0].1 = four_bits.dense(Kernels::Plain);
            let run = |four_bits: Option<&Weight>| {
                let (mut linear, mut gradients) = case.build(&weights, kernels);
                if let Some(weight) = four_bits {
                    linear.weight = weight.clone();
                    for part in &mut linear.lora.as_mut().expect("an update").parts {
                        let squares = dora::base_squares(kernels, weight, part.outputs.clone());
                        part.dora.as_mut().expect("magnitudes").base_squares = squares;
                    }
                }
                let mask = case.mask();
                let (y, saved) = linear.forward(kernels, &x, mask.as_ref());
                let input = BackwardInput { x: &x, saved: &saved, dropout: mask.as_ref(), dy: &dy };
                let dx = linear.backward(kernels, input, InputGradient::Wanted, &mut gradients);
                let mut outcome = Outcome::from([("y".to_owned(), values(&y))]);
                outcome.insert("x".to_owned(), values(&dx.expect("it was asked for")));
                // The base's own gradient is the first.
                let rest = weights.iter().zip(gradients.iter()).skip(1);
                outcome.extend(rest.map(|((name, _), sum)| (name.clone(), values(sum))));
                outcome
            };
            let seen = difference(&run(Some(&four_bits)), &run(None));
            assert!(seen < TOLERANCE, "{case:?} {kernels:?}: {seen:.1e}");
        }
    }
}
