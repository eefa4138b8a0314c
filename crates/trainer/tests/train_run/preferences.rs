//! Runs that learn from pairs: they equal TRL's, go on as they were, and are refused what they can't do.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ftl_core::metrics::Rewards;
use ftl_core::spec::resolved::LearnsFrom;
use ftl_core::{Event, StopSignal};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::train::{Begin, Outcome};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::job::{Job, directory, token_rows};
use crate::trajectories::Reference;

/// Rewards are sums of f32 log-probabilities of some -200 nats, times beta.
const REWARD_TOLERANCE: f64 = 1e-4;

/// The cases of the reference whose method learns from pairs, as far as the engine has their model.
fn cases(fixtures: &Path) -> Vec<(String, Reference)> {
    let entries = fs::read_dir(fixtures.join("training")).expect("reference runs");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.retain(|name| name.starts_with("dpo") || name.starts_with("orpo"));
    let mut cases: Vec<(String, Reference)> =
        names.into_iter().map(|name| (name.clone(), Reference::read(fixtures, &name))).collect();
    cases.retain(|(name, reference)| {
        let model = reference.trajectory["base_model"].as_str().expect("a model");
        let problem = DecoderConfig::read(&fixtures.join(model)).err();
        if let Some(problem) = &problem {
            println!("{name} is skipped: {problem:?}");
        }
        problem.is_none()
    });
    assert!(!cases.is_empty(), "the reference has cases that the engine can run");
    cases
}

#[test]
fn runs_on_pairs_equal_the_reference_step_by_step() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for (case, reference) in cases(&fixtures) {
        let job = reference.job();
        let ran = job.program("out", &["--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        reference.compare(&job, &case);
        compare_rewards(&reference, &job, &case);
    }
}

fn compare_rewards(reference: &Reference, job: &Job, case: &str) {
    let beta = reference.trajectory["hyperparameters"]["beta"].as_f64().expect("beta");
    let mean = |list: &Value| {
        let list: Vec<f64> = list.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
        list.iter().sum::<f64>() / list.len() as f64
    };
    let mut worst = 0f64;
    for (ours, theirs) in job.steps("out").iter().zip(reference.steps()) {
        let Rewards { rewards_chosen, rewards_rejected, reward_margin, reward_accuracy } =
            ours.rewards.expect("preferences have rewards");
        let expected = match theirs.get("rewards_chosen") {
            Some(chosen) => {
                [chosen.as_f64(), theirs["rewards_rejected"].as_f64()].map(|r| r.expect("a reward"))
            }
            None => ["avg_chosen_logps", "avg_rejected_logps"].map(|key| beta * mean(&theirs[key])),
        };
        for (ours, theirs) in [
            (rewards_chosen, expected[0]),
            (rewards_rejected, expected[1]),
            (reward_margin, expected[0] - expected[1]),
        ] {
            worst = worst.max((ours - theirs).abs());
        }
        if let Some(accuracy) = theirs.get("rewards_accuracy") {
            // Before anything is learned, rounding says which of two equal rewards is higher.
            assert!(
                ours.step <= 2 || accuracy.as_f64() == Some(reward_accuracy),
                "{case}, step {}",
                ours.step
            );
        }
    }
    println!("{case}: rewards {worst:.1e}");
    assert!(worst < REWARD_TOLERANCE, "{case}: rewards {worst}");
}

#[test]
fn a_run_with_another_beta_differs_from_the_reference() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for (case, reference) in cases(&fixtures) {
        let hyper = &reference.trajectory["hyperparameters"];
        // A hinge only scales with beta, and clipping takes scales away.
        if hyper["loss_type"] == "hinge" {
            continue;
        }
        let job = reference.job().set("method.beta", 2.0 * hyper["beta"].as_f64().expect("beta"));
        job.finish("out", Begin::New);
        let (_, rms) = reference.difference(&job).expect("an adapter to compare with");
        assert!(rms > reference.tolerance("final_param_rms"), "{case}: {rms} does not tell the runs apart");
    }
}

/// Random pairs of the format `tokens`: a prompt of 3 tokens, answers of 2 to 9.
fn pair_rows(n_rows: usize, seed: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |n: u64| (0..n).map(|_| 4 + random.next_u64() % 60).collect::<Vec<u64>>();
    let mut rows = String::new();
    for row in 0..n_rows as u64 {
        let prompt = draw(3);
        let mut fields = json!({});
        for (side, n_tokens) in [("chosen", 2 + row % 7), ("rejected", 2 + (3 * row) % 8)] {
            let ids: Vec<u64> = prompt.iter().copied().chain(draw(n_tokens)).collect();
            let labels: Vec<i64> =
                ids.iter().enumerate().map(|(i, id)| if i < 3 { -100 } else { *id as i64 }).collect();
            fields[format!("{side}_input_ids")] = json!(ids);
            fields[format!("{side}_labels")] = json!(labels);
        }
        let _ = writeln!(rows, "{fields}");
    }
    rows
}

/// A job on 13 random pairs.
pub fn pairs(method: Value) -> Job {
    let job = Job::small(1)
        .set("method", method)
        .set("data.eval", json!({"fraction": 0.2}))
        .set("adapter.lora_dropout", 0.1)
        .set("train.gradient_accumulation_steps", 2)
        .set("train.max_steps", 8)
        .set("train.save_steps", 3);
    job.write("train.jsonl", &pair_rows(13, 4));
    job
}

fn full(job: Job) -> Job {
    job.set("adapter", json!({"kind": "none"})).set("train.learning_rate", 1e-3)
}

