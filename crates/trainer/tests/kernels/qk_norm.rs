//! The norms of queries and keys, alone and with the rotary positions behind them.

use burn::tensor::Device;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::ops::attention::AttentionShape;
use ftl_trainer::ops::norm::NormWeight;
use ftl_trainer::ops::param::{Gradients, Param, Slot};
use ftl_trainer::ops::qk_norm::{BackwardInput, QkNorm};
use ftl_trainer::ops::rope::{RopeTable, Rotation};
use rand::RngExt;

use crate::device::{assert_close, computing, device, values};
use crate::random::{self, generator, matrix};

/// Positions that the tables have.
const N_POSITIONS: usize = 50;

#[derive(Clone)]
struct Case {
    shape: AttentionShape,
    /// How many values are normalized together.
    groups: [usize; 2],
    /// `None`: nothing is turned.
    rotary_dim: Option<usize>,
    weights: [Vec<f32>; 2],
    are_trained: bool,
    positions: Vec<u32>,
    qkv: Vec<f32>,
    d: Vec<f32>,
    table: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = generator(seed);
        let n_kv_heads = rng.random_range(1..4);
        let n_heads = n_kv_heads * rng.random_range(1..4);
        let head_dim = 2 * rng.random_range(1..50);
        let rotary_dim = match seed % 3 {
            0 => None,
            1 => Some(head_dim),
            _ => Some(2 * rng.random_range(1..=head_dim / 2)),
        };
        let shape = AttentionShape { n_heads, n_kv_heads, head_dim, scale: 1.0, window: None, softcap: None };
        let groups =
            if seed.is_multiple_of(2) { [head_dim; 2] } else { [n_heads * head_dim, n_kv_heads * head_dim] };
        let n_tokens = rng.random_range(1..100);
        let positions = (0..n_tokens).map(|_| rng.random_range(0..N_POSITIONS as u32)).collect();
        let mut draw = |n| random::values(&mut rng, n);
        let weights = groups.map(&mut draw);
        let [qkv, d] = [(); 2].map(|()| draw(n_tokens * shape.width()));
        let table = draw(N_POSITIONS * head_dim);
        let are_trained = seed % 4 > 1;
        Self { shape, groups, rotary_dim, weights, are_trained, positions, qkv, d, table }
    }

    /// y, `1 / rms`, the gradient of the input, and those of the weights.
    fn run(&self, kernels: Kernels, device: &Device) -> Vec<Vec<f32>> {
        let held = |i: usize| {
            let mut weight = Param::frozen(matrix(&self.weights[i], [1, self.groups[i]], device));
            weight.slot = self.are_trained.then_some(Slot(i));
            weight
        };
        let norm = QkNorm { q: held(0), k: held(1), eps: 1e-5, meaning: NormWeight::OnePlus };
        let shape = [self.positions.len(), self.shape.width()];
        let [qkv, d] = [&self.qkv, &self.d].map(|values| kernels.narrow(matrix(values, shape, device)));
        let width = self.rotary_dim.unwrap_or(2);
        let table = RopeTable::new(matrix(&self.table[..N_POSITIONS * width], [N_POSITIONS, width], device));
        let rotation = self.rotary_dim.map(|_| Rotation { positions: &self.positions, table: &table });
        let (y, inverse_rms) = norm.forward_turned(kernels, (&qkv, &self.shape), rotation);
        let mut gradients = Gradients::zeros(self.groups.map(|width| [1, width]), device, kernels);
        let input = BackwardInput { qkv: &qkv, inverse_rms: &inverse_rms, shape: &self.shape };
        let dx = norm.backward_turned(kernels, input, (d, rotation), &mut gradients);
        let [dq, dk] = [0, 1].map(|i| gradients.take(Slot(i)));
        [y, inverse_rms, dx, dq, dk].map(values).to_vec()
    }
}

#[test]
fn norms_of_heads_equal_the_plain_version() {
    let Some(device) = device() else { return };
    for (kernels, tolerance) in computing(&device) {
        for seed in 0..24 {
            let case = Case::new(seed);
            let (got, want) = (case.run(kernels, &device), case.run(Kernels::Plain, &Device::flex()));
            for (what, (got, want)) in ["y", "1 / rms", "dx", "dq", "dk"].iter().zip(got.iter().zip(&want)) {
                assert_close(&format!("{kernels:?}, seed {seed}, {what}"), got, want, tolerance);
            }
        }
    }
}

#[test]
fn other_groups_are_noticed() {
    let Some(device) = device() else { return };
    let (kernels, _) = computing(&device)[0];
    let case = Case { rotary_dim: None, ..Case::new(0) };
    let heads = [case.shape.n_heads, case.shape.n_kv_heads];
    let ones = Case { weights: case.groups.map(|n| vec![0.0; n]), ..case.clone() };
    let groups = heads.map(|n| n * case.shape.head_dim);
    let together = Case { groups, weights: groups.map(|n| vec![0.0; n]), ..case };
    let [apart, together] = [ones, together].map(|case| case.run(kernels, &device).remove(0));
    assert!(heads[0] > 1 && apart.iter().zip(&together).any(|(a, b)| (a - b).abs() > 0.01), "{heads:?}");
}
