//! Gradients of preference objectives through the whole decoder against slopes of their own loss, and what must not
//! change them.

use ftl_core::spec::resolved::{self, DpoLoss};
use ftl_trainer::data::sample::{IGNORED, Sample};
use ftl_trainer::data::samples::Samples;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::methods::reference::DataPart;
use ftl_trainer::methods::{Method, Microbatch, Onto, Tally, Totals};
use ftl_trainer::model::decoder::{Decoder, Keep, TrainPass, Trained};
use ftl_trainer::ops::param::Owner;

use crate::decoder::{VARIANTS, VOCAB};
use crate::draw::Draw;
use crate::outcome::{Outcome, difference};
use crate::slopes::{largest, moved};
use crate::training::by_name;

/// Losses are near 1 in f32 scores, so a difference over `STEP` is off by some 1e-6 / `STEP`.
const TOLERANCE: f64 = 1e-2;
const STEP: f64 = 5e-3;
const SMALLEST_SCALE: f64 = 0.05;
/// Rounding of f32 through three blocks.
const ROUNDING: f64 = 1e-4;
const N_PAIRS: usize = 3;

fn pairs(seed: u64) -> Samples {
    let mut draw = Draw::new(seed);
    let pair = |_| {
        let prompt = draw.ids(4, VOCAB);
        let [chosen, rejected] = [5, 9].map(|longest| {
            let n = draw.count(2..longest);
            let ids: Vec<u32> = prompt.iter().copied().chain(draw.ids(n, VOCAB)).collect();
            let labels =
                ids.iter().enumerate().map(|(i, id)| if i < 4 { IGNORED } else { *id as i32 }).collect();
            Sample::new(ids, labels)
        });
        Sample::pair(chosen, rejected)
    };
    (0..N_PAIRS).map(pair).collect()
}

fn methods() -> Vec<Method> {
    let mut methods = vec![Method::of(resolved::Method::Orpo { beta: 0.7 })];
    for loss in [DpoLoss::Sigmoid, DpoLoss::Ipo, DpoLoss::Hinge, DpoLoss::Cdpo { label_smoothing: 0.1 }] {
        let mut method = Method::of(resolved::Method::Dpo { beta: 0.3, loss });
        if let Method::Dpo { reference, .. } = &mut method {
            // Near what the model says, so that no loss is flat.
            reference.set(DataPart::Train, &[0, 1, 2], &[[-20.0, -30.0], [-22.0, -29.0], [-21.0, -31.0]]);
        }
        methods.push(method);
    }
    methods
}

fn microbatches(method: &Method, samples: &Samples, parts: &[&[usize]]) -> Vec<Microbatch> {
    parts.iter().map(|indexes| method.microbatch(DataPart::Train, samples, indexes)).collect()
}

/// The gradients by name, and the loss among them as `loss`.
fn pass(decoder: &Decoder, method: &Method, microbatches: &[Microbatch], keep: Keep) -> Outcome {
    let mut gradients = decoder.zero_gradients();
    let (totals, mut tally) = (Totals::of(microbatches, 1.0), Tally::new(method));
    for microbatch in microbatches {
        let how = (&totals, TrainPass { keep, dropout: None, noise: None });
        method.backward(Onto::Gradients(decoder), microbatch, how, (&mut gradients, &mut tally));
    }
    let mut outcome = by_name(decoder, &gradients);
    outcome.insert("loss".to_owned(), vec![tally.loss_nats()]);
    outcome
}

