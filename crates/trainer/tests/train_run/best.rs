//! Which weights are the result, and when a run ends before its last step.

use std::fs;

use ftl_core::event::NoteLevel;
use ftl_core::job::Phase;
use ftl_core::metrics::Evaluated;
use ftl_core::{Event, StopSignal};
use ftl_trainer::train::{Begin, Outcome, Summary};
use serde_json::{Value, json};

use crate::job::{Job, files, token_rows};
use crate::resume::differing;

/// A job that learns four samples by heart, which soon helps no others.
fn job() -> Job {
    let job = Job::small(4)
        .set("adapter", json!({"kind": "none"}))
        .set("data.eval", json!({"path": "eval.jsonl"}))
        .set("train.learning_rate", 0.03)
        .set("train.lr_scheduler_type", "constant")
        .set("train.max_steps", 12)
        .set("train.eval_steps", 1)
        .set("train.save_steps", 0);
    job.write("eval.jsonl", &token_rows(6, 2));
    job
}

fn lora() -> Job {
    job().set("adapter", json!({"kind": "lora", "r": 4, "lora_alpha": 64, "lora_dropout": 0.1}))
}

fn lowest(job: &Job, out: &str) -> Evaluated {
    let evaluations = job.evaluations(out).into_iter().filter(|e| e.step > 0);
    evaluations.min_by(|a, b| a.loss_nats.total_cmp(&b.loss_nats)).expect("evaluations")
}

/// Runs it to the end and gives back what it noted.
fn notes(job: &Job, out: &str) -> (Summary, Vec<(NoteLevel, String)>) {
    let mut notes = Vec::new();
    let mut observer = |event: &Event| {
        if let Event::Note { level, message } = event {
            notes.push((*level, message.clone()));
        }
    };
    match job.train((out, Begin::New), &mut observer, &StopSignal::new()) {
        Ok(Outcome::Finished(summary)) => (summary, notes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn result_is_the_best_checkpoint_if_asked() {
    for job in [job(), lora()] {
        let job = job.set("train.load_best_model_at_end", true);
        let summary = job.finish("out", Begin::New);
        let best = lowest(&job, "out");
        assert!(best.step < 12, "the test needs a best one that is not the last");
        assert_eq!((summary.steps, summary.stopped_early), (12, false));
        assert_eq!((summary.best.as_ref(), summary.eval_after.as_ref()), (Some(&best), Some(&best)));
        let checkpoint = files(&job.path(&format!("out/checkpoint-{}", best.step)));
        let result = job.result("out");
        for (name, bytes) in &checkpoint {
            match name.as_str() {
                "MANIFEST.json" | "ftl_state.json" => assert_ne!(result[name], *bytes),
                "optimizer.safetensors" | "trainer_state.json" => assert!(!result.contains_key(name)),
                _ => assert_eq!(result[name], *bytes, "{name}"),
            }
        }
        let card = String::from_utf8(result["README.md"].clone()).expect("text");
        assert!(card.contains(&format!("weights are those after step {}, the best", best.step)), "{card}");
        assert!(card.contains(&format!("| loss | {:.4}", best.loss_nats)), "{card}");
        // Training is the same whatever its result is.
        let mut last = job;
        last.change("train.load_best_model_at_end", false);
        let summary = last.finish("last", Begin::New);
        assert_eq!(last.evaluations("last"), last.evaluations("out"));
        assert_eq!(summary.eval_after.map(|e| e.step), Some(12));
        assert_ne!(last.weights("last"), last.weights("out"));
    }
}

#[test]
fn every_new_best_is_saved_and_the_best_is_kept() {
    let job = job().set("train.load_best_model_at_end", true).set("train.save_total_limit", 1);
    job.finish("out", Begin::New);
    let mut lowest = f64::INFINITY;
    let mut bests = Vec::new();
    for e in job.evaluations("out").iter().filter(|e| e.step > 0) {
        if e.loss_nats < lowest {
            lowest = e.loss_nats;
            bests.push(e.step);
        }
    }
    let saved: Vec<u64> = job
        .events("out")
        .into_iter()
        .filter_map(|record| match record.event {
            Event::Saved { step, .. } => Some(step),
            _ => None,
        })
        .collect();
    assert_eq!(saved, bests);
    assert_eq!(job.names("out")[0], format!("checkpoint-{}", bests[bests.len() - 1]));
}

#[test]
fn run_ends_when_held_out_data_stop_getting_better() {
    let job = job().set("train.early_stopping_patience", 2).set("train.max_steps", 200);
    let (summary, notes) = notes(&job, "out");
    let best = lowest(&job, "out");
    assert_eq!(summary.steps, best.step + 2);
    assert!(summary.stopped_early && summary.steps < 200);
    assert_eq!(summary.eval_after.map(|e| e.step), Some(best.step + 2));
    let expected = format!(
        "stopped early after step {}: none of the last 2 evaluations was better than that after step {} (held-out loss \
         {:.4})",
        best.step + 2,
        best.step,
        best.loss_nats
    );
    assert!(notes.contains(&(NoteLevel::Info, expected)), "{notes:?}");
    let progress = job.events("out").into_iter().rev().find_map(|record| match record.event {
        Event::Phase { phase: Phase::Training, done, total, .. } => Some((done, total)),
        _ => None,
    });
    assert_eq!(progress, Some((Some(summary.steps), Some(summary.steps))));
    let last = serde_json::to_value(job.events("out").pop()).expect("plain data");
    assert_eq!(last["state"], "SUCCEEDED");
    // The finished run says the same again.
    let again = job.finish("out", Begin::Resume);
    assert_eq!((again.steps, again.stopped_early, again.best), (summary.steps, true, Some(best)));
    let ran = job.program("program", &["--json"]);
    assert_eq!((ran.code, &ran.json()["summary"]["stopped_early"]), (Some(0), &json!(true)));
    assert!(ran.stderr.contains("steps done, stopped early"), "{}", ran.stderr);
}

#[test]
fn stopped_run_has_the_same_best_and_the_same_early_end() {
    for job in [job(), lora()] {
        let job = job
            .set("train.load_best_model_at_end", true)
            .set("train.early_stopping_patience", 3)
            .set("train.max_steps", 60);
        let whole = job.finish("whole", Begin::New);
        assert!(whole.stopped_early);
        for stop_after in 1..=whole.steps {
            let out = format!("stopped-{stop_after}");
            job.stop_at(
                (&out, Begin::New),
                |event| matches!(event, Event::Stepped(s) if s.step == stop_after),
            );
            let resumed = job.finish(&out, Begin::Resume);
            assert_eq!((resumed.steps, resumed.best.as_ref()), (whole.steps, whole.best.as_ref()));
            assert_eq!(
                differing(&job, &out, &job.result("whole")),
                [""; 0],
                "stopped after step {stop_after}"
            );
            let out = format!("evaluating-{stop_after}");
            let mut n = 0;
            job.stop_at((&out, Begin::New), |event| {
                n += u64::from(matches!(event, Event::Phase { phase: Phase::Evaluating, .. }));
                n == stop_after
            });
            job.finish(&out, Begin::Resume);
            assert_eq!(
                differing(&job, &out, &job.result("whole")),
                [""; 0],
                "stopped at evaluation {stop_after}"
            );
        }
    }
}

#[test]
fn scores_that_decide_may_not_be_taken_at_other_steps_on_resume() {
    for (key, value) in
        [("train.load_best_model_at_end", json!(true)), ("train.early_stopping_patience", json!(50))]
    {
        let mut job = job().set(key, value.clone());
        job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 3));
        job.change("train.eval_steps", 2);
        let refusal = job.refused(("out", Begin::Resume));
        assert!(refusal.contains("was written with train.eval_steps = 1, the job asks for 2"), "{refusal}");
    }
}

#[test]
fn best_checkpoint_that_is_gone_is_missed_before_training_goes_on() {
    let job = job().set("train.load_best_model_at_end", true);
    job.finish("whole", Begin::New);
    let best = lowest(&job, "whole").step;
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == best + 2));
    fs::remove_dir_all(job.path(&format!("out/checkpoint-{best}"))).expect("removed");
    let refusal = job.refused(("out", Begin::Resume));
    assert!(refusal.contains("the best weights so far can't be read: "), "{refusal}");
    assert!(refusal.contains("put the checkpoint back, or start the run anew"), "{refusal}");
}

