//! Linear layers whose matrix is held in 4 bits, against the same layer with the matrix that the codes stand for.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use ftl_core::spec::resolved::Scales;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::linear::{
    BackwardInput, Frozen, HalfFactors, InputGradient, Linear, Lora, LoraPart, Nf4Weight, Weight,
};
use ftl_trainer::ops::param::{Gradients, Param, Piece, Slot};
use ftl_trainer::quant::{Nf4Tensor, Quantizer};

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

#[derive(Clone, Debug)]
struct Layer {
    n_tokens: usize,
    n_in: usize,
    /// Rows of each tensor of the matrix.
    n_rows: Vec<usize>,
    scales: Scales,
    bias: bool,
    /// Outputs and rank of the low-rank update, if there is one.
    lora: Option<(Range<usize>, usize)>,
    /// A tensor that is not quantized.
    dense: Option<usize>,
}

struct Inputs {
    x: Tensor<2>,
    dy: Tensor<2>,
    parts: Vec<Frozen>,
    bias: Tensor<2>,
    a: Tensor<2>,
    b: Tensor<2>,
}

const LORA_SCALE: f32 = 1.5;

impl Layer {
    fn n_out(&self) -> usize {
        self.n_rows.iter().sum()
    }

    fn inputs(&self) -> Inputs {
        let mut draw = Draw::new(31);
        let (x, dy) = (draw.tensor([self.n_tokens, self.n_in]), draw.tensor([self.n_tokens, self.n_out()]));
        let mut part = |(index, n_rows): (usize, &usize)| {
            let value = draw.tensor([*n_rows, self.n_in]);
            if self.dense == Some(index) {
                return Frozen::Dense(value);
            }
            Frozen::Nf4(quantized(&value, self.scales))
        };
        let parts = self.n_rows.iter().enumerate().map(&mut part).collect();
        let (outputs, rank) = self.lora.clone().unwrap_or((0..1, 1));
        Inputs {
            x,
            dy,
            parts,
            bias: draw.tensor([1, self.n_out()]),
            a: draw.tensor([rank, self.n_in]),
            b: draw.tensor([outputs.len(), rank]),
        }
    }

    /// The matrix that the codes stand for, made without the engine's way of putting parts together.
    fn matrix(&self, parts: &[Frozen]) -> Tensor<2> {
        let part = |part: &Frozen| match part {
            Frozen::Nf4(part) => {
                let values = part.dequantize().into_data().try_into_vec::<f32>().expect("f32");
                let n_rows = values.len() / self.n_in;
                Tensor::from_data(burn::tensor::TensorData::new(values, [n_rows, self.n_in]), &Device::flex())
            }
            Frozen::Dense(part) => part.clone(),
        };
        Tensor::cat(parts.iter().map(part).collect(), 0)
    }
}

fn quantized(value: &Tensor<2>, scales: Scales) -> Nf4Tensor {
    let values: Vec<f32> = value.to_data().try_into_vec().expect("f32");
    let mut quantizer = Quantizer::new(values.len());
    quantizer.push(&values);
    quantizer.finish(scales, &Device::flex())
}

impl Operation for Layer {
    fn run(&self, kernels: Kernels) -> Outcome {
        let Inputs { x, dy, parts, bias, a, b } = self.inputs();
        let mut end = 0;
        let piece = |n_rows: &usize| {
            let start = end;
            end += n_rows * self.n_in;
            Piece { name: String::new(), values: start..end, shape: vec![*n_rows, self.n_in] }
        };
        let pieces = self.n_rows.iter().map(piece).collect();
        let trained =
            |value: &Tensor<2>, slot| Param { slot: Some(Slot(slot)), ..Param::frozen(value.clone()) };
        let mut shapes = Vec::new();
        let lora = self.lora.clone().map(|(outputs, rank)| {
            shapes = vec![a.dims(), b.dims()];
            let part = LoraPart { outputs, ranks: 0..rank, b: trained(&b, 1), scale: LORA_SCALE, dora: None };
            Lora { a: trained(&a, 0), parts: vec![part], dropout_prob: 0.0, half: HalfFactors::default() }
        });
        let linear = Linear {
            weight: Weight::Nf4(Nf4Weight::new(self.n_in, pieces, parts)),
            bias: self.bias.then(|| Param::frozen(bias)),
            lora,
        };
        let mut gradients = Gradients::zeros(shapes, &Device::flex(), kernels);
        let (y, saved) = linear.forward(kernels, &x, None);
        let input = BackwardInput { x: &x, saved: &saved, dropout: None, dy: &dy };
        let dx = linear.backward(kernels, input, InputGradient::Wanted, &mut gradients);
        let mut outcome = Outcome::from([
            ("y".to_owned(), values(&y)),
            ("x".to_owned(), values(&dx.expect("it was asked for"))),
        ]);
        outcome.extend(["a", "b"].map(str::to_owned).into_iter().zip(gradients.iter().map(values)));
        outcome
    }

