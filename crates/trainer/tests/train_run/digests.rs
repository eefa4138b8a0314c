//! What a run writes down of each step.

use std::collections::BTreeMap;
use std::fs;

use ftl_core::Event;
use ftl_core::event::NoteLevel;
use ftl_trainer::train::Begin;
use ftl_trainer::train::digests::{StepDigest, read};
use serde_json::json;

use crate::job::Job;

const TOTAL_STEPS: u64 = 6;

fn job() -> Job {
    Job::small(12).set("train.max_steps", TOTAL_STEPS).set("train.save_steps", 2)
}

/// What each step of a run came to.
pub fn digests(job: &Job, out: &str) -> BTreeMap<u64, StepDigest> {
    read(&job.path(out).join("digests.jsonl")).expect("a run's digests")
}

fn warnings(job: &Job, out: &str) -> Vec<String> {
    let warning = |record: ftl_core::EventRecord| match record.event {
        Event::Note { level: NoteLevel::Warning, message } => Some(message),
        _ => None,
    };
    job.events(out).into_iter().filter_map(warning).collect()
}

#[test]
fn every_step_has_a_digest_of_its_loss_its_gradient_norm_and_the_weights_after_it() {
    for adapter in [json!({"kind": "lora", "r": 4}), json!({"kind": "none"})] {
        let mut job = job().set("adapter", adapter);
        job.finish("one", Begin::New);
        job.finish("other", Begin::New);
        let of_one = digests(&job, "one");
        assert_eq!(of_one.keys().copied().collect::<Vec<_>>(), (1..=TOTAL_STEPS).collect::<Vec<_>>());
        assert_eq!(of_one, digests(&job, "other"));
        for stepped in job.steps("one") {
            let digest = &of_one[&stepped.step];
            let numbers = [digest.loss, digest.grad_norm].map(|bits| f64::from_bits(bits.0));
            assert_eq!(numbers, [stepped.loss_nats, stepped.grad_norm]);
            assert!(digest.weights.is_some());
        }
        // The rate changes nothing of the first step but the weights after it.
        job.change("train.learning_rate", 1e-3);
        job.finish("slow", Begin::New);
        let of_slow = digests(&job, "slow");
        assert_eq!((of_slow[&1].loss, of_slow[&1].grad_norm), (of_one[&1].loss, of_one[&1].grad_norm));
        assert_ne!(of_slow[&1].weights, of_one[&1].weights);
        assert_ne!(of_slow[&2].loss, of_one[&2].loss);
    }
}

#[test]
fn digests_go_on_across_attempts_and_half_a_line_is_repaired() {
    let job = job();
    job.finish("whole", Begin::New);
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 5));
    let path = job.path("out/digests.jsonl");
    let text = fs::read_to_string(&path).expect("digests");
    // As if it had been killed while it wrote, after its checkpoint at step 4, and one line were damaged.
    fs::remove_dir_all(job.path("out/checkpoint-5")).expect("removed");
    fs::write(&path, format!("{}{{\"step\":6,\"lo", text.replacen("\"step\":2", "\"stop\":2", 1)))
        .expect("written");
    job.finish("out", Begin::Resume);
    let mut expected = digests(&job, "whole");
    assert_eq!(digests(&job, "out").len(), 5);
    expected.remove(&2);
    assert_eq!(digests(&job, "out"), expected);
    let lines = fs::read_to_string(&path).expect("digests");
    assert_eq!(lines.lines().filter(|line| line.starts_with("{\"step\":5,")).count(), 2, "{lines}");
    assert_eq!(warnings(&job, "out"), [""; 0]);
}

#[test]
fn step_that_comes_out_differently_when_it_is_taken_again_is_named() {
    let job = job();
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 5));
    fs::remove_dir_all(job.path("out/checkpoint-5")).expect("removed");
    let path = job.path("out/digests.jsonl");
    let was = digests(&job, "out")[&5];
    let text = fs::read_to_string(&path).expect("digests");
    fs::write(&path, text.replace(&was.grad_norm.to_string(), "3ff0000000000000")).expect("written");
    job.finish("out", Begin::Resume);
    let norm = f64::from_bits(was.grad_norm.0);
    let expected = format!(
        "step 5 differs in its gradient norm: 1 and {norm}, when it was taken first and again: the same numbers come only \
         of the same device, program and number of threads"
    );
    assert_eq!(warnings(&job, "out"), [expected]);
    assert_eq!(digests(&job, "out")[&5], was, "the last line of a step counts");
}
