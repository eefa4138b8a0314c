//! Dropout and noise: the same random numbers as on the CPU.

use burn::tensor::Device;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::dropout::{Key, Mask};
use ftl_trainer::ops::neftune::Noise;
use rand::RngExt;

use crate::device::{assert_close, computing, device, values};
use crate::random::{self, generator, matrix};

struct Case {
    shape: [usize; 2],
    mask: Mask,
    noise: Noise,
    x: Vec<f32>,
    sum: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = generator(seed);
        let shape = [rng.random_range(1..60), rng.random_range(1..300)];
        let mask = Mask::new(Key::new(seed).fold(1), [0.0, 0.1, 0.5, 0.9][seed as usize % 4]);
        let noise = Noise { alpha: 5.0, key: Key::new(seed).fold(2) };
        let mut draw = |n| random::values(&mut rng, n);
        let [x, sum] = [(); 2].map(|()| draw(shape[0] * shape[1]));
        Self { shape, mask, noise, x, sum }
    }

    /// x with some dropped, the same added to a sum, and x with noise.
    fn run(&self, kernels: Kernels, device: &Device) -> [Vec<f32>; 3] {
        let [mut x, mut sum] =
            [&self.x, &self.sum].map(|values| kernels.narrow(matrix(values, self.shape, device)));
        let y = self.mask.apply(kernels, &x);
        self.mask.backward(kernels, &x, &mut sum);
        let middle = self.shape[0] / 2;
        let segments = [0..middle, middle..self.shape[0]];
        self.noise.add(kernels, &mut x, &segments);
        [y, sum, x].map(values)
    }
}

#[test]
fn dropout_and_noise_equal_the_plain_version() {
    let Some(device) = device() else { return };
    for (kernels, tolerance) in computing(&device) {
        for seed in 0..8 {
            let case = Case::new(seed);
            let got = case.run(kernels, &device);
            let want = case.run(Kernels::Plain, &Device::flex());
            for (what, (got, want)) in ["y", "sum", "noise"].iter().zip(got.iter().zip(&want)) {
                assert_close(&format!("{kernels:?}, seed {seed}, {what}"), got, want, tolerance);
            }
        }
    }
}

#[test]
fn another_stream_is_noticed() {
    let Some(device) = device() else { return };
    let (kernels, _) = computing(&device)[0];
    let case = Case::new(2);
    let other = Case { mask: Mask::new(Key::new(2).fold(3), 0.5), ..Case::new(2) };
    let zeros =
        |case: &Case| -> Vec<bool> { case.run(kernels, &device)[0].iter().map(|y| *y == 0.0).collect() };
    assert_ne!(zeros(&case), zeros(&other));
}
