//! What must not change the gradients, and what must.

use burn::tensor::Device;
use ftl_trainer::data::batch::Batch;
use ftl_trainer::kernels::{Kernels, Precision};
use ftl_trainer::model::decoder::{Keep, LossPass, Trained};
use ftl_trainer::ops::param::Slot;

use crate::decoder::{LowRank, PASS, VARIANTS, batch, dropping, noisy, pass};
use crate::outcome::{Outcome, difference};

/// Rounding of f32 through three blocks.
const TOLERANCE: f64 = 1e-4;

const KERNELS: [Kernels; 2] = [Kernels::Plain, Kernels::Cpu];

#[test]
fn blocks_computed_again_give_the_same_bits() {
    let batch = batch(&[9, 1, 17], 1);
    for (variant, kernels) in VARIANTS.into_iter().flat_map(|v| KERNELS.map(|kernels| (v, kernels))) {
        let decoder = variant.decoder(kernels);
        for how in [PASS, dropping(3), noisy(3)] {
            let kept = pass(&decoder, &batch, how);
            let again = pass(&decoder, &batch, LossPass { keep: Keep::BlockInputs, ..how });
            assert!(kept == again, "{variant:?} {kernels:?}: {:.1e}", difference(&again, &kept));
        }
        let [one, other] =
            [3, 4].map(|seed| pass(&decoder, &batch, LossPass { keep: Keep::BlockInputs, ..dropping(seed) }));
        assert_eq!(one == other, variant.lora == LowRank::None, "{variant:?}");
    }
}

#[test]
fn both_versions_give_the_same_loss_and_gradients() {
    let mut worst = 0f64;
    for variant in VARIANTS {
        let [plain, cpu] = KERNELS.map(|kernels| variant.decoder(kernels));
        let batches = [batch(&[1, 8, 20], 1), batch(&[40], 2), batch(&[5, 30], 4)];
        for (batch, how) in batches.iter().zip([PASS, dropping(3), noisy(3)]) {
            let seen = difference(&pass(&plain, batch, how), &pass(&cpu, batch, how));
            assert!(seen < TOLERANCE, "{variant:?}: {seen:.1e}");
            worst = worst.max(seen);
        }
        let [one, other] = [&batches[1], &batch(&[40], 3)].map(|batch| pass(&plain, batch, PASS));
        assert!(difference(&one, &other) > 100.0 * TOLERANCE);
    }
    println!("worst {worst:.1e}");
}

#[test]
fn noise_on_the_embeddings_changes_the_gradients_by_its_stream() {
    let batch = batch(&[9, 12], 1);
    let decoder = VARIANTS[0].decoder(Kernels::Cpu);
    let [silent, noise, other] = [PASS, noisy(3), noisy(4)].map(|how| pass(&decoder, &batch, how));
    assert!(difference(&noise, &silent) > 100.0 * TOLERANCE);
    assert!(difference(&noise, &other) > 100.0 * TOLERANCE);
    assert!(noise == pass(&decoder, &batch, noisy(3)));
}

#[test]
fn two_segments_in_a_batch_are_two_batches() {
    let (first, second) = (batch(&[12], 1), batch(&[19], 2));
    let together = end_to_end(&first, &second);
    let mut worst = 0f64;
    for (variant, kernels) in VARIANTS.into_iter().flat_map(|v| KERNELS.map(|kernels| (v, kernels))) {
        let decoder = variant.decoder(kernels);
        let mut sum = pass(&decoder, &first, PASS);
        for (name, values) in pass(&decoder, &second, PASS) {
            let sum = sum.get_mut(&name).expect("both passes train the same");
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        let seen = difference(&pass(&decoder, &together, PASS), &sum);
        assert!(seen < TOLERANCE, "{variant:?} {kernels:?}: {seen:.1e}");
        worst = worst.max(seen);

        // Without the border, or with positions that go on, it shows.
        let whole = 0..together.n_tokens();
        let borderless = Batch { segments: vec![whole.clone()], ..together.clone() };
        let unrestarted = Batch { positions: whole.map(|p| p as u32).collect(), ..borderless.clone() };
        for wrong in [borderless, unrestarted] {
            let seen = difference(&pass(&decoder, &wrong, PASS), &sum);
            assert!(seen > 100.0 * TOLERANCE, "{variant:?} {kernels:?}: {seen:.1e}");
        }
    }
    println!("worst {worst:.1e}");
}

#[test]
fn weighted_tokens_have_their_share_of_the_loss_and_the_gradients() {
    let (first, second) = (batch(&[12], 1), batch(&[19], 2));
    let mut together = end_to_end(&first, &second);
    let weights = |factors: [f32; 2]| Some([vec![factors[0]; 12], vec![factors[1]; 19]].concat());
    for kernels in KERNELS {
        let decoder = VARIANTS[2].decoder(kernels);
        let mut sum = pass(&decoder, &first, PASS);
        for (name, values) in pass(&decoder, &second, PASS) {
            let sum = sum.get_mut(&name).expect("both passes train the same");
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum = *sum * 0.25 + 2.0 * value);
        }
        together.weights = weights([0.25, 2.0]);
        let seen = difference(&pass(&decoder, &together, PASS), &sum);
        assert!(seen < TOLERANCE, "{kernels:?}: {seen:.1e}");
        for wrong in [weights([2.0, 0.25]), None] {
            together.weights = wrong;
            assert!(difference(&pass(&decoder, &together, PASS), &sum) > 100.0 * TOLERANCE);
        }
    }
}

