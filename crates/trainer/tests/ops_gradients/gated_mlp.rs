//! The gate of the MLP.

use burn::tensor::Tensor;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::gated_mlp::{self, Activation};

use crate::draw::Draw;
use crate::operation::{Operation, assert_differs, assert_equals_autodiff, assert_equals_slopes};
use crate::outcome::{Outcome, values};
use crate::reference;

#[derive(Clone, Debug)]
struct GatedMlp {
    n_tokens: usize,
    width: usize,
    order: Order,
    activation: Activation,
    /// What the inputs are multiplied by: large gates saturate.
    spread: f64,
}

/// Where the gate is; the operation has it first.
#[derive(Clone, Copy, Debug)]
enum Order {
    GateUp,
    UpGate,
}

impl GatedMlp {
    fn activated(&self, gate: f64) -> f64 {
        match self.activation {
            Activation::Silu => gate / (1.0 + (-gate).exp()),
            Activation::GeluTanh => {
                let inside = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044_715 * gate.powi(3));
                gate * (1.0 + inside.tanh()) / 2.0
            }
        }
    }

    fn inputs(&self) -> (Tensor<2>, Tensor<2>) {
        let mut draw = Draw::new(3);
        let input = draw.tensor([self.n_tokens, 2 * self.width]).mul_scalar(self.spread);
        let input = match self.order {
            Order::GateUp => input,
            Order::UpGate => {
                let [up, gate] = [0, self.width].map(|start| input.clone().narrow(1, start, self.width));
                Tensor::cat(vec![gate, up], 1)
            }
        };
        (input, draw.tensor([self.n_tokens, self.width]))
    }
}

impl Operation for GatedMlp {
    fn run(&self, kernels: Kernels) -> Outcome {
        let (gate_up, dy) = self.inputs();
        let y = gated_mlp::forward(kernels, self.activation, &gate_up);
        Outcome::from([
            ("y".to_owned(), values(&y)),
            ("gate_up".to_owned(), values(&gated_mlp::backward(kernels, self.activation, gate_up, dy))),
        ])
    }

    fn autodiff(&self) -> Outcome {
        let (gate_up, dy) = self.inputs();
        let gate_up = reference::leaf(&gate_up);
        let [gate, up] = [0, self.width].map(|start| gate_up.clone().narrow(1, start, self.width));
        // Through tanh, which does not overflow: σ(g) = (1 + tanh(g / 2)) / 2.
        let inside = match self.activation {
            Activation::Silu => gate.clone().div_scalar(2.0),
            Activation::GeluTanh => {
                let cubic = gate.clone().powi_scalar(3).mul_scalar(0.044_715);
                (gate.clone() + cubic).mul_scalar((2.0 / std::f64::consts::PI).sqrt())
            }
        };
        let share = inside.tanh().add_scalar(1.0).div_scalar(2.0);
        reference::autodiff(&(gate * share * up), &dy, &[("gate_up", &gate_up)])
    }

    fn slopes(&self) -> Outcome {
        let (gate_up, dy) = self.inputs();
        reference::slopes(&[("gate_up", &gate_up)], &dy, &|inputs| {
            let rows = inputs[0].chunks(2 * self.width).flat_map(|row| {
                let (gate, up) = row.split_at(self.width);
                gate.iter().zip(up).map(|(gate, up)| self.activated(*gate) * up)
            });
            rows.collect()
        })
    }
}

const fn case(n_tokens: usize, width: usize, spread: f64) -> GatedMlp {
    GatedMlp { n_tokens, width, order: Order::GateUp, activation: Activation::Silu, spread }
}

const fn gelu(case: GatedMlp) -> GatedMlp {
    GatedMlp { activation: Activation::GeluTanh, ..case }
}

#[test]
fn gated_mlp_has_the_gradients_of_autodiff() {
    let mut draw = Draw::new(4);
    let mut cases = vec![case(1, 1, 1.0), case(17, 16, 3.0), case(40, 33, 60.0), case(300, 96, 1.0)];
    cases.extend((0..12).map(|_| case(draw.count(1..100), draw.count(1..70), 2.0)));
    cases.extend([gelu(case(17, 16, 3.0)), gelu(case(40, 33, 60.0)), gelu(case(300, 96, 1.0))]);
    cases.extend((0..12).map(|_| gelu(case(draw.count(1..100), draw.count(1..70), 2.0))));
    assert_equals_autodiff(&cases);
}

#[test]
fn gated_mlp_has_the_gradients_of_central_differences() {
    assert_equals_slopes(&[case(1, 1, 1.0), case(5, 7, 3.0), case(3, 19, 20.0)]);
    assert_equals_slopes(&[gelu(case(1, 1, 1.0)), gelu(case(5, 7, 3.0)), gelu(case(3, 19, 20.0))]);
}

#[test]
fn gate_and_up_exchanged_are_noticed() {
    assert_differs(&case(5, 7, 1.0), &GatedMlp { order: Order::UpGate, ..case(5, 7, 1.0) });
}

#[test]
fn another_activation_is_noticed() {
    assert_differs(&case(5, 7, 1.0), &gelu(case(5, 7, 1.0)));
    assert_differs(&gelu(case(5, 7, 1.0)), &case(5, 7, 1.0));
}
