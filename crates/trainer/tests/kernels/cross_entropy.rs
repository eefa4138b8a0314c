//! The row kernels of the cross-entropy, against the formulas in f64; and head and loss together where products run.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ftl_trainer::kernels::{Gpu, Kernels, cube};
use ftl_trainer::ops::cross_entropy::{self, Chunk, Head, Objective};
use ftl_trainer::ops::param::{Gradients, Param, Slot};
use rand::RngExt;

use crate::device::{assert_close, computing, device, gpu_of, is_fast, values};
use crate::random::{self, generator, matrix};

struct Case {
    n_rows: usize,
    vocab: usize,
    softcap: Option<f32>,
    logits: Vec<f32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = generator(seed);
        let n_rows = rng.random_range(1..12);
        // Every size of vectors, and rows longer than a cube.
        let vocab = [1, 7, 64, 130, 1000, 5001][seed as usize % 6] * rng.random_range(1..4);
        let softcap = (seed % 2 == 1).then_some(5.0);
        let logits = random::values(&mut rng, n_rows * vocab).iter().map(|z| 20.0 * z).collect();
        let targets = (0..n_rows).map(|_| rng.random_range(0..vocab as u32)).collect();
        let weights = random::values(&mut rng, n_rows);
        Self { n_rows, vocab, softcap, logits, targets, weights }
    }

    /// The logits as the device holds them.
    fn held(&self, kernels: Kernels, device: &Device) -> Tensor<2> {
        kernels.narrow(matrix(&self.logits, [self.n_rows, self.vocab], device))
    }

    /// Two chunks, so that the second begins inside.
    fn run(&self, gpu: Gpu, device: &Device) -> Results {
        let logits = self.held(Kernels::Cube(gpu), device);
        let targets = TensorData::new(self.targets.clone(), [self.n_rows]);
        let targets = Tensor::<1, Int>::from_data(targets, (device, DType::U32));
        let weights = Tensor::<1>::from_data(TensorData::new(self.weights.clone(), [self.n_rows]), device);
        let mut nll = Tensor::<1>::zeros([self.n_rows], device);
        let mut scores = Tensor::<2>::zeros([self.n_rows, 2], device);
        let mut gradient = Vec::new();
        let middle = self.n_rows / 2;
        for rows in [0..middle, middle..self.n_rows].into_iter().filter(|rows| !rows.is_empty()) {
            let part = logits.clone().narrow(0, rows.start, rows.len());
            let chunk = Chunk { targets: &targets, first: rows.start, softcap: self.softcap };
            cube::cross_entropy::score(gpu, &part, chunk, &mut scores);
            let dz = cube::cross_entropy::gradient(gpu, part, (chunk, &weights), &mut nll);
            gradient.extend(values(dz));
        }
        let (scores, nll) = (values(scores), values(nll));
        let scored = scores.chunks(2).map(|score| score[0]).collect();
        let before = scores.chunks(2).map(|score| score[1]).collect();
        Results { nll, gradient, scored, before }
    }

    fn expected(&self, logits: &[f32]) -> Results {
        let (mut nll, mut gradient, mut before) = (Vec::new(), Vec::new(), Vec::new());
        let cap = self.softcap.map(f64::from);
        let rows = logits.chunks(self.vocab).zip(&self.targets).zip(&self.weights);
        for ((row, target), weight) in rows {
            let target = *target as usize;
            let z: Vec<f64> = row
                .iter()
                .map(|z| f64::from(*z))
                .map(|z| cap.map_or(z, |cap| cap * (z / cap).tanh()))
                .collect();
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
            nll.push((log_sum - z[target]) as f32);
            before.push(
                row.iter()
                    .enumerate()
                    .filter(|(i, z)| **z > row[target] || (**z == row[target] && *i < target))
                    .count() as f32,
            );
            gradient.extend(z.iter().enumerate().map(|(i, z)| {
                let of_target = f64::from(u8::from(i == target));
                let slope = cap.map_or(1.0, |cap| 1.0 - (z / cap).powi(2));
                (((z - log_sum).exp() - of_target) * f64::from(*weight) * slope) as f32
            }));
        }
        Results { scored: nll.clone(), nll, gradient, before }
    }
}

