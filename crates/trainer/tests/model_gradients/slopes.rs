//! Gradients of every tensor against slopes of the loss.

use burn::tensor::{Tensor, TensorData};
use ftl_trainer::data::batch::Batch;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::decoder::{Decoder, LossPass};

use crate::decoder::{LowRank, VARIANTS, batch, dropping, noisy, pass};
use crate::draw::Draw;
use crate::outcome::{Outcome, values};

/// The loss is near 150 nats in sums of f32, so a difference over `STEP` is off by some 1e-5 / `STEP`; gradients
/// are of the order of 1.
pub const TOLERANCE: f64 = 1e-2;
const STEP: f64 = 5e-3;
/// Smaller gradients are compared as if they were this large.
const SMALLEST_SCALE: f64 = 0.3;

/// Entries tried per tensor beside the one with the largest gradient.
const N_ANYWHERE: usize = 3;

#[test]
fn gradients_of_full_training_are_the_slopes_of_the_loss() {
    for variant in VARIANTS {
        let how = match variant.lora {
            LowRank::None => noisy(3),
            LowRank::Some => dropping(3),
        };
        let (right, other) = (batch(&[9, 1, 14, 20], 1), batch(&[44], 9));
        let decoder = variant.decoder(Kernels::Cpu);
        let slopes = slopes(&decoder, &right, how);
        let [right, other] = [right, other].map(|batch| worst(&slopes, &pass(&decoder, &batch, how)));
        println!("{variant:?}: {:.1e} at {}", right.0, right.1);
        assert!(right.0 < TOLERANCE, "{variant:?}: {:.1e} at {}", right.0, right.1);
        assert!(other.0 > 10.0 * TOLERANCE, "{variant:?}: {:.1e}", other.0);
    }
}

pub struct Slope {
    tensor: String,
    entry: usize,
    slope: f64,
}

/// Slopes of the loss in some entries of every tensor, the one with the largest gradient among them.
pub fn slopes(decoder: &Decoder, batch: &Batch, how: LossPass) -> Vec<Slope> {
    let gradients = pass(decoder, batch, how);
    let mut pieces = Vec::new();
    decoder.for_each_param(&mut |param| pieces.push(param.pieces.clone()));
    let mut draw = Draw::new(32);
    let mut slopes = Vec::new();
    for (param_index, piece) in pieces.iter().enumerate().flat_map(|(i, p)| p.iter().map(move |p| (i, p))) {
        let Some(gradient) = gradients.get(&piece.name) else { continue };
        let mut entries: Vec<usize> = (0..N_ANYWHERE).map(|_| draw.count(0..gradient.len())).collect();
        entries.push(largest(gradient));
        for entry in entries {
            let rise = |step: f64| {
                let [above, below] = [step, -step].map(|change| {
                    let moved = moved(decoder, param_index, piece.values.start + entry, change);
                    moved.loss_and_gradients(batch, how, &mut moved.zero_gradients())
                });
                above - below
            };
            // Of fourth order, so that a large step can be taken.
            let slope = (8.0 * rise(STEP) - rise(2.0 * STEP)) / (12.0 * STEP);
            slopes.push(Slope { tensor: piece.name.clone(), entry, slope });
        }
    }
    slopes
}

/// The worst difference to a slope and its tensor, relative to the largest gradient of the tensor.
pub fn worst(slopes: &[Slope], gradients: &Outcome) -> (f64, String) {
    let differences = slopes.iter().map(|Slope { tensor, entry, slope }| {
        let gradient = &gradients[tensor];
        let scale = gradient[largest(gradient)].abs().max(SMALLEST_SCALE);
        (
            (slope - gradient[*entry]).abs() / scale,
            format!("{tensor} {entry}: {slope} for {}", gradient[*entry]),
        )
    });
    differences.max_by(|a, b| a.0.total_cmp(&b.0)).expect("a decoder has weights")
}

pub(crate) fn largest(gradient: &[f64]) -> usize {
    (0..gradient.len()).fold(0, |a, b| if gradient[b].abs() > gradient[a].abs() { b } else { a })
}

/// The decoder with one value of one weight changed.
pub(crate) fn moved(decoder: &Decoder, param_index: usize, value: usize, change: f64) -> Decoder {
    let mut moved = decoder.clone();
    let mut index = 0;
    moved.for_each_param_mut(&mut |param| {
        if index == param_index {
            let mut weights: Vec<f32> = values(&param.value).iter().map(|value| *value as f32).collect();
            weights[value] = (f64::from(weights[value]) + change) as f32;
            param.value = Tensor::from_data(TensorData::new(weights, param.value.dims()), &decoder.device);
        }
        index += 1;
    });
    moved
}