#[test]
fn training_that_helps_nowhere_is_said() {
    let (summary, notes) =
        notes(&job().set("train.load_best_model_at_end", true).set("train.learning_rate", 1.0), "out");
    let warned = |(level, message): &(NoteLevel, String)| {
        *level == NoteLevel::Warning
            && message.starts_with("training did not lower the held-out loss: it was ")
    };
    assert!(notes.iter().any(warned), "{summary:?} {notes:?}");
}

#[test]
fn scores_do_not_depend_on_how_many_samples_are_scored_at_once() {
    let scores = |batch: u64| {
        // The learning rate keeps the weights as they are.
        let job = job()
            .set("train.per_device_train_batch_size", batch)
            .set("train.learning_rate", 1e-12)
            .set("train.max_steps", 1);
        job.write("eval.jsonl", &token_rows(40, 2));
        job.finish("out", Begin::New);
        job.evaluations("out").remove(0)
    };
    let [one, four] = [1, 4].map(scores);
    assert_eq!((one.tokens, one.token_accuracy), (four.tokens, four.token_accuracy));
    assert!((one.loss_nats - four.loss_nats).abs() < 1e-6 * one.loss_nats, "{one:?} {four:?}");
}

#[test]
fn stop_is_heeded_between_two_lots_of_held_out_samples() {
    let job = job().set("train.per_device_train_batch_size", 1);
    job.write("eval.jsonl", &token_rows(5000, 2));
    let stop = StopSignal::new();
    let raiser = stop.clone();
    let mut observer = |event: &Event| {
        if matches!(event, Event::Phase { phase: Phase::Evaluating, .. }) {
            raiser.raise(ftl_core::StopReason::User);
        }
    };
    let outcome = job.train(("out", Begin::New), &mut observer, &stop).expect("a run that can be stopped");
    assert_eq!(outcome, Outcome::Stopped { step: 0, checkpoint: None });
    assert_eq!(job.evaluations("out"), []);
    let progress: Vec<Value> = job
        .events("out")
        .into_iter()
        .filter(|record| matches!(record.event, Event::Phase { phase: Phase::Evaluating, .. }))
        .map(|record| serde_json::to_value(record.event).expect("plain data"))
        .collect();
    assert_eq!(
        (&progress[0]["done"], &progress[0]["total"], &progress[0]["unit"]),
        (&json!(0), &json!(5000), &json!("rows"))
    );
}
