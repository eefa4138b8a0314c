//! 4-bit weights made dense.

use burn::tensor::{Device, Tensor};
use ftl_core::spec::resolved::Scales;
use ftl_trainer::kernels::{Gpu, Kernels, Precision};
use ftl_trainer::ops::linear::{Frozen, Nf4Weight, Weight};
use ftl_trainer::ops::param::Piece;
use ftl_trainer::quant::Quantizer;
use rand::RngExt;

use crate::device::{KERNELS, device, values};
use crate::random::{self, generator, matrix};

/// One tensor of the stack.
#[derive(Clone, Copy, PartialEq)]
enum Held {
    Dense,
    Nf4(Scales),
}

/// Tensors of the same width, one under the other.
struct Stack {
    width: usize,
    parts: Vec<(Held, Vec<f32>)>,
}

impl Stack {
    fn random(seed: u64) -> Self {
        let mut rng = generator(seed);
        // Tensors of whole blocks, of half blocks, and of odd numbers of values.
        let width = [64, 32, 4, 1, 3][seed as usize % 5] * rng.random_range(1..12);
        let parts = (0..rng.random_range(1..4)).map(|part| {
            let n_rows = rng.random_range(1..70);
            let held = match (seed + part) % 4 {
                0 | 1 => Held::Nf4(Scales::F32),
                2 => Held::Nf4(Scales::Double),
                _ => Held::Dense,
            };
            (held, random::values(&mut rng, n_rows * width))
        });
        let parts = parts.collect();
        Self { width, parts }
    }

    fn weight(&self, device: &Device) -> Weight {
        let mut start = 0;
        let (mut pieces, mut parts) = (Vec::new(), Vec::new());
        for (held, values) in &self.parts {
            let n_values = values.len();
            let shape = [n_values / self.width, self.width];
            let name = String::new();
            pieces.push(Piece { name, values: start..start + n_values, shape: shape.to_vec() });
            start += n_values;
            parts.push(match held {
                Held::Dense => Frozen::Dense(matrix(values, shape, device)),
                Held::Nf4(scales) => {
                    let mut quantizer = Quantizer::new(n_values);
                    quantizer.push(values);
                    Frozen::Nf4(quantizer.finish(*scales, device))
                }
            });
        }
        Weight::Nf4(Nf4Weight::new(self.width, pieces, parts))
    }

    fn plain(&self) -> Vec<f32> {
        values(self.weight(&Device::flex()).dense(Kernels::Plain))
    }
}

#[track_caller]
fn assert_same_bits(what: &str, got: Tensor<2>, want: &[f32]) {
    let got = values(got);
    assert_eq!(got.len(), want.len(), "{what}: as many values");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.to_bits(), want.to_bits(), "{what}: value {index} is {got}, not {want}");
    }
}

#[test]
fn dense_weights_equal_the_plain_version_bit_for_bit() {
    let Some(device) = device() else { return };
    for seed in 0..40 {
        let stack = Stack::random(seed);
        let got = stack.weight(&device).dense(KERNELS);
        assert_same_bits(&format!("seed {seed}, width {}", stack.width), got, &stack.plain());
    }
}

#[test]
fn half_precision_is_the_f32_value_rounded_once() {
    let Some(device) = device() else { return };
    for precision in [Precision::Bf16, Precision::F16] {
        if !device.supports_dtype(precision.dtype()) {
            eprintln!("skipped: the device has no {precision}");
            continue;
        }
        for seed in 0..10 {
            let stack = Stack::random(seed);
            let got = stack.weight(&device).dense(Kernels::Cube(Gpu { precision }));
            assert_eq!(got.dtype(), precision.dtype());
            let rounded = |value: f32| match precision {
                Precision::F32 => value,
                Precision::Bf16 => half::bf16::from_f32(value).to_f32(),
                Precision::F16 => half::f16::from_f32(value).to_f32(),
            };
            let want: Vec<f32> = stack.plain().into_iter().map(rounded).collect();
            assert_same_bits(&format!("{precision}, seed {seed}"), got, &want);
        }
    }
}

#[test]
fn a_dense_weight_that_is_held_is_not_written_over() {
    let Some(device) = device() else { return };
    let [first, second] = [Stack::random(1), Stack::random(2)];
    let held = first.weight(&device).dense(KERNELS);
    let other = second.weight(&device).dense(KERNELS);
    assert_same_bits("the first", held, &first.plain());
    assert_same_bits("the second", other, &second.plain());
}

#[test]
fn another_scale_is_noticed() {
    let Some(device) = device() else { return };
    let single =
        Stack { width: 64, parts: vec![(Held::Nf4(Scales::F32), random::values(&mut generator(3), 640))] };
    let double = Stack { width: 64, parts: vec![(Held::Nf4(Scales::Double), single.parts[0].1.clone())] };
    assert_ne!(values(double.weight(&device).dense(KERNELS)), single.plain());
}
