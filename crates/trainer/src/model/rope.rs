//! The angles of the rotary positions, as transformers' `modeling_rope_utils.py` computes them.
//!
//! Everything is in f32 like the reference: at position 100,000 an f64 table would differ from it in the third
//! decimal.

use std::f64::consts::PI;

use burn::tensor::{Device, Tensor, TensorData};

use crate::model::config::{DecoderConfig, Rope, RopeScaling, Yarn};
use crate::ops::rope::RopeTable;

/// Angle per position of each turned pair of a head, for sequences of `n_tokens`.
pub fn inverse_frequencies(rope: &Rope, rotary_dim: usize, n_tokens: usize) -> Vec<f32> {
    let pairs = (0..rotary_dim).step_by(2);
    let wavelength = |theta: f32| pairs.clone().map(move |i| theta.powf(i as f32 / rotary_dim as f32));
    let theta = rope.theta as f32;
    match &rope.scaling {
        RopeScaling::Default => wavelength(theta).map(f32::recip).collect(),
        RopeScaling::Linear { factor } => wavelength(theta).map(|w| w.recip() / *factor as f32).collect(),
        RopeScaling::Dynamic { factor, original_max_positions } => {
            let original = *original_max_positions as f32;
            let stretch =
                *factor as f32 * (n_tokens as f32).max(original) / original - (*factor as f32 - 1.0);
            let exponent = rotary_dim as f32 / (rotary_dim as f32 - 2.0);
            wavelength(theta * stretch.powf(exponent)).map(f32::recip).collect()
        }
        RopeScaling::Yarn(yarn) => yarn_frequencies(yarn, rope.theta, rotary_dim, wavelength(theta)),
        RopeScaling::Long { short_factor, long_factor, original_max_positions, .. } => {
            let factors = if n_tokens > *original_max_positions { long_factor } else { short_factor };
            wavelength(theta).zip(factors).map(|(w, factor)| (w * *factor as f32).recip()).collect()
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
            let original = *original_max_positions as f64;
            let scaled = wavelength(theta).map(|w| {
                let frequency = w.recip();
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
            });
            scaled.collect()
        }
    }
}

