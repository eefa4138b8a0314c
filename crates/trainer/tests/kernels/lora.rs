//! The factors of low-rank updates in the type of activations.

use std::ops::Range;

use burn::tensor::Device;
use ftl_trainer::kernels::cube;
use ftl_trainer::ops::linear::{HalfFactors, Lora, LoraPart};
use ftl_trainer::ops::param::Param;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::device::{assert_close, computing, device, gpu_of, values};
use crate::random::{self, generator, matrix};

/// A layer, its numbers of outputs, and its factors as they should be.
struct Case {
    lora: Lora,
    n_outputs: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

fn param(rng: &mut ChaCha8Rng, shape: [usize; 2], device: &Device) -> (Vec<f32>, Param) {
    let values = random::values(rng, shape[0] * shape[1]);
    let param = Param::frozen(matrix(&values, shape, device));
    (values, param)
}

/// Parts that lie one after the other, but for a gap where `skip` says so.
fn case(rng: &mut ChaCha8Rng, n_parts: usize, skip: Option<usize>, device: &Device) -> Case {
    let n_in = rng.random_range(1..80);
    let sizes: Vec<[usize; 2]> =
        (0..n_parts).map(|_| [rng.random_range(1..60), rng.random_range(1..9)]).collect();
    let n_ranks = sizes.iter().map(|[_, rank]| rank).sum::<usize>();
    let gap = if skip.is_some() { 5 } else { 0 };
    let n_outputs = sizes.iter().map(|[outputs, _]| outputs).sum::<usize>() + gap;
    let (a, a_param) = param(rng, [n_ranks, n_in], device);
    let mut b = vec![0.0; n_outputs * n_ranks];
    let (mut parts, mut output, mut rank) = (Vec::new(), 0, 0);
    for (index, [outputs, r]) in sizes.into_iter().enumerate() {
        if skip == Some(index) {
            output += gap;
        }
        let (values, b_param) = param(rng, [outputs, r], device);
        for (at, value) in values.iter().enumerate() {
            b[(output + at / r) * n_ranks + rank + at % r] = *value;
        }
        let (outputs, ranks): (Range<usize>, _) = (output..output + outputs, rank..rank + r);
        (output, rank) = (outputs.end, ranks.end);
        parts.push(LoraPart { outputs, ranks, b: b_param, scale: 1.0, dora: None });
    }
    let lora = Lora { a: a_param, parts, dropout_prob: 0.0, half: HalfFactors::default() };
    Case { lora, n_outputs, a, b }
}

#[test]
fn factors_of_many_layers_are_those_of_each() {
    let Some(device) = device() else { return };
    let mut rng = generator(3);
    // More than a launch takes, of all kinds in any order.
    let mut cases: Vec<_> = (0..40).map(|index| case(&mut rng, index % 3 + 1, None, &device)).collect();
    cases.push(case(&mut rng, 2, Some(1), &device));
    cases.push(case(&mut rng, 1, Some(0), &device));
    for (kernels, tolerance) in computing(&device) {
        let layers: Vec<_> = cases.iter().map(|case| (&case.lora, case.n_outputs)).collect();
        let made = cube::lora::factors(gpu_of(kernels), &layers);
        assert_eq!(made.len(), cases.len());
        for (index, (factors, case)) in made.into_iter().zip(&cases).enumerate() {
            let [what_a, what_b] = ["A", "B"].map(|name| format!("{kernels:?}, layer {index}, {name}"));
            assert_eq!(factors.b.dims(), [case.n_outputs, case.lora.a.value.dims()[0]], "{what_b}");
            assert_close(&what_a, &values(factors.a), &case.a, tolerance);
            assert_close(&what_b, &values(factors.b), &case.b, tolerance);
        }
    }
}