fn end_to_end(first: &Batch, second: &Batch) -> Batch {
    let n = first.n_tokens();
    let mut together = first.clone();
    together.ids.extend(&second.ids);
    together.positions.extend(&second.positions);
    together.targets.extend(&second.targets);
    together.segments.extend(second.segments.iter().map(|rows| rows.start + n..rows.end + n));
    together
}

#[test]
fn a_weight_has_the_same_gradient_whatever_else_is_trained() {
    let batch = batch(&[9, 6], 1);
    for (variant, kernels) in VARIANTS.into_iter().flat_map(|v| KERNELS.map(|kernels| (v, kernels))) {
        let mut decoder = variant.decoder(kernels);
        let all = pass(&decoder, &batch, PASS);
        let mut n_params = 0;
        decoder.for_each_param(&mut |_| n_params += 1);
        for trained in 0..n_params {
            let mut index = 0;
            decoder.for_each_param_mut(&mut |param| {
                param.slot = (index == trained).then_some(Slot(0));
                index += 1;
            });
            let alone = pass(&decoder, &batch, PASS);
            assert!(alone.len() > 1);
            for (name, gradient) in alone {
                assert!(gradient == all[&name], "{variant:?} {kernels:?}: {name}");
            }
        }
    }
}

#[test]
fn the_adapter_and_the_base_are_trained_apart() {
    let batch = batch(&[9, 6], 1);
    for (variant, kernels) in VARIANTS.into_iter().flat_map(|v| KERNELS.map(|kernels| (v, kernels))) {
        let mut decoder = variant.decoder(kernels);
        let mut all = pass(&decoder, &batch, dropping(3));
        let loss = all.remove("loss");
        for trained in [Trained::Adapter, Trained::Base] {
            decoder.train(trained);
            let mut part = pass(&decoder, &batch, dropping(3));
            assert_eq!(part.remove("loss"), loss);
            assert_eq!(part.is_empty(), trained == Trained::Adapter && variant.lora == LowRank::None);
            for (name, gradient) in part {
                assert_eq!(
                    name.starts_with("model.") || name.starts_with("lm_head."),
                    trained == Trained::Base
                );
                assert!(all.remove(&name) == Some(gradient), "{variant:?} {kernels:?}: {name}");
            }
        }
        assert!(all.is_empty(), "every weight is the adapter's or the base's: {:?}", all.keys());
    }
}

#[test]
fn the_scale_is_in_the_gradients_and_not_in_the_loss() {
    let batch = batch(&[9, 6], 1);
    for kernels in KERNELS {
        let decoder = VARIANTS[2].decoder(kernels);
        // A power of two changes no bit of a mantissa.
        let [whole, half] = [1.0, 0.5].map(|scale| pass(&decoder, &batch, LossPass { scale, ..PASS }));
        let doubled: Outcome = half
            .into_iter()
            .map(|(name, values)| {
                let factor = if name == "loss" { 1.0 } else { 2.0 };
                (name, values.into_iter().map(|value| value * factor).collect())
            })
            .collect();
        assert!(doubled == whole);
    }
}

#[test]
fn the_loss_is_the_sum_of_the_scores() {
    let (batch, other) = (batch(&[9, 6, 30], 1), batch(&[9, 6, 30], 2));
    for kernels in KERNELS {
        let decoder = VARIANTS[1].decoder(kernels);
        let loss = pass(&decoder, &batch, PASS)["loss"][0];
        let sum = |batch| decoder.score(batch).iter().map(|score| f64::from(score.nll_nats)).sum::<f64>();
        assert_eq!(decoder.score(&batch).len(), batch.n_supervised());
        assert!((sum(&batch) - loss).abs() < 1e-5 * loss);
        assert!((sum(&other) - loss).abs() > 1e-3 * loss);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    // Long enough for products and sums of rows on several threads.
    let (batch, other) = (batch(&[700, 1, 300], 1), batch(&[700, 1, 300], 2));
    for variant in VARIANTS {
        let mut decoder = variant.decoder(Kernels::Cpu);
        decoder.reserve_positions(700);
        let with = |n_threads, batch| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads start");
            pool.install(|| pass(&decoder, batch, dropping(3)))
        };
        let one = with(1, &batch);
        for n_threads in [2, 5] {
            let several = with(n_threads, &batch);
            assert!(several == one, "{variant:?} {n_threads}: {:.1e}", difference(&several, &one));
        }
        assert!(with(1, &other) != one);
    }
}

#[test]
fn a_weight_that_is_not_a_number_shows_in_the_loss() {
    let batch = batch(&[9, 6], 1);
    for (variant, kernels) in VARIANTS.into_iter().flat_map(|v| KERNELS.map(|kernels| (v, kernels))) {
        let sound = variant.decoder(kernels);
        let mut n_params = 0;
        sound.for_each_param(&mut |_| n_params += 1);
        for broken in 0..n_params {
            let mut decoder = sound.clone();
            let mut index = 0;
            decoder.for_each_param_mut(&mut |param| {
                if index == broken {
                    param.value = param.value.clone().mul_scalar(f32::NAN);
                }
                index += 1;
            });
            assert!(pass(&decoder, &batch, PASS)["loss"][0].is_nan(), "{variant:?} {kernels:?} {broken}");
        }
        assert!(pass(&sound, &batch, PASS)["loss"][0].is_finite());
    }
}

#[test]
fn a_device_gets_the_kernels_that_it_can_run() {
    assert_eq!(Kernels::of(&Device::flex(), Precision::F32), Kernels::Cpu);
    assert_eq!(Kernels::of(&Device::flex().autodiff(), Precision::F32), Kernels::Plain);
}