    fn autodiff(&self) -> Outcome {
        let Inputs { x, dy, parts, bias, a, b } = self.inputs();
        let (x, a, b) = (reference::leaf(&x), reference::leaf(&a), reference::leaf(&b));
        let weight = reference::leaf(&self.matrix(&parts));
        let mut y = x.clone().matmul(weight.transpose());
        if self.bias {
            y = y + reference::leaf(&bias).expand([self.n_tokens, self.n_out()]);
        }
        if let Some((outputs, _)) = &self.lora {
            let update = x.clone().matmul(a.clone().transpose()).matmul(b.clone().transpose());
            let area = [0..self.n_tokens, outputs.clone()];
            let sum = y.clone().slice(area.clone()) + update.mul_scalar(LORA_SCALE);
            y = y.slice_assign(area, sum);
        }
        let mut leaves = vec![("x", &x)];
        if self.lora.is_some() {
            leaves.extend([("a", &a), ("b", &b)]);
        }
        reference::autodiff(&y, &dy, &leaves)
    }

    fn slopes(&self) -> Outcome {
        let Inputs { x, dy, parts, bias, a, b } = self.inputs();
        let (weight, bias) = (values(&self.matrix(&parts)), values(&bias));
        let mut inputs = vec![("x", &x)];
        if self.lora.is_some() {
            inputs.extend([("a", &a), ("b", &b)]);
        }
        let (n_in, n_out) = (self.n_in, self.n_out());
        reference::slopes(&inputs, &dy, &|at: &[Vec<f64>]| {
            let y = |place: usize| {
                let (x, o) = (&at[0][place / n_out * n_in..][..n_in], place % n_out);
                let row = |w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
                let mut y = row(&weight[o * n_in..][..n_in]);
                if self.bias {
                    y += bias[o];
                }
                if let Some((outputs, rank)) = &self.lora
                    && outputs.contains(&o)
                {
                    let b = &at[2][(o - outputs.start) * rank..][..*rank];
                    let u = (0..*rank).map(|r| row(&at[1][r * n_in..][..n_in]) * b[r]);
                    y += f64::from(LORA_SCALE) * u.sum::<f64>();
                }
                y
            };
            (0..self.n_tokens * n_out).map(y).collect()
        })
    }
}

fn layer(n_tokens: usize, n_in: usize, n_rows: &[usize]) -> Layer {
    let n_rows = n_rows.to_vec();
    Layer { n_tokens, n_in, n_rows, scales: Scales::Double, bias: false, lora: None, dense: None }
}

#[test]
fn linear_in_4_bits_has_the_gradients_of_autodiff() {
    let merged = layer(5, 64, &[16, 8, 8]);
    let mut cases = vec![
        merged.clone(),
        Layer { scales: Scales::F32, bias: true, ..merged.clone() },
        Layer { lora: Some((16..24, 2)), ..merged.clone() },
        Layer { lora: Some((0..32, 3)), bias: true, dense: Some(1), ..merged },
        // Blocks that begin inside rows, and bytes that hold weights of two rows.
        layer(3, 33, &[5, 7, 1]),
        Layer { scales: Scales::F32, lora: Some((2..3, 1)), ..layer(1, 50, &[3]) },
        layer(1, 1, &[1]),
        // Several tiles, the last of which is not whole, and a part that ends inside of one.
        layer(9, 1100, &[300, 17, 40]),
        layer(2, 64, &[5000]),
    ];
    let mut draw = Draw::new(32);
    cases.extend((0..20).map(|_| {
        let n_rows: Vec<usize> = (0..draw.count(1..4)).map(|_| draw.count(1..60)).collect();
        layer(draw.count(1..40), draw.count(1..200), &n_rows)
    }));
    assert_equals_autodiff(&cases);
}

#[test]
fn linear_in_4_bits_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[
        Layer { lora: Some((1..4, 2)), bias: true, ..layer(3, 10, &[3, 4]) },
        Layer { scales: Scales::F32, ..layer(2, 66, &[2]) },
    ]);
}

#[test]
fn scales_in_8_bits_are_noticed() {
    let right = layer(4, 64, &[20]);
    assert_differs(&right, &Layer { scales: Scales::F32, ..right.clone() });
    assert_differs(&right, &Layer { dense: Some(0), ..right.clone() });
}
