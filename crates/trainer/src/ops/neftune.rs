//! Noise on the embeddings while training (NEFTune, Jain et al. 2023): `y = x + u`, each `u` drawn evenly from
//! `±α / √(n · d)` for a segment of `n` tokens of `d` values.
//!
//! transformers takes the padded length of the batch for `n`. There is no padding here, so it is the segment's own, as
//! in the paper; with one sample in a batch both are the same. Since `u` does not depend on `x`, `dx = dy`: there is no
//! backward. Like dropout, the noise is a function of where a value stands, so nothing is stored.

use std::ops::Range;

use burn::tensor::{DType, Tensor, TensorData};

use super::dropout::Key;
use crate::kernels::{Kernels, cpu, cube};

/// Noise of a microbatch.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// α.
    pub alpha: f64,
    /// The random stream.
    pub key: Key,
}

impl Noise {
    /// Adds it to `x`, `[tokens, hidden]`, whose `segments` follow each other.
    pub fn add(&self, kernels: Kernels, x: &mut Tensor<2>, segments: &[Range<usize>]) {
        let [n_tokens, hidden] = x.dims();
        match kernels {
            Kernels::Plain => {
                let mut noise = vec![0.0; n_tokens * hidden];
                for segment in segments {
                    let magnitude = self.magnitude(segment.len(), hidden);
                    let values = segment.start * hidden..segment.end * hidden;
                    noise[values.clone()]
                        .iter_mut()
                        .zip(values)
                        .for_each(|(noise, index)| *noise = magnitude * self.unit(index as u64));
                }
                let noise = Tensor::from_data(TensorData::new(noise, [n_tokens, hidden]), &x.device());
                *x = x.clone() + noise;
            }
            Kernels::Cpu => cpu::tensor::modify(x, |x| cpu::neftune::add(x, hidden, segments, self)),
            Kernels::Cube(gpu) => {
                let of = |segment: &Range<usize>| {
                    std::iter::repeat_n(self.magnitude(segment.len(), hidden), segment.len())
                };
                let magnitudes: Vec<f32> = segments.iter().flat_map(of).collect();
                let magnitudes = TensorData::new(magnitudes, [n_tokens]);
                let magnitudes = Tensor::from_data(magnitudes, (&x.device(), DType::F32));
                cube::random::add_noise(gpu, self, &magnitudes, x);
            }
        }
    }

    /// The largest value of a segment of `n_tokens`.
    pub fn magnitude(&self, n_tokens: usize, hidden: usize) -> f32 {
        (self.alpha / ((n_tokens * hidden) as f64).sqrt()) as f32
    }

    /// Value `index` of the stream, evenly between -1 and 1.
    #[inline]
    pub fn unit(&self, index: u64) -> f32 {
        // 24 bits are what the significand of an f32 holds.
        let bits = (self.key.random(index) >> 40) as f32;
        bits * (1.0 / (1u32 << 23) as f32) - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Noise};

    #[test]
    fn values_are_even_between_the_magnitudes() {
        let noise = Noise { alpha: 5.0, key: Key::new(3) };
        let n = 200_000;
        let values: Vec<f64> = (0..n).map(|index| f64::from(noise.unit(index))).collect();
        assert!(values.iter().all(|value| (-1.0..1.0).contains(value)));
        let mean = values.iter().sum::<f64>() / n as f64;
        let square = values.iter().map(|value| value * value).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01 && (square - 1.0 / 3.0).abs() < 0.01, "{mean} {square}");
        assert!((f64::from(noise.magnitude(10, 16)) - 5.0 / 160f64.sqrt()).abs() < 1e-7);
    }
}