fn stop_after(job: &Job, out: &str, step: u64) {
    let outcome = job
        .stop_at((out, Begin::New), |event| matches!(event, Event::Stepped(stepped) if stepped.step == step));
    assert!(matches!(outcome, Outcome::Stopped { .. }), "{outcome:?}");
}

#[test]
fn what_the_reference_says_is_found_again_or_made_again() {
    let dpo = || pairs(json!({"kind": "dpo"}));
    // A head that is trained in full is the adapter's, and the reference has the model's own.
    let adapter = json!({"kind": "lora", "r": 4, "use_dora": true, "modules_to_save": ["lm_head"], "lora_dropout": 0.1});
    for job in [dpo(), full(dpo()), dpo().set("adapter", adapter)] {
        job.finish("whole", Begin::New);
        let path = |out: &str| job.path(out).join("reference/log_probs.json");
        let whole = fs::read(path("whole")).expect("what the reference says");
        for (out, damage) in [("kept", None), ("gone", Some("")), ("damaged", Some("{}"))] {
            stop_after(&job, out, 4);
            match damage {
                None => {}
                Some("") => fs::remove_dir_all(job.path(out).join("reference")).expect("a directory"),
                Some(text) => fs::write(path(out), text).expect("a file"),
            }
            let mut n_made = 0;
            let mut observer = |event: &Event| {
                n_made += usize::from(
                    matches!(event, Event::Note { message, .. } if message.starts_with("scoring ")),
                );
            };
            job.train((out, Begin::Resume), &mut observer, &StopSignal::new()).expect("a run");
            assert_eq!(n_made, usize::from(damage.is_some()), "{out}");
            assert_eq!(fs::read(path(out)).expect("what the reference says"), whole, "{out}");
            assert_eq!(job.result(out), job.result("whole"), "{out}");
        }
    }
}

#[test]
fn training_begins_where_the_reference_is_unless_an_adapter_went_on_before() {
    // Without dropout, model and reference are the same at first: every log ratio is 0.
    let job = pairs(json!({"kind": "dpo"})).set("adapter.lora_dropout", 0.0);
    job.finish("out", Begin::New);
    let first = |job: &Job| job.steps("out")[0].clone();
    assert!((first(&job).loss_nats - std::f64::consts::LN_2).abs() < 1e-6, "{:?}", first(&job));
    let rewards = |job: &Job| first(job).rewards.expect("rewards");
    assert!(rewards(&job).rewards_chosen.abs() < 1e-6, "{:?}", first(&job));

    let on = pairs(json!({"kind": "dpo"}))
        .set("adapter", json!({"kind": "lora", "init_from": job.path("out/final")}));
    on.finish("out", Begin::New);
    let moved = rewards(&on).rewards_chosen;
    assert!(moved.abs() > 1e-3, "the reference is the base, not the adapter: {moved}");
}

#[test]
fn a_pair_counts_as_one_sample_and_evaluations_have_rewards() {
    for (kind, method) in [("dpo", json!({"kind": "dpo"})), ("orpo", json!({"kind": "orpo"}))] {
        let job = pairs(method);
        job.finish("out", Begin::New);
        let steps = job.steps("out");
        assert_eq!(steps[0].samples, 4, "{kind}");
        let evaluations = job.evaluations("out");
        assert!(evaluations.len() > 1, "{kind}");
        for e in &evaluations {
            let rewards = e.rewards.expect("rewards");
            assert!((0.0..=1.0).contains(&rewards.reward_accuracy), "{kind}: {e:?}");
            let margin = rewards.rewards_chosen - rewards.rewards_rejected;
            assert!((margin - rewards.reward_margin).abs() < 1e-9, "{kind}: {e:?}");
            assert!(e.perplexity > 1.0 && e.tokens > 0, "{kind}: {e:?}");
        }
        // What is learned by heart soon tells the answers apart.
        let job = job.set("train.max_steps", 40).set("train.learning_rate", 0.02);
        job.finish("longer", Begin::New);
        let last = job.steps("longer").pop().and_then(|step| step.rewards).expect("rewards");
        assert!(last.reward_accuracy > 0.7 && last.reward_margin > 0.0, "{kind}: {last:?}");
    }
}

#[test]
fn data_that_the_method_does_not_learn_from_are_refused() {
    let dpo = pairs(json!({"kind": "dpo"}));
    dpo.write("train.jsonl", &token_rows(4, 1));
    let expected = "data.train: the data are single answers, and `method.kind` learns from pairs of a chosen and a \
                    rejected answer; give data with `chosen` and `rejected`, or set `method.kind` to sft";
    assert_eq!(dpo.refused(("out", Begin::New)), expected);
    assert_eq!(dpo.checked().expect("a spec").method.learns_from(), LearnsFrom::Pairs);

    let sft = Job::small(4);
    sft.write("train.jsonl", &pair_rows(4, 1));
    let expected = "data.train: the data are pairs of a chosen and a rejected answer, and `method.kind` learns from \
                    single answers; set `method.kind` to dpo or orpo, or give data of single answers";
    assert_eq!(sft.refused(("out", Begin::New)), expected);
}

#[test]
fn a_run_can_be_stopped_while_the_reference_scores() {
    let job = pairs(json!({"kind": "dpo"}));
    let outcome = job.stop_at(
        ("out", Begin::New),
        |event| matches!(event, Event::Phase { unit: Some(unit), .. } if unit == "pairs"),
    );
    assert_eq!(outcome, Outcome::Stopped { step: 0, checkpoint: None });
    job.finish("out", Begin::Resume);
    job.finish("whole", Begin::New);
    assert_eq!(job.result("out"), job.result("whole"));
}
