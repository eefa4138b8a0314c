//! Rotary positions.

use burn::tensor::Device;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::attention::AttentionShape;
use ftl_trainer::ops::rope::{RopeTable, Turn, rotate};
use rand::RngExt;

use crate::device::{assert_close, computing, device, values};
use crate::random::{self, generator, matrix};

/// Positions that the tables have.
const N_POSITIONS: usize = 50;

struct Case {
    shape: AttentionShape,
    rotary_dim: usize,
    positions: Vec<u32>,
    qkv: Vec<f32>,
    table: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = generator(seed);
        let (n_heads, n_kv_heads) = (rng.random_range(1..6), rng.random_range(1..4));
        let head_dim = 2 * rng.random_range(1..40);
        let rotary_dim =
            if seed.is_multiple_of(3) { 2 * rng.random_range(1..=head_dim / 2) } else { head_dim };
        let shape = AttentionShape { n_heads, n_kv_heads, head_dim, scale: 1.0, window: None, softcap: None };
        let n_tokens = rng.random_range(1..40);
        let positions = (0..n_tokens).map(|_| rng.random_range(0..N_POSITIONS as u32)).collect();
        let qkv = random::values(&mut rng, n_tokens * shape.width());
        let table = random::values(&mut rng, N_POSITIONS * rotary_dim);
        Self { shape, rotary_dim, positions, qkv, table }
    }

    fn run(&self, kernels: Kernels, device: &Device, turn: Turn) -> Vec<f32> {
        let qkv = matrix(&self.qkv, [self.positions.len(), self.shape.width()], device);
        let table = RopeTable::new(matrix(&self.table, [N_POSITIONS, self.rotary_dim], device));
        values(rotate(kernels, kernels.narrow(qkv), &self.positions, &table, (turn, &self.shape)))
    }
}

#[test]
fn rotations_equal_the_plain_version() {
    let Some(device) = device() else { return };
    for (kernels, tolerance) in computing(&device) {
        for seed in 0..12 {
            let case = Case::new(seed);
            for turn in [Turn::Forward, Turn::Backward] {
                let got = case.run(kernels, &device, turn);
                let want = case.run(Kernels::Plain, &Device::flex(), turn);
                assert_close(&format!("{kernels:?}, seed {seed}, {turn:?}"), &got, &want, tolerance);
            }
        }
    }
}

#[test]
fn the_other_turn_is_noticed() {
    let Some(device) = device() else { return };
    let (kernels, _) = computing(&device)[0];
    let case = Case::new(1);
    let [there, back] = [Turn::Forward, Turn::Backward].map(|turn| case.run(kernels, &device, turn));
    assert!(there.iter().zip(&back).any(|(there, back)| (there - back).abs() > 0.01));
}

#[test]
fn tensors_that_are_held_elsewhere_stay_as_they_are() {
    let Some(device) = device() else { return };
    let (kernels, _) = computing(&device)[0];
    let case = Case::new(1);
    let qkv = matrix(&case.qkv, [case.positions.len(), case.shape.width()], &device);
    let held = qkv.clone();
    let table = RopeTable::new(matrix(&case.table, [N_POSITIONS, case.rotary_dim], &device));
    let turned = rotate(kernels, qkv, &case.positions, &table, (Turn::Forward, &case.shape));
    assert_ne!(values(turned), case.qkv);
    assert_eq!(values(held), case.qkv);
}