/// Frequencies of pairs that turn often over the original context are kept, those of pairs that turn seldom divided,
/// those between mixed linearly (Peng et al. 2023, section 3.2).
fn yarn_frequencies(
    yarn: &Yarn,
    theta: f64,
    rotary_dim: usize,
    wavelengths: impl Iterator<Item = f32>,
) -> Vec<f32> {
    let Yarn { factor, beta_fast, beta_slow, original_max_positions, truncate, .. } = *yarn;
    // The pair that turns this often.
    let pair = |n_turns: f64| {
        let longest = original_max_positions as f64 / (n_turns * 2.0 * PI);
        rotary_dim as f64 * longest.ln() / (2.0 * theta.ln())
    };
    let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    let (low, mut high) = (low.max(0.0), high.min(rotary_dim as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    let mixed = wavelengths.enumerate().map(|(i, wavelength)| {
        let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        let kept = 1.0 - ramp;
        (factor as f32 * wavelength).recip() * (1.0 - kept) + wavelength.recip() * kept
    });
    mixed.collect()
}

/// What cosines and sines are multiplied by.
pub fn attention_factor(rope: &Rope) -> f64 {
    match &rope.scaling {
        RopeScaling::Yarn(Yarn { attention_factor, .. }) | RopeScaling::Long { attention_factor, .. } => {
            *attention_factor
        }
        RopeScaling::Default
        | RopeScaling::Linear { .. }
        | RopeScaling::Dynamic { .. }
        | RopeScaling::Llama3 { .. } => 1.0,
    }
}

/// Cosines and sines of positions `0..n_positions` of sequences of `n_tokens`.
fn table(
    rope: &Rope,
    rotary_dim: usize,
    (n_positions, n_tokens): (usize, usize),
    device: &Device,
) -> RopeTable {
    let frequencies = inverse_frequencies(rope, rotary_dim, n_tokens);
    let factor = attention_factor(rope) as f32;
    let width = 2 * frequencies.len();
    let mut values = Vec::with_capacity(n_positions * width);
    for position in 0..n_positions {
        let angle = |frequency: &f32| position as f32 * frequency;
        values.extend(frequencies.iter().map(|f| angle(f).cos() * factor));
        values.extend(frequencies.iter().map(|f| angle(f).sin() * factor));
    }
    RopeTable::new(Tensor::from_data(TensorData::new(values, [n_positions, width]), device))
}

/// The angles of a model: of the positions reserved so far, for sequences of any length among these.
///
/// Some scalings turn the tokens of long sequences otherwise than those of short ones. As in transformers, the longest
/// sequence of a batch decides for all of them. There the angles of `dynamic` also depend on what was computed before,
/// which must not be here.
#[derive(Clone, Debug)]
pub struct RopeTables {
    ropes: Vec<Rope>,
    rotary_dim: usize,
    n_positions: usize,
    device: Device,
    /// For each rope: angles in short sequences, and in long ones where they are others.
    tables: Vec<(RopeTable, Option<RopeTable>)>,
}

impl RopeTables {
    /// Those of no position.
    pub fn new(config: &DecoderConfig, device: &Device) -> Self {
        let (ropes, rotary_dim) = (config.ropes.clone(), config.rotary_dim);
        let mut tables =
            Self { ropes, rotary_dim, n_positions: 0, device: device.clone(), tables: Vec::new() };
        tables.make(0);
        tables
    }

    /// How many positions there are.
    pub fn n_positions(&self) -> usize {
        self.n_positions
    }

    /// Makes angles for positions `0..n_positions`, if there are fewer.
    pub fn reserve(&mut self, n_positions: usize) {
        if self.n_positions < n_positions {
            self.make(n_positions);
        }
    }

    /// The tables of all ropes for a batch whose longest sequence has `n_tokens`.
    pub fn for_length(&self, n_tokens: usize) -> Vec<RopeTable> {
        let ropes = self.ropes.iter().zip(&self.tables);
        let of = |(rope, (short, long)): (&Rope, &(RopeTable, Option<RopeTable>))| match &rope.scaling {
            RopeScaling::Dynamic { original_max_positions, .. } if n_tokens > *original_max_positions => {
                table(rope, self.rotary_dim, (n_tokens, n_tokens), &self.device)
            }
            RopeScaling::Long { original_max_positions, .. } if n_tokens > *original_max_positions => {
                long.as_ref().unwrap_or(short).clone()
            }
            RopeScaling::Default
            | RopeScaling::Linear { .. }
            | RopeScaling::Dynamic { .. }
            | RopeScaling::Yarn(_)
            | RopeScaling::Long { .. }
            | RopeScaling::Llama3 { .. } => short.clone(),
        };
        ropes.map(of).collect()
    }

    /// Whether a sequence that grows from `before` to `after` tokens outgrows its angles, so that keys which were turned
    /// by them are of no use. `dynamic` changes them a little with every token; there transformers goes on with the old
    /// keys, and so does this engine, since starting again with every token would cost too much.
    pub fn outgrown(&self, before: usize, after: usize) -> bool {
        self.ropes.iter().any(|rope| match &rope.scaling {
            RopeScaling::Long { original_max_positions, .. } => {
                (before..after).contains(original_max_positions)
            }
            RopeScaling::Default
            | RopeScaling::Linear { .. }
            | RopeScaling::Dynamic { .. }
            | RopeScaling::Yarn(_)
            | RopeScaling::Llama3 { .. } => false,
        })
    }

    fn make(&mut self, n_positions: usize) {
        let Self { ropes, rotary_dim, device, .. } = self;
        let tables = ropes.iter().map(|rope| {
            let of = |n_tokens| table(rope, *rotary_dim, (n_positions, n_tokens), device);
            let long = match &rope.scaling {
                RopeScaling::Long { original_max_positions, .. } if n_positions > *original_max_positions => {
                    Some(of(n_positions))
                }
                RopeScaling::Default
                | RopeScaling::Linear { .. }
                | RopeScaling::Dynamic { .. }
                | RopeScaling::Yarn(_)
                | RopeScaling::Long { .. }
                | RopeScaling::Llama3 { .. } => None,
            };
            (of(0), long)
        });
        self.tables = tables.collect();
        self.n_positions = n_positions;
    }
}
