//! What a run leaves in its directory.

use std::fs;

use ftl_core::Event;
use ftl_core::StopSignal;
use ftl_core::metrics::Evaluated;
use ftl_trainer::adapter::peft::AdapterConfig;
use ftl_trainer::checkpoint::verify;
use ftl_trainer::error::TrainError;
use ftl_trainer::train::Begin;
use serde_json::{Value, json};

use crate::job::{Job, files, token_rows};

#[test]
fn best_and_last_checkpoint_are_kept() {
    // What is learned by heart from four samples soon helps no others.
    let job = Job::small(4)
        .set("adapter", json!({"kind": "none"}))
        .set("data.eval", json!({"path": "eval.jsonl"}))
        .set("train.learning_rate", 0.03)
        .set("train.lr_scheduler_type", "constant")
        .set("train.max_steps", 12)
        .set("train.eval_steps", 1)
        .set("train.save_steps", 1)
        .set("train.save_total_limit", 2);
    job.write("eval.jsonl", &token_rows(6, 2));
    job.finish("out", Begin::New);
    let evaluations = job.evaluations("out");
    let best = evaluations.iter().filter(|e| e.step > 0).min_by(|a, b| a.loss_nats.total_cmp(&b.loss_nats));
    let Evaluated { step, .. } = best.expect("evaluations");
    assert!(*step < 10, "the test needs a best one that is old, not step {step}");
    let mut names = job.names("out");
    names.retain(|name| name.starts_with("checkpoint-"));
    let mut expected = [format!("checkpoint-{step}"), "checkpoint-11".to_owned(), "checkpoint-12".to_owned()];
    expected.sort();
    assert_eq!(names, expected);
    let state = fs::read_to_string(job.path("out/checkpoint-12/trainer_state.json")).expect("a state");
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["best_global_step"].as_u64(), Some(*step));
}

#[test]
fn evaluations_come_before_the_first_step_each_epoch_and_at_the_end() {
    let steps = |job: &Job, out: &str| job.evaluations(out).iter().map(|e| e.step).collect::<Vec<_>>();
    let mut job = Job::small(16).set("data.eval", json!({"path": "eval.jsonl"}));
    job.write("eval.jsonl", &token_rows(3, 2));
    job.change("train.num_train_epochs", 2.5);
    let summary = job.finish("epochs", Begin::New);
    assert_eq!(steps(&job, "epochs"), [0, 8, 16, 20]);
    let evaluations = job.evaluations("epochs");
    assert_eq!(summary.eval_before.as_ref(), evaluations.first());
    assert_eq!(summary.eval_after.as_ref(), evaluations.last());
    assert!(evaluations[3].loss_nats < evaluations[0].loss_nats, "{evaluations:?}");
    for e in &evaluations {
        assert!((e.perplexity - e.loss_nats.exp()).abs() < 1e-9 && (0.0..=1.0).contains(&e.token_accuracy));
    }
    job.change("train.eval_steps", 7);
    job.finish("steps", Begin::New);
    assert_eq!(steps(&job, "steps"), [0, 7, 14, 20]);
    job.change("train.eval_steps", 0);
    job.finish("never", Begin::New);
    assert_eq!(steps(&job, "never"), [0; 0]);
    assert_eq!(job.weights("never"), job.weights("steps"));
}

#[test]
fn steps_are_logged_as_often_as_asked_and_the_last_one_always() {
    let job = Job::small(16).set("train.max_steps", 11).set("train.logging_steps", 4);
    job.finish("out", Begin::New);
    assert_eq!(job.steps("out").iter().map(|stepped| stepped.step).collect::<Vec<_>>(), [4, 8, 11]);
}

#[test]
fn max_steps_rules_over_epochs() {
    let job = Job::small(16).set("train.num_train_epochs", 1).set("train.max_steps", 19);
    assert_eq!(job.finish("out", Begin::New).steps, 19);
    let epochs: Vec<f64> = job.steps("out").iter().map(|stepped| stepped.epoch).collect();
    assert_eq!((epochs[0], epochs[7], epochs[18]), (0.125, 1.0, 2.375));
    assert_eq!(job.names("out")[..2], ["checkpoint-16", "checkpoint-8"]);
}

#[test]
fn counts_of_a_step_are_those_of_its_samples() {
    let job = Job::small(5).set("data.shuffle", false).set("train.gradient_accumulation_steps", 2);
    let lengths: Vec<u64> = token_rows(5, 1)
        .lines()
        .map(|row| {
            serde_json::from_str::<Value>(row).expect("JSON")["input_ids"].as_array().expect("ids").len()
                as u64
        })
        .collect();
    job.finish("out", Begin::New);
    let steps = job.steps("out");
    let counted: Vec<_> = steps[..2].iter().map(|s| (s.samples, s.tokens, s.supervised_tokens)).collect();
    let first: u64 = lengths[..4].iter().sum();
    assert_eq!(counted, [(4, first, first - 4), (1, lengths[4], lengths[4] - 1)]);
    for step in &steps {
        let per_sec = step.tokens as f64 / step.step_millis * 1e3;
        assert!((per_sec / step.tokens_per_sec - 1.0).abs() < 1e-9, "{step:?}");
    }
}