#[test]
fn gradients_of_preferences_are_the_slopes_of_their_loss() {
    let samples = pairs(51);
    for (variant, method) in VARIANTS.into_iter().flat_map(|v| methods().into_iter().map(move |m| (v, m))) {
        let decoder = variant.decoder(Kernels::Cpu);
        let batches = microbatches(&method, &samples, &[&[0, 1, 2]]);
        let gradients = pass(&decoder, &method, &batches, Keep::Everything);
        let mut pieces = Vec::new();
        decoder.for_each_param(&mut |param| pieces.push(param.pieces.clone()));
        let mut worst = (0f64, String::new());
        for (param_index, piece) in pieces.iter().enumerate().flat_map(|(i, p)| p.iter().map(move |p| (i, p)))
        {
            let gradient = &gradients[&piece.name];
            let entry = largest(gradient);
            let rise = |step: f64| {
                let [above, below] = [step, -step].map(|change| {
                    let moved = moved(&decoder, param_index, piece.values.start + entry, change);
                    pass(&moved, &method, &batches, Keep::Everything)["loss"][0]
                });
                above - below
            };
            let slope = (8.0 * rise(STEP) - rise(2.0 * STEP)) / (12.0 * STEP);
            let seen = (slope - gradient[entry]).abs() / gradient[entry].abs().max(SMALLEST_SCALE);
            if seen > worst.0 {
                worst = (seen, format!("{} {entry}: {slope} for {}", piece.name, gradient[entry]));
            }
        }
        println!("{variant:?} {}: {:.1e} at {}", name(&method), worst.0, worst.1);
        assert!(worst.0 < TOLERANCE, "{variant:?} {}: {:.1e} at {}", name(&method), worst.0, worst.1);
    }
}

#[test]
fn accumulated_pairs_have_the_gradients_of_one_batch() {
    let samples = pairs(52);
    let mut worst = 0f64;
    for method in methods() {
        let [plain, cpu] = [Kernels::Plain, Kernels::Cpu].map(|kernels| VARIANTS[2].decoder(kernels));
        let batches = |parts: &[&[usize]]| microbatches(&method, &samples, parts);
        let whole = pass(&cpu, &method, &batches(&[&[0, 1, 2]]), Keep::Everything);
        for (decoder, parts, keep) in [
            (&cpu, [[0usize].as_slice(), &[1, 2]].as_slice(), Keep::Everything),
            (&cpu, &[&[2], &[0], &[1]], Keep::BlockInputs),
            (&plain, &[&[0, 1, 2]], Keep::Everything),
        ] {
            let seen = difference(&pass(decoder, &method, &batches(parts), keep), &whole);
            assert!(seen < ROUNDING, "{} {parts:?}: {seen:.1e}", name(&method));
            worst = worst.max(seen);
        }
        let other = pass(&cpu, &method, &batches(&[&[0, 1]]), Keep::Everything);
        assert!(difference(&other, &whole) > 100.0 * ROUNDING, "{}", name(&method));
    }
    println!("worst {worst:.1e}");
}

#[test]
fn a_frozen_head_leaves_the_other_gradients_as_they_are() {
    let samples = pairs(53);
    for (method, kernels) in
        methods().into_iter().flat_map(|m| [Kernels::Plain, Kernels::Cpu].map(|k| (m.clone(), k)))
    {
        let batches = microbatches(&method, &samples, &[&[0, 1, 2]]);
        let mut decoder = VARIANTS[2].decoder(kernels);
        let all = pass(&decoder, &method, &batches, Keep::Everything);
        decoder.train(Trained::Adapter);
        let adapter = pass(&decoder, &method, &batches, Keep::Everything);
        let of_adapter: Outcome = all.into_iter().filter(|(name, _)| adapter.contains_key(name)).collect();
        let seen = difference(&adapter, &of_adapter);
        assert!(seen < ROUNDING, "{} {kernels:?}: {seen:.1e}", name(&method));
    }
}

#[test]
fn without_its_adapter_a_decoder_scores_as_its_base() {
    let decoder = VARIANTS[2].decoder(Kernels::Cpu);
    let samples = pairs(54);
    let method = &methods()[0];
    let batch = &microbatches(method, &samples, &[&[0, 1, 2]])[0].batch;
    let mut base = decoder.clone();
    // An adapter whose B is zero changes nothing.
    base.for_each_param_mut(&mut |param| {
        if param.pieces.iter().any(|piece| piece.name.contains(".b")) && param.owner == Owner::Adapter {
            param.value = param.value.zeros_like();
        }
    });
    let nll = |decoder: &Decoder| decoder.score(batch).iter().map(|score| score.nll_nats).collect::<Vec<_>>();
    assert_eq!(nll(&decoder.without_adapter()), nll(&base));
    assert_ne!(nll(&decoder), nll(&base));
}

fn name(method: &Method) -> String {
    match method {
        Method::Texts => "texts".to_owned(),
        Method::Dpo { loss, .. } => format!("{loss:?}"),
        Method::Orpo { .. } => "Orpo".to_owned(),
    }
}
