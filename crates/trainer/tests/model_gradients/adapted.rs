//! Adapters with everything: updates of blocks, embedding and head, magnitudes, and modules that train in full.

use ftl_core::spec::resolved::{LoraScale, LoraVariant};
use ftl_trainer::adapter::lora::{LoraSource, attach};
use ftl_trainer::adapter::merge::merge;
use ftl_trainer::adapter::peft::{AdapterConfig, Modules};
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::decoder::{Decoder, Keep, LossPass, Trained};
use ftl_trainer::ops::param::Owner;

use crate::decoder::{Biases, LowRank, PASS, Tied, Variant, batch, dropping, pass};
use crate::draw::Draw;
use crate::outcome::{difference, difference_of, values};
use crate::slopes::{self, slopes, worst};

/// Rounding of f32 through three blocks.
const TOLERANCE: f64 = 1e-4;

const KERNELS: [Kernels; 2] = [Kernels::Plain, Kernels::Cpu];

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Updates of the ends, and norms that train in full.
fn ends() -> AdapterConfig {
    AdapterConfig {
        r: 3,
        lora_alpha: 4.0,
        lora_dropout_prob: 0.3,
        target_modules: Modules::Named(names(&["q_proj", "up_proj", "embed_tokens", "lm_head"])),
        scale: LoraScale::ByRootOfRank,
        modules_to_save: names(&["norm"]),
        ..AdapterConfig::default()
    }
}

/// Magnitudes in the blocks and the head, and an embedding that trains in full.
fn dora() -> AdapterConfig {
    AdapterConfig {
        r: 4,
        lora_dropout_prob: 0.3,
        target_modules: Modules::Named(names(&["q_proj", "v_proj", "down_proj", "lm_head"])),
        variant: LoraVariant::Dora,
        rank_pattern: vec![("v_proj".to_owned(), 2)],
        modules_to_save: names(&["embed_tokens"]),
        ..AdapterConfig::default()
    }
}

/// A family without and one with a scale of embeddings and limits of logits.
const BASES: [Variant; 3] = [
    Variant { family: "llama", tied: Tied::No, biases: Biases::Everywhere, lora: LowRank::None },
    Variant { family: "llama", tied: Tied::Yes, biases: Biases::Everywhere, lora: LowRank::None },
    Variant { family: "gemma2", tied: Tied::Yes, biases: Biases::Nowhere, lora: LowRank::None },
];

fn decoder(config: &AdapterConfig, base: Variant, kernels: Kernels) -> Decoder {
    let mut decoder = base.decoder(kernels);
    attach(&mut decoder, config, LoraSource::Fresh { seed: 3 }).expect("the adapter fits");
    let mut draw = Draw::new(33);
    decoder.for_each_param_mut(&mut |param| {
        if matches!(param.owner, Owner::Adapter | Owner::Copy) {
            param.value = param.value.clone() + draw.tensor(param.value.dims()).mul_scalar(0.2);
        }
    });
    decoder.train(Trained::Adapter);
    decoder
}

fn all() -> impl Iterator<Item = (AdapterConfig, Variant)> {
    [ends(), dora()].into_iter().flat_map(|config| BASES.map(|base| (config.clone(), base)))
}

#[test]
fn gradients_of_updates_of_the_ends_are_the_slopes_of_the_loss() {
    for base in BASES {
        let (right, other) = (batch(&[9, 1, 14, 20], 1), batch(&[44], 9));
        let decoder = decoder(&ends(), base, Kernels::Cpu);
        let slopes = slopes(&decoder, &right, dropping(3));
        let [right, other] = [right, other].map(|batch| worst(&slopes, &pass(&decoder, &batch, dropping(3))));
        println!("{base:?}: {:.1e} at {}", right.0, right.1);
        assert!(right.0 < slopes::TOLERANCE, "{base:?}: {:.1e} at {}", right.0, right.1);
        assert!(other.0 > 10.0 * slopes::TOLERANCE, "{base:?}: {:.1e}", other.0);
    }
}

#[test]
fn both_versions_and_recomputed_blocks_give_the_same_gradients() {
    let mut seen_worst = 0f64;
    for (config, base) in all() {
        let [plain, cpu] = KERNELS.map(|kernels| decoder(&config, base, kernels));
        for (batch, how) in [(batch(&[1, 8, 20], 1), PASS), (batch(&[40], 2), dropping(3))] {
            let want = pass(&plain, &batch, how);
            let got = pass(&cpu, &batch, how);
            let seen = difference(&got, &want);
            assert!(seen < TOLERANCE, "{config:?} {base:?}: {seen:.1e}");
            seen_worst = seen_worst.max(seen);
            assert!(pass(&cpu, &batch, LossPass { keep: Keep::BlockInputs, ..how }) == got);
        }
        let [one, other] = [3, 4].map(|seed| pass(&cpu, &batch(&[40], 2), dropping(seed)));
        assert!(difference(&one, &other) > 100.0 * TOLERANCE);
    }
    println!("worst {seen_worst:.1e}");
}

#[test]
fn the_number_of_threads_changes_no_bit_of_an_adapters_gradients() {
    let long = batch(&[700, 1, 300], 1);
    for (config, base) in all() {
        let mut decoder = decoder(&config, base, Kernels::Cpu);
        decoder.reserve_positions(700);
        let with = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("threads start");
            pool.install(|| pass(&decoder, &long, dropping(3)))
        };
        let one = with(1);
        assert!(with(2) == one && with(5) == one, "{config:?} {base:?}");
    }
}

#[test]
fn a_merged_adapter_gives_the_logits_that_it_gave_attached() {
    let batch = batch(&[12, 9], 1);
    for ((config, base), kernels) in all().flat_map(|case| KERNELS.map(|kernels| (case.clone(), kernels))) {
        let mut decoder = decoder(&config, base, kernels);
        let attached = values(&decoder.logits(&batch));
        let next = values(&decoder.next_logits(&batch.ids[..12], &mut decoder.cache()));
        assert!(difference_of(&next, &attached[11 * next.len()..][..next.len()]) < TOLERANCE);
        merge(&mut decoder).expect("a dense base");
        decoder.for_each_param(&mut |param| assert_eq!(param.owner, Owner::Base));
        assert!(
            difference_of(&values(&decoder.logits(&batch)), &attached) < TOLERANCE,
            "{config:?} {base:?}"
        );
        let names = decoder.named_tensors(Trained::Base);
        assert_ne!(names.values("lm_head.weight"), names.values("model.embed_tokens.weight"));
    }
}
