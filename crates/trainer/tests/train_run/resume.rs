//! A run that was stopped and goes on is the same run, byte for byte.

use std::fs;
use std::thread;
use std::time::Duration;

use ftl_core::event::NoteLevel;
use ftl_core::job::Phase;
use ftl_core::{Event, StopReason, StopSignal};
use ftl_trainer::checkpoint::verify;
use ftl_trainer::train::{Begin, Outcome};
use serde_json::json;

use crate::job::Job;

/// 13 samples of 17, in microbatches of 2, 3 to a step: 3 steps an epoch, the last of one microbatch with one sample.
const TOTAL_STEPS: u64 = 9;

fn lora() -> Job {
    job().set("adapter.lora_dropout", 0.1)
}

/// Every part of an adapter but those of `ends`.
fn dora() -> Job {
    job().set(
        "adapter",
        json!({"kind": "lora", "r": 4, "lora_dropout": 0.1, "use_dora": true,
            "target_modules": ["q_proj", "v_proj", "down_proj", "lm_head"], "rank_pattern": {"v_proj": 2},
            "alpha_pattern": {"q_proj": 2}, "modules_to_save": ["embed_tokens", "norm"]}),
    )
}

/// Updates of the embedding and the head.
fn ends() -> Job {
    job().set(
        "adapter",
        json!({"kind": "lora", "r": 3, "lora_dropout": 0.2, "use_rslora": true, "layers_to_transform": [1],
            "target_modules": ["q_proj", "model.embed_tokens", "lm_head"], "modules_to_save": ["model.norm"]}),
    )
}

fn full() -> Job {
    job().set("adapter", json!({"kind": "none"}))
}

fn job() -> Job {
    Job::small(17)
        .set("data.eval", json!({"fraction": 0.2}))
        .set("train.gradient_accumulation_steps", 3)
        .set("train.num_train_epochs", 3)
        .set("train.save_steps", 2)
        .set("train.warmup_steps", 2)
        .set("train.weight_decay", 0.01)
}

#[test]
fn resumed_run_equals_uninterrupted_run() {
    for job in [lora(), dora(), ends(), full()] {
        assert_eq!(job.finish("whole", Begin::New).steps, TOTAL_STEPS);
        let whole = job.result("whole");
        for stop_after in 0..=TOTAL_STEPS {
            let out = format!("stopped-{stop_after}");
            let outcome = job.stop_at((&out, Begin::New), |event| match event {
                Event::Stepped(stepped) => stepped.step == stop_after,
                Event::Phase { phase: Phase::Training, .. } => stop_after == 0,
                _ => false,
            });
            let checkpoint = job.path(&out).join(format!("checkpoint-{stop_after}"));
            let checkpoint = (stop_after > 0).then_some(checkpoint);
            assert_eq!(outcome, Outcome::Stopped { step: stop_after, checkpoint });
            assert!(!job.path(&out).join("final").exists());
            assert_eq!(job.finish(&out, Begin::Resume).steps, TOTAL_STEPS);
            assert_eq!(differing(&job, &out, &whole), [""; 0], "stopped after step {stop_after}");
        }
    }
}

#[test]
fn run_with_another_seed_differs() {
    for mut job in [lora(), full()] {
        job.finish("one", Begin::New);
        job.change("train.seed", 43);
        job.finish("other", Begin::New);
        assert_ne!(job.weights("one"), job.weights("other"));
    }
}

#[test]
fn resuming_without_the_optimizers_moments_would_differ() {
    let job = full();
    job.finish("whole", Begin::New);
    let stopped =
        job.stop_at(("stopped", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 4));
    assert!(matches!(stopped, Outcome::Stopped { step: 4, .. }));
    // A run that begins anew from the weights alone, as if nothing else counted.
    let fresh = full()
        .set("model", json!({"path": job.path("stopped/checkpoint-4")}))
        .set("data.train", json!([job.path("train.jsonl")]));
    fresh.finish("fresh", Begin::New);
    assert_ne!(job.weights("whole"), fresh.weights("fresh"));
}

