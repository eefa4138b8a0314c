//! Dropout from counters: whether a value is dropped is a function of where it stands, so nothing is stored and
//! the backward pass makes the same mask again.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood 2014) with random access: value `i` of stream `key` is
//! `mix(key + (i + 1) · γ)`.

use burn::tensor::{Tensor, TensorData};

use crate::kernels::{Kernels, cpu, cube};

/// SplitMix64's increment, 2⁶⁴ divided by the golden ratio.
pub const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// What its finalizer multiplies by.
pub const MULTIPLIERS: [u64; 2] = [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB];

/// SplitMix64's finalizer.
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(MULTIPLIERS[0]);
    let z = (z ^ (z >> 27)).wrapping_mul(MULTIPLIERS[1]);
    z ^ (z >> 31)
}

/// The lower and the upper 32 bits.
pub const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Names a stream of random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The streams of a run.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GAMMA)))
    }

    /// A stream of its own for each `index`: a step, a microbatch, a layer.
    #[must_use]
    pub fn fold(self, index: u64) -> Self {
        Self(mix(self.0 ^ mix(index.wrapping_add(1).wrapping_mul(GAMMA))))
    }

    /// Its two halves, the lower one first.
    pub fn words(self) -> [u32; 2] {
        halves(self.0)
    }

    /// Number `index` of the stream.
    #[inline]
    pub fn random(self, index: u64) -> u64 {
        mix(self.0.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA)))
    }
}

/// Which values of a tensor are dropped, in row order.
#[derive(Clone, Copy, Debug)]
pub struct Mask {
    key: Key,
    /// A value is dropped when its random number is below this.
    threshold: u64,
    scale: f32,
}

impl Mask {
    /// Drops values with probability `prob`, 0 ≤ `prob` < 1, and scales the others by `1 / (1 − prob)`.
    pub fn new(key: Key, prob: f64) -> Self {
        assert!((0.0..1.0).contains(&prob), "the spec's check keeps the probability below 1");
        Self { key, threshold: (prob * 2f64.powi(64)) as u64, scale: (1.0 / (1.0 - prob)) as f32 }
    }

    /// The halves of its key, and those of what a random number is below where a value is dropped.
    pub fn words(&self) -> ([u32; 2], [u32; 2]) {
        (self.key.words(), halves(self.threshold))
    }

    /// What values are multiplied by that are not dropped.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// What value `index` is multiplied by.
    #[inline]
    pub fn factor(&self, index: u64) -> f32 {
        if self.key.random(index) < self.threshold { 0.0 } else { self.scale }
    }

    /// `x` with dropped values zeroed and the others scaled up.
    pub fn apply(&self, kernels: Kernels, x: &Tensor<2>) -> Tensor<2> {
        match kernels {
            Kernels::Plain => x.clone() * self.tensor(x),
            Kernels::Cpu => cpu::tensor::tensor(cpu::dropout::apply(&cpu::tensor::values(x), self), x.dims()),
            Kernels::Cube(gpu) => cube::random::dropped(gpu, self, x),
        }
    }

    /// Adds the gradient of the input, `dy` through the same mask, to `dx`.
    pub fn backward(&self, kernels: Kernels, dy: &Tensor<2>, dx: &mut Tensor<2>) {
        match kernels {
            Kernels::Plain => *dx = dx.clone() + dy.clone() * self.tensor(dy),
            Kernels::Cpu => {
                let dy = cpu::tensor::values(dy);
                cpu::tensor::modify(dx, |dx| cpu::dropout::add(dx, &dy, self));
            }
            Kernels::Cube(gpu) => cube::random::add_dropped(gpu, self, dy, dx),
        }
    }

    fn tensor(&self, like: &Tensor<2>) -> Tensor<2> {
        let [n_rows, n_cols] = like.dims();
        let factors: Vec<f32> = (0..(n_rows * n_cols) as u64).map(|i| self.factor(i)).collect();
        Tensor::from_data(TensorData::new(factors, [n_rows, n_cols]), &like.device())
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Mask};

    #[test]
    fn as_many_values_are_dropped_as_asked() {
        for prob in [0.0, 0.1, 0.5, 0.9] {
            let mask = Mask::new(Key::new(7).fold(3), prob);
            let n = 200_000;
            let dropped = (0..n).filter(|i| mask.factor(*i) == 0.0).count() as f64 / n as f64;
            assert!((dropped - prob).abs() < 0.01, "{dropped} of {prob}");
            let mean = (0..n).map(|i| f64::from(mask.factor(i))).sum::<f64>() / n as f64;
            assert!((mean - 1.0).abs() < 0.02, "{mean}");
        }
    }

    #[test]
    fn streams_differ() {
        let drawn = |key| (0..64).map(|i| Mask::new(key, 0.5).factor(i)).collect::<Vec<_>>();
        let key = Key::new(1);
        assert_eq!(drawn(key.fold(2)), drawn(key.fold(2)));
        assert_ne!(drawn(key.fold(2)), drawn(key.fold(3)));
        assert_ne!(drawn(key.fold(2)), drawn(Key::new(2).fold(2)));
        assert_ne!(drawn(key.fold(1).fold(2)), drawn(key.fold(2).fold(1)));
    }
}
