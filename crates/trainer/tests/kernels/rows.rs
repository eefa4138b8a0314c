//! Rows by their numbers: embeddings forward and backward.

use burn::tensor::Device;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::embedding;
use ftl_trainer::ops::param::{Gradients, Param, Slot};
use rand::RngExt;

use crate::device::{assert_close, computing, device, values};
use crate::random::{self, generator, matrix};

struct Case {
    vocab: usize,
    hidden: usize,
    ids: Vec<u32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = generator(seed);
        let (vocab, hidden) = (rng.random_range(1..40), rng.random_range(1..300));
        let n_tokens = rng.random_range(1..100);
        let ids = (0..n_tokens).map(|_| rng.random_range(0..vocab as u32)).collect();
        let mut draw = |n| random::values(&mut rng, n);
        let (weight, dy) = (draw(vocab * hidden), draw(n_tokens * hidden));
        Self { vocab, hidden, ids, weight, dy }
    }

    /// y, and the gradient of the table after two batches.
    fn run(&self, kernels: Kernels, device: &Device) -> [Vec<f32>; 2] {
        let shape = [self.vocab, self.hidden];
        let mut weight = Param::frozen(matrix(&self.weight, shape, device));
        weight.slot = Some(Slot(0));
        let y = embedding::forward(kernels, &weight, &self.ids);
        let dy = kernels.narrow(matrix(&self.dy, [self.ids.len(), self.hidden], device));
        let mut gradients = Gradients::zeros([shape], device, kernels);
        for _ in 0..2 {
            embedding::backward(kernels, &weight, &self.ids, &dy, &mut gradients);
        }
        [y, gradients.take(Slot(0))].map(values)
    }
}

#[test]
fn embeddings_equal_the_plain_version() {
    let Some(device) = device() else { return };
    for (kernels, tolerance) in computing(&device) {
        for seed in 0..8 {
            let case = Case::new(seed);
            let got = case.run(kernels, &device);
            let want = case.run(Kernels::Plain, &Device::flex());
            for (what, (got, want)) in ["y", "dw"].iter().zip(got.iter().zip(&want)) {
                assert_close(&format!("{kernels:?}, seed {seed}, {what}"), got, want, tolerance);
            }
        }
    }
}

#[test]
fn other_ids_are_noticed() {
    let Some(device) = device() else { return };
    let (kernels, _) = computing(&device)[0];
    let case =
        Case { vocab: 2, hidden: 3, ids: vec![1, 1], weight: vec![1., 2., 3., 4., 5., 6.], dy: vec![1.0; 6] };
    assert_eq!(case.run(kernels, &device), [vec![4., 5., 6., 4., 5., 6.], vec![0., 0., 0., 4., 4., 4.]]);
    let case = Case { ids: vec![0, 1], ..case };
    assert_eq!(case.run(kernels, &device), [vec![1., 2., 3., 4., 5., 6.], vec![2.0; 6]]);
}