struct Results {
    nll: Vec<f32>,
    gradient: Vec<f32>,
    scored: Vec<f32>,
    /// How many tokens come before the target.
    before: Vec<f32>,
}

#[test]
fn row_kernels_equal_the_formulas() {
    let Some(device) = device() else { return };
    for (kernels, tolerance) in computing(&device) {
        for seed in 0..12 {
            let case = Case::new(seed);
            let got = case.run(gpu_of(kernels), &device);
            let want = case.expected(&values(case.held(kernels, &device)));
            let says = |what| format!("{kernels:?}, seed {seed}, {what}");
            assert_close(&says("nll"), &got.nll, &want.nll, 1e-5);
            assert_close(&says("scored"), &got.scored, &want.scored, 1e-5);
            assert_close(&says("dz"), &got.gradient, &want.gradient, tolerance);
            // Limited logits that are alike in f32 may differ in f64.
            if case.softcap.is_none() {
                assert_eq!(got.before, want.before, "{}", says("tokens before the target"));
            }
        }
    }
}

#[test]
fn another_target_is_noticed() {
    let Some(device) = device() else { return };
    let (kernels, _) = computing(&device)[0];
    let case =
        Case { targets: vec![3], ..Case { n_rows: 1, vocab: 8, logits: vec![0.5; 8], ..Case::new(0) } };
    let case = Case { weights: vec![1.0], ..case };
    let got = case.run(gpu_of(kernels), &device);
    assert!((got.nll[0] - 8f32.ln()).abs() < 1e-6, "{:?}", got.nll);
    // Of tokens that are alike the first is taken.
    assert_eq!(got.before, [3.0]);
    let lowest = got.gradient.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
    assert_eq!(lowest.map(|(i, _)| i), Some(3));
}

/// Head and loss; `gap` tokens in a hundred don't count.
fn head_and_loss(kernels: Kernels, device: &Device, (vocab, gap): (usize, u32)) -> [Vec<f32>; 4] {
    let mut rng = generator(u64::from(gap));
    let (n_tokens, width) = (300, 64);
    let mut draw = |n| random::values(&mut rng, n);
    let hidden = kernels.narrow(matrix(&draw(n_tokens * width), [n_tokens, width], device));
    let mut head = Param::frozen(kernels.narrow(matrix(&draw(vocab * width), [vocab, width], device)));
    head.slot = Some(Slot(0));
    let mut targets = Vec::new();
    for _ in 0..n_tokens {
        let counts = rng.random_range(0..100) >= gap;
        targets.push(if counts { rng.random_range(0..vocab as i32) } else { -100 });
    }
    let weights = vec![0.5; targets.iter().filter(|target| **target >= 0).count()];
    let mut gradients = Gradients::zeros([[vocab, width]], device, kernels);
    let head = Head::plain(&head);
    let scores = cross_entropy::score(kernels, head, &hidden, &targets);
    let (nll, dh) = cross_entropy::forward_backward(
        kernels,
        head,
        (&hidden, &targets),
        Objective::Weighted(&weights),
        &mut gradients,
    );
    let scored = scores.iter().map(|score| score.nll_nats).collect();
    [nll.read(), scored, values(dh), values(gradients.take(Slot(0)))]
}

#[test]
fn head_and_loss_equal_the_plain_version() {
    let Some(device) = device() else { return };
    // So many that there are chunks, where that does not take minutes.
    let vocab = if is_fast(&device) { 1 << 18 } else { 1000 };
    for (kernels, tolerance) in computing(&device) {
        for gap in [0, 3, 50, 100] {
            let got = head_and_loss(kernels, &device, (vocab, gap));
            let want = head_and_loss(Kernels::Plain, &Device::flex(), (vocab, gap));
            let tolerance = tolerance.max(5e-3);
            for (what, (got, want)) in ["nll", "scored", "dh", "dw"].iter().zip(got.iter().zip(&want)) {
                assert_close(&format!("{kernels:?}, {gap} % gaps, {what}"), got, want, tolerance);
            }
        }
    }
}
