//! The angles of the rotary positions, as transformers' `modeling_rope_utils.py` computes them.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};

use crate::model::config::{Rope, RopeScaling};
use crate::ops::rope::RopeTable;

/// Angle per position of each pair of a head, `[head_dim / 2]`.
///
/// In f32 like the reference: at position 100,000 an f64 table would differ from it in the third decimal.
pub fn inverse_frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    let base = (0..head_dim / 2).map(|i| {
        let exponent = (2 * i) as f32 / head_dim as f32;
        1.0 / (rope.theta as f32).powf(exponent)
    });
    match rope.scaling {
        RopeScaling::Default => base.collect(),
        RopeScaling::Linear { factor } => base.map(|f| f / factor as f32).collect(),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
            let original = original_max_positions as f64;
            base.map(|frequency| {
                let wavelength = 2.0 * PI / f64::from(frequency);
                if wavelength < original / high_freq_factor {
                    frequency
                } else if wavelength > original / low_freq_factor {
                    (f64::from(frequency) / factor) as f32
                } else {
                    let smooth =
                        (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    ((1.0 - smooth) * f64::from(frequency) / factor + smooth * f64::from(frequency)) as f32
                }
            })
            .collect()
        }
    }
}

/// Cosines and sines of positions `0..n_positions`.
pub fn table(rope: &Rope, head_dim: usize, n_positions: usize, device: &Device) -> RopeTable {
    let frequencies = inverse_frequencies(rope, head_dim);
    let mut values = Vec::with_capacity(n_positions * head_dim);
    for position in 0..n_positions {
        let angle = |frequency: &f32| position as f32 * frequency;
        values.extend(frequencies.iter().map(|f| angle(f).cos()));
        values.extend(frequencies.iter().map(|f| angle(f).sin()));
    }
    RopeTable { cos_sin: Tensor::from_data(TensorData::new(values, [n_positions, head_dim]), device) }
}