#[test]
fn result_and_checkpoints_of_an_adapter_are_complete() {
    let job = Job::small(16).set("data.eval", json!({"path": "eval.jsonl"}));
    job.write("eval.jsonl", &token_rows(3, 2));
    job.write("model/chat_template.jinja", "{{ messages[0].content }}");
    job.finish("out", Begin::New);
    let companions =
        ["chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
    let adapter = ["adapter_config.json", "adapter_model.safetensors", "ftl_state.json", "MANIFEST.json"];
    let mut expected: Vec<&str> = [companions, adapter].concat();
    expected.push("README.md");
    expected.sort_unstable();
    assert_eq!(job.names("out/final"), expected);
    for name in companions {
        assert_eq!(files(&job.path("out/final"))[name], files(&job.path("model"))[name]);
    }
    let mut expected: Vec<&str> = [companions, adapter].concat();
    expected.extend(["optimizer.safetensors", "trainer_state.json"]);
    expected.sort_unstable();
    assert_eq!(job.names("out/checkpoint-8"), expected);
    assert_eq!(
        job.names("out"),
        [
            "checkpoint-16",
            "checkpoint-24",
            "checkpoint-8",
            "digests.jsonl",
            "events.jsonl",
            "final",
            "report.json",
            "spec.resolved.json"
        ]
    );
    for dir in ["out/final", "out/checkpoint-8"] {
        verify(&job.path(dir)).expect("as it was written");
        let config = AdapterConfig::read(&job.path(dir)).expect("a PEFT adapter");
        assert_eq!((config.r, config.lora_alpha), (4, 8.0));
    }
    let again =
        Job::small(16).set("adapter", json!({"kind": "lora", "init_from": job.path("out/checkpoint-8")}));
    again.finish("out", Begin::New);
    let card = fs::read_to_string(job.path("out/final/README.md")).expect("a card");
    for part in
        ["base_model: \"", "library_name: peft", "# small", "24 steps", "| loss |", "\"lora_alpha\": 8"]
    {
        assert!(card.contains(part), "{part} is not in {card}");
    }
}

#[test]
fn result_of_full_training_is_a_model_that_can_be_trained_on() {
    let job = Job::small(16).set("adapter", json!({"kind": "none"}));
    let summary = job.finish("out", Begin::New);
    assert!(
        job.result("out").contains_key("config.json") && job.result("out").contains_key("tokenizer.json")
    );
    let card = fs::read_to_string(job.path("out/final/README.md")).expect("a card");
    assert!(card.contains("library_name: transformers"), "{card}");
    let next = Job::small(16)
        .set("model", json!({"path": summary.path}))
        .set("adapter", json!({"kind": "none"}))
        .set("train.learning_rate", 1e-9);
    next.finish("out", Begin::New);
    let (first, last) = (job.steps("out")[0].loss_nats, job.steps("out")[23].loss_nats);
    let went_on = next.steps("out")[0].loss_nats;
    assert!(went_on < first && (went_on - last).abs() < 0.5, "{first} to {last}, then {went_on}");
}

#[test]
fn run_that_diverges_fails_and_leaves_earlier_checkpoints_intact() {
    // Decay this strong multiplies the weights by -1e20 in each step.
    let job = Job::small(16)
        .set("train.weight_decay", 1e22)
        .set("train.save_steps", 1)
        .set("train.save_total_limit", 99);
    let stepped = |event: &Event| matches!(event, Event::Stepped(_));
    let mut n_steps = 0;
    let outcome = job.train(
        ("out", Begin::New),
        &mut |event: &Event| n_steps += u64::from(stepped(event)),
        &StopSignal::new(),
    );
    assert!(matches!(outcome, Err(TrainError::Diverged(_))), "{outcome:?}");
    assert!(n_steps > 0, "the run needs a checkpoint before it diverges");
    for step in 1..=n_steps {
        verify(&job.path(&format!("out/checkpoint-{step}"))).expect("as it was written");
    }
    let ran = job.program("program", &["--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let problem = &ran.json()["problem"];
    assert_eq!(problem["kind"], "diverged");
    let message = problem["message"].as_str().expect("a message");
    assert!(message.starts_with(&format!("step {} has a loss of ", n_steps + 1)), "{message}");
    assert!(ran.stderr.contains("lower `train.learning_rate`"), "{}", ran.stderr);
    let last = job.events("program").pop().expect("events");
    assert_eq!(serde_json::to_value(last).expect("plain data")["state"], "FAILED");
}
