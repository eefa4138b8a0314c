//! The global norm and AdamW.

use burn::tensor::{Device, Tensor};
use ftl_core::spec::resolved;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::kernels::cube::adamw::{self as gpu, Update};
use ftl_trainer::kernels::cube::adamw8bit as gpu8bit;
use ftl_trainer::kernels::cube::global_norm::{self, By};
use ftl_trainer::optim::adamw::{self, Coefficients, Decay, Moments};
use ftl_trainer::optim::adamw8bit::{self, BlockMoments};
use ftl_trainer::optim::clip;
use rand::RngExt;

use crate::device::{F32, assert_close, device, is_cuda, values};
use crate::random::{self, generator, matrix};

const ADAMW: resolved::AdamW =
    resolved::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
const LEARNING_RATE: f64 = 1e-3;

/// Weights of several shapes, and gradients for some steps.
struct Case {
    shapes: Vec<[usize; 2]>,
    weights: Vec<Vec<f32>>,
    /// By step and weight.
    gradients: Vec<Vec<Vec<f32>>>,
    max_norm: Option<f64>,
}

impl Case {
    fn random(seed: u64) -> Self {
        let mut rng = generator(seed);
        // Few numbers of weights, since each number is a kernel of its own to compile; one fills more than a launch.
        let many = if is_cuda() { 70 } else { 9 };
        let n_weights = [1, 3, many][seed as usize % 3];
        let width = |rng: &mut rand_chacha::ChaCha8Rng| [64, 8, 6, 1, 3][rng.random_range(0..5)];
        let shapes: Vec<_> = (0..n_weights)
            .map(|_| [rng.random_range(1..150), if n_weights == many { 8 } else { width(&mut rng) }])
            .collect();
        Self::of(shapes, seed)
    }

    fn of(shapes: Vec<[usize; 2]>, seed: u64) -> Self {
        let mut rng = generator(seed + 1000);
        let mut draw =
            || shapes.iter().map(|[rows, cols]| random::values(&mut rng, rows * cols)).collect::<Vec<_>>();
        let (weights, gradients) = (draw(), (0..3).map(|_| draw()).collect());
        let max_norm = [None, Some(1.0), Some(1e4)][seed as usize % 3];
        Self { shapes, weights, gradients, max_norm }
    }

    fn tensors(&self, values: &[Vec<f32>], device: &Device) -> Vec<Tensor<2>> {
        values.iter().zip(&self.shapes).map(|(values, shape)| matrix(values, *shape, device)).collect()
    }

    fn sizes(&self) -> Vec<usize> {
        self.weights.iter().map(Vec::len).collect()
    }

    /// Norms of all steps, weights and both moments, as the plain version makes them.
    fn plain(&self) -> (Vec<f64>, Vec<[Vec<f32>; 3]>) {
        let device = Device::flex();
        let mut weights = self.tensors(&self.weights, &device);
        let mut moments: Vec<_> = weights.iter().map(Moments::zeros).collect();
        let mut norms = Vec::new();
        for (step, gradients) in self.gradients.iter().enumerate() {
            let gradients = self.tensors(gradients, &device);
            let squares = gradients.iter().map(|one| clip::sum_of_squares(Kernels::Plain, one));
            let norm = squares.sum::<f64>().sqrt();
            let coefficients = coefficients(step, clip::factor(norm, self.max_norm));
            for ((weight, gradient), moments) in weights.iter_mut().zip(&gradients).zip(&mut moments) {
                adamw::update(Kernels::Plain, weight, gradient, moments, &coefficients);
            }
            norms.push(norm);
        }
        (norms, results(weights, moments))
    }

    /// The same on a GPU; `by` says whose gradient decides about each.
    fn on_gpu(&self, device: &Device, by: fn(usize) -> By) -> (Vec<f64>, Vec<[Vec<f32>; 3]>) {
        let mut weights = self.tensors(&self.weights, device);
        let mut moments: Vec<_> = weights.iter().map(Moments::zeros).collect();
        let mut norm = global_norm::norm(F32, &self.sizes(), device);
        let mut norms = Vec::new();
        for (step, gradients) in self.gradients.iter().enumerate() {
            let gradients = self.tensors(gradients, device);
            let coefficients = coefficients(step, 1.0);
            let of_slots: Vec<_> = gradients.iter().enumerate().collect();
            match by(0) {
                By::All => {
                    global_norm::measure(F32, &mut norm, &of_slots);
                    global_norm::decide(F32, &mut norm, self.max_norm, 1.0);
                    let updates = weights.drain(..).zip(&gradients).zip(&mut moments);
                    let updates =
                        updates.map(|((weight, gradient), moments)| Update { weight, gradient, moments });
                    weights = gpu::update(F32, (&norm, By::All), updates.collect(), &coefficients);
                }
                By::Slot(_) => {
                    for (slot, gradient) in of_slots {
                        global_norm::measure(F32, &mut norm, &[(slot, gradient)]);
                        let (weight, moments) = (weights[slot].clone(), &mut moments[slot]);
                        let updates = vec![Update { weight, gradient, moments }];
                        weights[slot] = gpu::update(F32, (&norm, by(slot)), updates, &coefficients).remove(0);
                    }
                }
            }
            let squares = global_norm::squares(F32, &norm);
            norms.push(squares[..self.shapes.len()].iter().map(|one| f64::from(*one)).sum::<f64>().sqrt());
        }
        (norms, results(weights, moments))
    }
}

