//! AdamW with moments in 8 bits.

use burn::tensor::Device;
use ftl_core::spec::resolved::AdamW;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::optim::adamw::{self, Coefficients, Decay, Moments};
use ftl_trainer::optim::adamw8bit::{BLOCK, BlockMoments, update};
use ftl_trainer::quant::dynamic::{Dynamic, SIGNED, UNSIGNED};

use crate::draw::Draw;
use crate::operation::TOLERANCE;
use crate::outcome::{difference_of, values};

const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-3, weight_decay: 0.1 };

/// One value, less than a block, whole blocks, blocks and a rest, several tasks of the CPU version.
const SHAPES: [[usize; 2]; 5] = [[1, 1], [9, 7], [16, 64], [33, 41], [131, 257]];

fn coefficients(step: u64) -> Coefficients {
    Coefficients::new(&ADAMW, Decay::Applies, 0.02, step, 0.5)
}

/// The moments that one update makes, exactly, of what the codes before it stand for.
fn formula(before: &Moments, gradient: &[f64]) -> [Vec<f64>; 2] {
    let AdamW { beta1, beta2, .. } = ADAMW;
    let next = |moment: Vec<f64>, beta: f64, new: &dyn Fn(f64) -> f64| {
        moment.iter().zip(gradient).map(|(m, g)| beta * m + (1.0 - beta) * new(0.5 * g)).collect()
    };
    [next(values(&before.first), beta1, &|g| g), next(values(&before.second), beta2, &|g| g * g)]
}

/// How much closer another level would be, relative to the largest value of a block.
fn worst_code(got: &[f64], exact: &[f64], dynamic: &Dynamic) -> f64 {
    let mut worst = 0f64;
    for (got, exact) in got.chunks(BLOCK).zip(exact.chunks(BLOCK)) {
        let largest = exact.iter().fold(0f64, |largest, value| largest.max(value.abs()));
        for (got, exact) in got.iter().zip(exact) {
            let distances = dynamic.levels.iter().map(|level| (f64::from(*level) * largest - exact).abs());
            let nearest = distances.fold(f64::INFINITY, f64::min);
            worst = worst.max(((got - exact).abs() - nearest) / largest.max(f64::MIN_POSITIVE));
        }
    }
    worst
}

#[test]
fn an_update_follows_its_formula_and_every_code_is_the_nearest() {
    for shape in SHAPES {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let mut weight = Draw::new(40).tensor(shape);
            let mut moments = BlockMoments::zeros(shape[0] * shape[1], &Device::flex());
            for step in 1..=4 {
                let gradient = Draw::new(50 + step).tensor(shape);
                let (before, mut dense) = (moments.dequantize(shape), moments.dequantize(shape));
                let mut want = weight.clone();
                adamw::update(kernels, &mut want, &gradient, &mut dense, &coefficients(step));
                update(kernels, &mut weight, &gradient, &mut moments, &coefficients(step));
                let seen = difference_of(&values(&weight), &values(&want));
                assert!(seen < TOLERANCE, "{shape:?} {kernels:?} step {step}: {seen:.1e}");

                let [first, second] = formula(&before, &values(&gradient));
                let after = moments.dequantize(shape);
                let seen = worst_code(&values(&after.first), &first, &SIGNED).max(worst_code(
                    &values(&after.second),
                    &second,
                    &UNSIGNED,
                ));
                assert!(seen < TOLERANCE, "{shape:?} {kernels:?} step {step}: codes {seen:.1e}");
                assert!(shape == [1, 1] || values(&after.first) != first, "codes round");
            }
        }
    }
}

#[test]
fn weights_stay_close_to_those_of_moments_in_f32() {
    let shape = [64, 80];
    let mut weights = [Draw::new(41).tensor(shape), Draw::new(41).tensor(shape)];
    let start = values(&weights[0]);
    let mut exact = Moments::zeros(&weights[0]);
    let mut moments = BlockMoments::zeros(shape[0] * shape[1], &Device::flex());
    for step in 1..=30 {
        let gradient = Draw::new(60 + step).tensor(shape);
        let [dense, coded] = &mut weights;
        adamw::update(Kernels::Cpu, dense, &gradient, &mut exact, &coefficients(step));
        update(Kernels::Cpu, coded, &gradient, &mut moments, &coefficients(step));
    }
    let [dense, coded] = weights.map(|weight| values(&weight));
    let norm = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let share = norm(&dense, &coded) / norm(&dense, &start);
    println!("moments in 8 bits move the weights by {share:.1e} of the way");
    assert!(share > 1e-6 && share < 0.02, "{share}");
}