#[test]
fn run_stopped_within_a_step_keeps_only_whole_steps() {
    let job = lora().set("train.gradient_accumulation_steps", 4).set("train.num_train_epochs", 50);
    job.finish("whole", Begin::New);
    let (mut n_stops, mut begin) = (0, Begin::New);
    loop {
        let stop = StopSignal::new();
        let raiser = stop.clone();
        // Steps take about a millisecond: no delay is a whole number of them.
        let delay = Duration::from_micros(2_300 + 1_711 * (n_stops % 7));
        let mut timer = None;
        let mut observer = |event: &Event| {
            if timer.is_none() && matches!(event, Event::Stepped(_)) {
                let raiser = raiser.clone();
                timer = Some(thread::spawn(move || {
                    thread::sleep(delay);
                    raiser.raise(StopReason::User);
                }));
            }
        };
        let outcome = job.train(("stopped", begin), &mut observer, &stop).expect("a run");
        if let Some(timer) = timer {
            timer.join().expect("the timer ends");
        }
        match outcome {
            Outcome::Stopped { .. } => n_stops += 1,
            Outcome::Finished(_) => break,
        }
        begin = Begin::Resume;
    }
    println!("stopped {n_stops} times");
    assert!(n_stops >= 3, "stopped only {n_stops} times");
    assert_eq!(differing(&job, "stopped", &job.result("whole")), [""; 0]);
}

#[test]
fn run_stopped_during_an_evaluation_goes_on_the_same() {
    let job = lora().set("train.eval_steps", 2);
    job.finish("whole", Begin::New);
    for stop_at in 1..=6 {
        let (out, mut n) = (format!("stopped-{stop_at}"), 0);
        job.stop_at((&out, Begin::New), |event| {
            n += u64::from(matches!(event, Event::Phase { phase: Phase::Evaluating, .. }));
            n == stop_at
        });
        job.finish(&out, Begin::Resume);
        assert_eq!(differing(&job, &out, &job.result("whole")), [""; 0], "stopped at evaluation {stop_at}");
        assert_eq!(job.evaluations(&out), job.evaluations("whole"), "stopped at evaluation {stop_at}");
    }
}

#[test]
fn what_does_not_touch_the_weights_may_change_on_resume() {
    let mut job = lora();
    job.finish("whole", Begin::New);
    job.stop_at(("stopped", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 4));
    for (key, value) in
        [("name", json!("other")), ("train.save_steps", json!(1)), ("train.logging_steps", json!(3))]
    {
        job.change(key, value);
    }
    job.change("train.eval_steps", 1);
    job.change("train.save_total_limit", 9);
    job.finish("stopped", Begin::Resume);
    assert_eq!(job.weights("stopped"), job.weights("whole"));
    let checkpoints = ["checkpoint-2", "checkpoint-4", "checkpoint-5", "checkpoint-6"];
    assert_eq!(job.names("stopped")[..4], checkpoints);
}

#[test]
fn result_does_not_depend_on_what_is_kept_for_the_backward_pass_or_how_often_it_is_saved() {
    let mut job = lora();
    job.finish("whole", Begin::New);
    job.change("train.save_steps", 0);
    job.finish("unsaved", Begin::New);
    assert_eq!(job.weights("unsaved"), job.weights("whole"));
    job.change("train.gradient_checkpointing", "block");
    job.finish("recomputed", Begin::New);
    assert_eq!(job.weights("recomputed"), job.weights("whole"));
}

#[test]
fn damaged_newest_checkpoint_is_named_and_the_previous_one_used() {
    for (file, damage) in [
        ("adapter_model.safetensors", Damage::Bit),
        ("optimizer.safetensors", Damage::Cut),
        ("ftl_state.json", Damage::Gone),
        ("MANIFEST.json", Damage::Gone),
    ] {
        let job = lora();
        job.finish("whole", Begin::New);
        job.stop_at(("stopped", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 7));
        let path = job.path("stopped/checkpoint-7").join(file);
        let mut bytes = fs::read(&path).expect("a file of the checkpoint");
        let middle = bytes.len() / 2;
        match damage {
            Damage::Bit => {
                bytes[middle] ^= 1;
                fs::write(&path, bytes).expect("damaged");
            }
            Damage::Cut => fs::write(&path, &bytes[..middle]).expect("damaged"),
            Damage::Gone => fs::remove_file(&path).expect("damaged"),
        }
        let mut notes = Vec::new();
        let mut observer = |event: &Event| {
            if let Event::Note { level, message } = event {
                notes.push((*level, message.clone()));
            }
        };
        let outcome = job.train(("stopped", Begin::Resume), &mut observer, &StopSignal::new());
        assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
        let warned = |(level, message): &(NoteLevel, String)| {
            *level == NoteLevel::Warning
                && message.contains("checkpoint-7 is not used")
                && message.contains(file)
        };
        assert!(notes.iter().any(warned), "{notes:?}");
        assert!(notes.contains(&(NoteLevel::Info, "going on after step 6".to_owned())), "{notes:?}");
        assert_eq!(differing(&job, "stopped", &job.result("whole")), [""; 0], "{file}");
    }
}

