//! The gate of the MLP.

use burn::tensor::Device;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::gated_mlp::{self, Activation};
use rand::RngExt;

use crate::device::{assert_close, computing, device, values};
use crate::random::{self, generator, matrix};

struct Case {
    n_tokens: usize,
    width: usize,
    activation: Activation,
    gate_up: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = generator(seed);
        let (n_tokens, width) = (rng.random_range(1..40), rng.random_range(1..300));
        let activation = if seed.is_multiple_of(2) { Activation::Silu } else { Activation::GeluTanh };
        // Wide enough for every bend of the curves.
        let gate_up =
            random::values(&mut rng, 2 * n_tokens * width).iter().map(|value| 8.0 * value).collect();
        let dy = random::values(&mut rng, n_tokens * width);
        Self { n_tokens, width, activation, gate_up, dy }
    }

    /// y and the gradient of gate and up.
    fn run(&self, kernels: Kernels, device: &Device) -> [Vec<f32>; 2] {
        let [gate_up, dy] = [(&self.gate_up, 2 * self.width), (&self.dy, self.width)]
            .map(|(values, width)| kernels.narrow(matrix(values, [self.n_tokens, width], device)));
        let y = gated_mlp::forward(kernels, self.activation, &gate_up);
        [y, gated_mlp::backward(kernels, self.activation, gate_up, dy)].map(values)
    }
}

#[test]
fn gates_equal_the_plain_version() {
    let Some(device) = device() else { return };
    for (kernels, tolerance) in computing(&device) {
        for seed in 0..8 {
            let case = Case::new(seed);
            let got = case.run(kernels, &device);
            let want = case.run(Kernels::Plain, &Device::flex());
            for (what, (got, want)) in ["y", "d"].iter().zip(got.iter().zip(&want)) {
                assert_close(&format!("{kernels:?}, seed {seed}, {what}"), got, want, tolerance);
            }
        }
    }
}

#[test]
fn another_activation_is_noticed() {
    let Some(device) = device() else { return };
    let case = Case::new(0);
    let other = Case { activation: Activation::GeluTanh, ..Case::new(0) };
    let (kernels, _) = computing(&device)[0];
    let [got, other] = [case, other].map(|case| case.run(kernels, &device));
    assert!(got.iter().zip(&other).all(|(a, b)| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 0.01)));
}
