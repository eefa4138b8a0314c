//! Random inputs, the same in every run.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Draws random inputs.
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// Those of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From the standard normal distribution.
    pub fn tensor(&mut self, [n_rows, n_cols]: [usize; 2]) -> Tensor<2> {
        let values: Vec<f32> = (0..n_rows * n_cols).map(|_| StandardNormal.sample(&mut self.0)).collect();
        Tensor::from_data(TensorData::new(values, [n_rows, n_cols]), &Device::flex())
    }

    /// From `range`, all equally likely.
    pub fn count(&mut self, range: std::ops::Range<usize>) -> usize {
        self.0.random_range(range)
    }

    /// Token ids below `vocab`.
    pub fn ids(&mut self, n: usize, vocab: usize) -> Vec<u32> {
        (0..n).map(|_| self.count(0..vocab) as u32).collect()
    }
}