enum Damage {
    Bit,
    Cut,
    Gone,
}

#[test]
fn resuming_without_any_checkpoint_starts_from_the_beginning() {
    let job = lora();
    job.finish("whole", Begin::New);
    job.finish("resumed", Begin::Resume);
    assert_eq!(differing(&job, "resumed", &job.result("whole")), [""; 0]);
}

#[test]
fn resuming_a_finished_run_changes_nothing() {
    let job = lora();
    let first = job.finish("whole", Begin::New);
    let before = (job.result("whole"), job.events("whole"));
    let again = job.finish("whole", Begin::Resume);
    assert_eq!((again.steps, again.path), (first.steps, first.path));
    assert_eq!((job.result("whole"), job.events("whole")), before);
}

#[test]
fn damaged_result_is_written_again() {
    let job = lora();
    job.finish("whole", Begin::New);
    let before = job.result("whole");
    fs::write(job.path("whole/final/adapter_model.safetensors"), "x").expect("damaged");
    job.finish("whole", Begin::Resume);
    assert_eq!(differing(&job, "whole", &before), [""; 0]);
    let is_named = |record: &ftl_core::EventRecord| match &record.event {
        Event::Note { level: NoteLevel::Warning, message } => {
            message.contains("final is written again") && message.contains("adapter_model.safetensors")
        }
        _ => false,
    };
    assert_eq!(job.events("whole").iter().filter(|record| is_named(record)).count(), 1);
}

#[test]
fn numbers_of_events_go_on_across_attempts_and_half_a_line_is_repaired() {
    let job = lora();
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 3));
    let path = job.path("out/events.jsonl");
    let mut text = fs::read_to_string(&path).expect("events");
    let n_before = job.events("out").len();
    // As a process leaves it that was killed while it wrote.
    text.push_str("{\"seq\":99,\"time_unix_ms\":17");
    fs::write(&path, text).expect("events");
    job.finish("out", Begin::Resume);
    let numbers: Vec<u64> = job.events("out").iter().map(|record| record.seq).collect();
    assert!(numbers.len() > n_before);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let steps: Vec<u64> = job.steps("out").iter().map(|stepped| stepped.step).collect();
    assert_eq!(steps, (1..=TOTAL_STEPS).collect::<Vec<_>>());
}

#[test]
fn unreadable_line_in_the_middle_of_the_events_costs_none_of_the_others() {
    let job = lora();
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 3));
    let path = job.path("out/events.jsonl");
    let text = fs::read_to_string(&path).expect("events");
    let (first, rest) = text.split_at(text.find('\n').expect("a line") + 1);
    fs::write(&path, format!("{first}{{\"seq\":\n{rest}")).expect("events");
    job.finish("out", Begin::Resume);
    let repaired = fs::read_to_string(&path).expect("events");
    assert!(repaired.starts_with(&format!("{first}{{\"seq\":\n{rest}")));
    let last = repaired.lines().last().expect("events");
    let last: ftl_core::EventRecord = serde_json::from_str(last).expect("an event");
    assert_eq!(last.seq, repaired.lines().count() as u64 - 1);
}

/// The files of the result that are not as in `whole`.
pub fn differing(job: &Job, out: &str, whole: &std::collections::BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let result = job.result(out);
    assert_eq!(result.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    result.into_iter().filter(|(name, bytes)| whole[name] != *bytes).map(|(name, _)| name).collect()
}

#[test]
fn run_stopped_at_a_damaged_checkpoint_writes_it_anew() {
    let job = lora();
    job.finish("whole", Begin::New);
    job.stop_at(("stopped", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 7));
    fs::write(job.path("stopped/checkpoint-7/optimizer.safetensors"), "x").expect("damaged");
    job.stop_at(("stopped", Begin::Resume), |event| matches!(event, Event::Stepped(s) if s.step == 7));
    verify(&job.path("stopped/checkpoint-7")).expect("a whole checkpoint");
    job.finish("stopped", Begin::Resume);
    assert_eq!(differing(&job, "stopped", &job.result("whole")), [""; 0]);
}