fn coefficients(step: usize, clip: f64) -> Coefficients {
    Coefficients::new(&ADAMW, Decay::Applies, LEARNING_RATE, step as u64 + 1, clip)
}

fn results(weights: Vec<Tensor<2>>, moments: Vec<Moments>) -> Vec<[Vec<f32>; 3]> {
    let all = weights.into_iter().zip(moments);
    all.map(|(weight, Moments { first, second })| [weight, first, second].map(values)).collect()
}

#[track_caller]
fn assert_same(
    (got_norms, got): &(Vec<f64>, Vec<[Vec<f32>; 3]>),
    want: &(Vec<f64>, Vec<[Vec<f32>; 3]>),
    seed: u64,
) {
    for (got, want) in got_norms.iter().zip(&want.0) {
        assert!((got - want).abs() <= 1e-5 * want, "seed {seed}: norm {got}, not {want}");
    }
    for (slot, (got, want)) in got.iter().zip(&want.1).enumerate() {
        for (what, (got, want)) in ["weight", "first", "second"].iter().zip(got.iter().zip(want)) {
            assert_close(&format!("seed {seed}, slot {slot}, {what}"), got, want, 1e-5);
        }
    }
}

#[test]
fn steps_over_all_weights_equal_the_plain_version() {
    let Some(device) = device() else { return };
    for seed in 0..6 {
        let case = Case::random(seed);
        assert_same(&case.on_gpu(&device, |_| By::All), &case.plain(), seed);
    }
}

#[test]
fn steps_of_single_weights_equal_the_plain_version_without_clipping() {
    let Some(device) = device() else { return };
    for seed in 0..4 {
        let case = Case { max_norm: None, ..Case::random(seed) };
        assert_same(&case.on_gpu(&device, By::Slot), &case.plain(), seed);
    }
}

#[test]
fn both_ways_measure_the_same_norm_to_the_last_bit() {
    let Some(device) = device() else { return };
    let case = Case { max_norm: None, ..Case::random(5) };
    let (all, single) = (case.on_gpu(&device, |_| By::All), case.on_gpu(&device, By::Slot));
    assert_eq!(all.0, single.0);
    assert_eq!(all.1, single.1);
}

#[test]
fn a_gradient_that_is_part_of_a_tensor_counts_alone() {
    let Some(device) = device() else { return };
    // Parts of the rows of q, k and v, as magnitudes have them.
    let shapes = vec![[1, 40], [1, 24], [1, 8]];
    let case = Case { max_norm: Some(1.0), ..Case::of(shapes.clone(), 0) };
    let (mut weights, mut norm) =
        (case.tensors(&case.weights, &device), global_norm::norm(F32, &case.sizes(), &device));
    let mut moments: Vec<_> = weights.iter().map(Moments::zeros).collect();
    let mut norms = Vec::new();
    for (step, gradients) in case.gradients.iter().enumerate() {
        let all = matrix(&gradients.concat(), [1, 72], &device);
        let parts = [0..40, 40..64, 64..72].map(|range| all.clone().slice([0..1, range]));
        global_norm::measure(F32, &mut norm, &parts.iter().enumerate().collect::<Vec<_>>());
        global_norm::decide(F32, &mut norm, case.max_norm, 1.0);
        let updates = weights.drain(..).zip(&parts).zip(&mut moments);
        let updates = updates.map(|((weight, gradient), moments)| Update { weight, gradient, moments });
        weights = gpu::update(F32, (&norm, By::All), updates.collect(), &coefficients(step, 1.0));
        let squares = global_norm::squares(F32, &norm);
        norms.push(squares[..shapes.len()].iter().map(|one| f64::from(*one)).sum::<f64>().sqrt());
    }
    assert_same(&(norms, results(weights, moments)), &case.plain(), 0);
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let Some(device) = device() else { return };
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
        for by in [|_| By::All, By::Slot] {
            let mut case = Case::of(vec![[70, 64], [5, 3]], 0);
            for gradients in &mut case.gradients {
                gradients.iter_mut().for_each(|one| one[7] = wrong);
            }
            let (norms, results) = case.on_gpu(&device, by);
            assert!(norms.iter().all(|norm| !norm.is_finite()), "{wrong}: {norms:?}");
            for ([weight, first, second], before) in results.iter().zip(&case.weights) {
                assert_eq!(weight, before, "{wrong}");
                assert!(first.iter().chain(second).all(|moment| *moment == 0.0), "{wrong}");
            }
        }
    }
}

