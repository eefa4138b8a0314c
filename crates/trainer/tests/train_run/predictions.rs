//! Answers to held-out prompts while a run goes on.

use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::job::Phase;
use ftl_core::{Event, StopSignal};
use ftl_trainer::train::{Begin, Outcome};
use serde_json::{Value, json};

use crate::job::{Job, token_rows};
use crate::resume::differing;

fn job() -> Job {
    let job = Job::small(8)
        .set("data.eval", json!({"path": "eval.jsonl"}))
        .set("adapter.lora_dropout", 0.1)
        .set("train.num_train_epochs", 3)
        .set("train.save_steps", 5)
        .set("predictions", json!({"count": 3, "max_new_tokens": 7}));
    job.write("eval.jsonl", &token_rows(6, 2));
    job
}

fn sampled(job: &Job, out: &str) -> Vec<Sampled> {
    let sampled = job.events(out).into_iter().filter_map(|record| match record.event {
        Event::Sampled(sampled) => Some(sampled),
        _ => None,
    });
    sampled.collect()
}

fn steps(job: &Job, out: &str) -> Vec<u64> {
    let mut steps: Vec<u64> = sampled(job, out).iter().map(|sampled| sampled.step).collect();
    steps.dedup();
    steps
}

#[test]
fn prompts_are_answered_before_the_first_step_at_each_evaluation_and_at_the_end() {
    let mut job = job();
    job.finish("out", Begin::New);
    assert_eq!(steps(&job, "out"), [0, 4, 8, 12]);
    let all = sampled(&job, "out");
    assert_eq!(all.len(), 12);
    let prompts =
        |from: usize| all[from..from + 3].iter().map(|s| (&s.prompt, &s.reference)).collect::<Vec<_>>();
    for from in [3, 6, 9] {
        assert_eq!(prompts(from), prompts(0));
    }
    assert!(all.iter().all(|sampled| sampled.reference.is_some() && !sampled.prompt.is_empty()));
    assert_ne!(all[0].text, all[9].text, "training changed nothing");
    let phases: Vec<Value> = job
        .events("out")
        .iter()
        .filter(|record| matches!(record.event, Event::Phase { phase: Phase::Sampling, .. }))
        .map(|record| serde_json::to_value(record).expect("plain data"))
        .collect();
    assert_eq!(
        (&phases[0]["done"], &phases[0]["total"], &phases[0]["unit"]),
        (&json!(0), &json!(3), &json!("prompts"))
    );
    job.change("predictions.every_steps", 5);
    job.finish("steps", Begin::New);
    assert_eq!(steps(&job, "steps"), [0, 5, 10, 12]);
    job.change("train.eval_steps", 0);
    job.change("predictions", json!({"count": 1}));
    job.finish("ends", Begin::New);
    assert_eq!(steps(&job, "ends"), [0, 12]);
}

#[test]
fn answers_are_the_greedy_ones_of_the_weights_of_that_step() {
    let job = job().set("train.save_steps", 4);
    job.finish("out", Begin::New);
    for step in [4, 8] {
        let prompts: Vec<Sampled> =
            sampled(&job, "out").into_iter().filter(|sampled| sampled.step == step).collect();
        assert_eq!(prompts.len(), 3);
        // A run that only answers, from that checkpoint's weights.
        let other = Job::small(8)
            .set("data.eval", json!({"path": job.path("eval.jsonl")}))
            .set("adapter", json!({"kind": "lora", "init_from": job.path(&format!("out/checkpoint-{step}"))}))
            .set("train.max_steps", 1)
            .set("predictions", json!({"count": 3, "max_new_tokens": 7}));
        other.finish("out", Begin::New);
        let said: Vec<String> =
            sampled(&other, "out").into_iter().take(3).map(|sampled| sampled.text).collect();
        assert_eq!(said, prompts.into_iter().map(|sampled| sampled.text).collect::<Vec<_>>());
    }
}

#[test]
fn answering_changes_nothing_of_the_training() {
    let mut job = job();
    job.finish("with", Begin::New);
    // Longer than any sample, so that more positions are needed.
    job.change("predictions.max_new_tokens", 100);
    job.finish("long", Begin::New);
    job.change("predictions", json!({"count": 0}));
    job.finish("without", Begin::New);
    for out in ["long", "without"] {
        assert_eq!(job.weights("with"), job.weights(out));
        assert_eq!(job.evaluations("with"), job.evaluations(out));
    }
    let optimizer = |out: &str| {
        std::fs::read(job.path(&format!("{out}/checkpoint-10/optimizer.safetensors"))).expect("moments")
    };
    assert_eq!(optimizer("with"), optimizer("without"));
}

#[test]
fn stopped_run_answers_what_is_left_and_ends_the_same() {
    let job = job();
    job.finish("whole", Begin::New);
    let whole = sampled(&job, "whole");
    for stop_at in 1..=whole.len() {
        let (out, mut n) = (format!("stopped-{stop_at}"), 0);
        job.stop_at((&out, Begin::New), |event| {
            n += usize::from(matches!(event, Event::Sampled(_)));
            n == stop_at
        });
        job.finish(&out, Begin::Resume);
        assert_eq!(differing(&job, &out, &job.result("whole")), [""; 0], "stopped at answer {stop_at}");
        let mut said = sampled(&job, &out);
        // What was cut off is answered again, from its first prompt on.
        said.sort_by(|a, b| (a.step, &a.prompt).cmp(&(b.step, &b.prompt)));
        said.dedup();
        let mut expected = whole.clone();
        expected.sort_by(|a, b| (a.step, &a.prompt).cmp(&(b.step, &b.prompt)));
        assert_eq!(said, expected, "stopped at answer {stop_at}");
    }
}

#[test]
fn stop_is_heeded_between_two_tokens() {
    let job = job().set("predictions", json!({"count": 3, "max_new_tokens": 100}));
    let outcome = job
        .stop_at(("out", Begin::New), |event| matches!(event, Event::Phase { phase: Phase::Sampling, .. }));
    assert_eq!(outcome, Outcome::Stopped { step: 0, checkpoint: None });
    assert_eq!(sampled(&job, "out"), []);
}

#[test]
fn predictions_may_change_on_resume() {
    let mut job = job();
    job.finish("whole", Begin::New);
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 6));
    job.change("predictions", json!({"count": 1, "every_steps": 2}));
    job.finish("out", Begin::Resume);
    assert_eq!(job.weights("out"), job.weights("whole"));
    assert_eq!(steps(&job, "out"), [0, 4, 6, 8, 10, 12]);
}

#[test]
fn too_few_prompts_are_told() {
    let job = job().set("predictions.count", 9);
    let mut notes = Vec::new();
    let mut observer = |event: &Event| {
        if let Event::Note { level: NoteLevel::Warning, message } = event {
            notes.push(message.clone());
        }
    };
    job.train(("out", Begin::New), &mut observer, &StopSignal::new()).expect("a run");
    let expected =
        "predictions: 6 of 9 prompts, as no more held-out samples have one with room for an answer";
    assert_eq!(notes, [expected]);
}

#[test]
fn predictions_without_held_out_data_are_refused() {
    let refusal =
        Job::small(8).set("predictions", json!({"count": 1})).checked().expect_err("nothing is held out");
    assert!(
        refusal.to_string().contains("predictions: nothing is held out whose prompts could be answered"),
        "{refusal}"
    );
}
