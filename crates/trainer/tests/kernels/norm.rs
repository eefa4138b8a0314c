//! RMS normalization.

use burn::tensor::{Device, Tensor};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::norm::{BackwardInput, NormWeight, RmsNorm};
use ftl_trainer::ops::param::{Gradients, Param};
use rand::RngExt;

use crate::device::{KERNELS, assert_close, computing, device, values};
use crate::random::{self, generator, matrix};

struct Case {
    n_tokens: usize,
    width: usize,
    meaning: NormWeight,
    x: Vec<f32>,
    dy: Vec<f32>,
    dx: Vec<f32>,
    weight: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = generator(seed);
        let (n_tokens, width) = (rng.random_range(1..200), rng.random_range(1..300));
        let mut draw = |n| random::values(&mut rng, n);
        let n = n_tokens * width;
        let (x, dy, dx, weight) = (draw(n), draw(n), draw(n), draw(width));
        let meaning = if seed.is_multiple_of(2) { NormWeight::Factor } else { NormWeight::OnePlus };
        Self { n_tokens, width, meaning, x, dy, dx, weight }
    }

    /// y, `1 / rms`, dx and the gradient of the weight; then dx by itself, and what the norm of a sum gives.
    fn run(&self, kernels: Kernels, device: &Device) -> [Vec<f32>; 8] {
        let shape = [self.n_tokens, self.width];
        let mut weight = Param::frozen(matrix(&self.weight, [1, self.width], device));
        weight.slot = Some(ftl_trainer::ops::param::Slot(0));
        let norm = RmsNorm { weight, eps: 1e-5, meaning: self.meaning };
        let [x, dy, mut dx] =
            [&self.x, &self.dy, &self.dx].map(|values| kernels.narrow(matrix(values, shape, device)));
        let (sum, y_of_sum, rms_of_sum) = norm.forward_added(kernels, &x, dx.clone());
        let (y, inverse_rms): (Tensor<2>, Tensor<2>) = norm.forward(kernels, &x);
        let mut gradients = Gradients::zeros([[1, self.width]], device, kernels);
        let input = BackwardInput { x: &x, inverse_rms: &inverse_rms, dy: &dy };
        norm.backward(kernels, input, &mut dx, &mut gradients);
        let dweight = gradients.take(ftl_trainer::ops::param::Slot(0));
        let alone = norm.backward_alone(kernels, input, &mut gradients);
        [y, inverse_rms, dx, dweight, alone, sum, y_of_sum, rms_of_sum].map(values)
    }
}

#[test]
fn norm_equals_the_plain_version() {
    let Some(device) = device() else { return };
    for (kernels, tolerance) in computing(&device) {
        for seed in 0..12 {
            let case = Case::new(seed);
            let got = case.run(kernels, &device);
            let want = case.run(Kernels::Plain, &Device::flex());
            let names = ["y", "1 / rms", "dx", "dw", "dx alone", "sum", "y of sum", "1 / rms of sum"];
            for (what, (got, want)) in names.iter().zip(got.iter().zip(&want)) {
                assert_close(&format!("{kernels:?}, seed {seed}, {what}"), got, want, tolerance);
            }
        }
    }
}

#[test]
fn a_wrong_epsilon_is_noticed() {
    let Some(device) = device() else { return };
    let case = Case { x: vec![1e-3; 64], ..Case::new(4) };
    let case =
        Case { n_tokens: 1, width: 64, dy: vec![1.0; 64], dx: vec![0.0; 64], weight: vec![1.0; 64], ..case };
    let y = &case.run(KERNELS, &device)[0];
    // Without the epsilon every value would be 1.
    assert!(y.iter().all(|y| (*y - 1.0).abs() > 0.5), "{y:?}");
}