#[test]
fn clipping_is_noticed() {
    let Some(device) = device() else { return };
    let case = Case { max_norm: Some(1.0), ..Case::of(vec![[70, 64]], 0) };
    let free = Case { max_norm: None, ..Case::of(vec![[70, 64]], 0) };
    let first = |case: &Case| case.on_gpu(&device, |_| By::All).1[0][1].clone();
    assert_ne!(first(&case), first(&free));
}

/// Codes that differ, and by how much at most.
fn differing_codes(got: &[u8], want: &[u8]) -> (usize, u8) {
    let differences = got.iter().zip(want).map(|(got, want)| got.abs_diff(*want));
    differences.fold((0, 0), |(n, most), one| (n + usize::from(one > 0), most.max(one)))
}

#[test]
fn moments_in_8_bits_equal_the_plain_version() {
    let Some(device) = device() else { return };
    for (seed, shape) in [[70, 64], [1, 4100], [96, 100]].into_iter().enumerate() {
        let case = Case::of(vec![shape], seed as u64);
        let n_values = shape[0] * shape[1];
        let flex = Device::flex();
        let mut want = (matrix(&case.weights[0], shape, &flex), BlockMoments::zeros(n_values, &flex));
        let mut got = (matrix(&case.weights[0], shape, &device), BlockMoments::zeros(n_values, &device));
        let mut norm = global_norm::norm(F32, &[n_values], &device);
        for (step, gradients) in case.gradients.iter().enumerate() {
            let coefficients = coefficients(step, 1.0);
            let gradient = matrix(&gradients[0], shape, &flex);
            adamw8bit::update(Kernels::Plain, &mut want.0, &gradient, &mut want.1, &coefficients);
            let gradient = matrix(&gradients[0], shape, &device);
            global_norm::measure(F32, &mut norm, &[(0, &gradient)]);
            global_norm::decide(F32, &mut norm, None, 1.0);
            let update = Update { weight: got.0, gradient: &gradient, moments: &mut got.1 };
            got.0 = gpu8bit::update(F32, (&norm, By::All), update, &coefficients);
            for (got, want) in [(&got.1.first, &want.1.first), (&got.1.second, &want.1.second)] {
                let codes = |blocks: &adamw8bit::Blocks| -> Vec<u8> {
                    blocks.codes.to_data().try_into_vec().expect("codes are bytes")
                };
                // A value in the middle between two levels may go either way when its last bit differs.
                let (n, most) = differing_codes(&codes(got), &codes(want));
                assert!(n <= n_values / 500 && most <= 1, "step {step}: {n} codes differ, by {most} at most");
                let absmax = |blocks: &adamw8bit::Blocks| values(blocks.absmax.clone());
                assert_close("scales", &absmax(got), &absmax(want), 1e-5);
            }
            // The rest follows from the same moments.
            got.1 = upload(&want.1, &device);
            assert_close(&format!("step {step}"), &values(got.0.clone()), &values(want.0.clone()), 1e-5);
        }
    }
}

#[test]
fn moments_in_8_bits_stay_when_a_gradient_is_not_finite() {
    let Some(device) = device() else { return };
    let weight = random::values(&mut generator(1), 5120);
    let gradient = matrix(&[f32::NAN; 5120], [10, 512], &device);
    let mut moments = BlockMoments::zeros(5120, &device);
    let before = codes_of(&moments);
    let mut norm = global_norm::norm(F32, &[5120], &device);
    global_norm::measure(F32, &mut norm, &[(0, &gradient)]);
    let update =
        Update { weight: matrix(&weight, [10, 512], &device), gradient: &gradient, moments: &mut moments };
    let updated = gpu8bit::update(F32, (&norm, By::Slot(0)), update, &coefficients(0, 1.0));
    assert_eq!(values(updated), weight);
    assert_eq!(codes_of(&moments), before);
}

fn codes_of(moments: &BlockMoments) -> [Vec<u8>; 2] {
    [&moments.first, &moments.second]
        .map(|blocks| blocks.codes.to_data().try_into_vec().expect("codes are bytes"))
}

fn upload(moments: &BlockMoments, device: &Device) -> BlockMoments {
    let blocks = |blocks: &adamw8bit::Blocks, codes: &[u8]| adamw8bit::Blocks {
        codes: adamw8bit::bytes(codes.to_vec(), device),
        absmax: Tensor::from_data(blocks.absmax.to_data(), device),
    };
    let [first, second] = codes_of(moments);
    BlockMoments { first: blocks(&moments.first, &first), second: blocks(&moments.second, &second) }
}
