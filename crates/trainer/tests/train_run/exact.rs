//! Whatever is trained: a run that was killed or stopped, at whatever point, and resumed twice is the run that was left
//! alone, in every file of its result and in what each of its steps came to. And another seed is another run.

use std::fs;
use std::path::Path;

use ftl_core::job::Phase;
use ftl_core::{Event, StopSignal};
use ftl_trainer::train::{Begin, Outcome};
use ftl_trainer::verify::compare;
use serde_json::json;

use crate::digests::digests;
use crate::job::{Job, copy, token_rows};
use crate::preferences::pairs;
use crate::resume::differing;

/// Two files of 11 and 7 samples, in microbatches of 2, 2 to a step, where samples are not packed.
fn text() -> Job {
    let job = Job::small(11)
        .set("data.train", json!(["train.jsonl", "more.jsonl"]))
        .set("data.max_length", 32)
        .set("adapter.lora_dropout", 0.1)
        .set("train.gradient_accumulation_steps", 2)
        .set("train.max_steps", 7)
        .set("train.save_steps", 2)
        .set("train.warmup_steps", 2)
        .set("train.weight_decay", 0.01);
    job.write("more.jsonl", &token_rows(7, 2));
    job
}

fn weighted() -> Job {
    text().set("data.train", json!(["train.jsonl", {"path": "more.jsonl", "weight": 2.5}]))
}

fn full(job: Job) -> Job {
    job.set("adapter", json!({"kind": "none"})).set("train.learning_rate", 1e-3)
}

fn lora(job: Job, adapter: serde_json::Value) -> Job {
    job.set("adapter", adapter).set("adapter.kind", "lora").set("adapter.lora_dropout", 0.2)
}

#[test]
fn of_whatever_batches_are_made() {
    each([
        ("a step whose last microbatch is short", text()),
        ("packed rows", text().set("data.packing", true)),
        ("packed rows in the files' order", text().set("data.packing", true).set("data.shuffle", false)),
        ("samples grouped by length", text().set("train.group_by_length", true)),
        ("files by weight", weighted()),
        (
            "files by weight in packed rows with noise",
            weighted().set("data.packing", true).set("train.neftune_noise_alpha", 5),
        ),
        ("noise on the embeddings", text().set("train.neftune_noise_alpha", 5)),
        (
            "long samples in parts",
            text().set("data.max_length", 8).set("data.excess_length_strategy", "split"),
        ),
    ]);
}

#[test]
fn of_whatever_weights_are_trained() {
    let dora = json!({"r": 4, "use_dora": true, "target_modules": ["q_proj", "v_proj", "down_proj", "lm_head"],
        "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 2}, "modules_to_save": ["embed_tokens", "norm"]});
    let ends = json!({"r": 3, "use_rslora": true, "layers_to_transform": [1], "modules_to_save": ["model.norm"],
        "target_modules": ["q_proj", "model.embed_tokens", "lm_head"]});
    let nf4 = |double_quant| text().set("quantization", json!({"kind": "nf4", "double_quant": double_quant}));
    let earlier = text();
    earlier.finish("out", Begin::New);
    let next = lora(text(), json!({"init_from": "earlier"})).set("train.seed", 3);
    copy(&earlier.path("out/final"), &next.path("earlier"));
    each([
        ("DoRA", lora(text(), dora)),
        ("updates of embedding and head", lora(text(), ends)),
        ("all weights", full(text())),
        ("a base in 4 bits", nf4(false)),
        ("a base in 4 bits with scales in 8", nf4(true)),
        ("an adapter that goes on", next),
    ]);
}

#[test]
fn of_whatever_optimizer_and_schedule() {
    let schedule = |kind: &str, options| {
        text().set("train.lr_scheduler_type", kind).set("train.lr_scheduler_kwargs", options)
    };
    let in_parts = full(text()).set("train.gradient_accumulation_steps", 1).set("train.max_grad_norm", 0);
    each([
        ("moments in 8 bits", full(text()).set("train.optim", "adamw_8bit")),
        ("updates during the backward pass", in_parts.set("train.optim", "adamw_8bit")),
        ("cosine with restarts", schedule("cosine_with_restarts", json!({"num_cycles": 3}))),
        ("warm-up, plateau, decay", schedule("wsd", json!({"num_decay_steps": 3, "min_lr_ratio": 0.1}))),
        ("inverse square root", schedule("inverse_sqrt", json!({"timescale": 4}))),
    ]);
}

#[test]
fn of_pairs() {
    let small = |job: Job| job.set("train.max_steps", 6).set("train.save_steps", 2);
    let dpo = || small(pairs(json!({"kind": "dpo"})));
    each([
        ("dpo", dpo()),
        ("dpo of all weights", full(dpo())),
        (
            "ipo in packs of one",
            full(small(pairs(json!({"kind": "dpo", "loss_type": "ipo"}))))
                .set("train.gradient_accumulation_steps", 1),
        ),
        ("orpo", small(pairs(json!({"kind": "orpo"})))),
    ]);
}

#[test]
fn of_whatever_ends_the_run() {
    let epochs = |n: f64| {
        text()
            .set("train.max_steps", json!(null))
            .set("train.num_train_epochs", n)
            .set("train.save_steps", json!(null))
    };
    let held_out = || text().set("data.eval", json!({"fraction": 0.2})).set("train.eval_steps", 1);
    let best = held_out().set("train.load_best_model_at_end", true).set("train.save_total_limit", 1);
    // So fast that held-out data soon get worse.
    let early = full(held_out())
        .set("train.learning_rate", 3e-2)
        .set("train.early_stopping_patience", 2)
        .set("train.load_best_model_at_end", true)
        .set("train.max_steps", 40);
    let summary = early.finish("probe", Begin::New);
    let best_step = summary.best.map(|best| best.step);
    assert!(summary.stopped_early && best_step < Some(summary.steps), "early and not its last weights");
    each([
        ("an epoch's half", epochs(2.5)),
        ("checkpoints within epochs", epochs(2.0).set("train.save_steps", 2)),
        ("the best of the run", best),
        ("an early end", early),
    ]);
}

#[test]
fn of_a_run_from_anothers_checkpoint() {
    let mut job = text();
    job.finish("earlier", Begin::New);
    job.change("train.learning_rate", 2e-3);
    job.change("train.max_steps", 9);
    let begin = Begin::From(job.path("earlier/checkpoint-2"));
    is_exact("from a checkpoint", &job, begin);
}

fn each<const N: usize>(cases: [(&str, Job); N]) {
    for (name, mut job) in cases {
        is_exact(name, &job, Begin::New);
        job.change("train.seed", 7);
        job.finish("other", Begin::New);
        assert!(job.weights("other") != job.weights("whole"), "{name}: the seed makes no difference");
        assert_ne!(digests(&job, "other"), digests(&job, "whole"), "{name}: the seed makes no difference");
    }
}

/// Where a run is killed: in words, and whether it is at this event, with the step of the last checkpoint so far.
type Point = (&'static str, fn(&Event, u64) -> bool);

const POINTS: [Point; 3] = [
    ("after a checkpoint", |event, _| matches!(event, Event::Saved { .. })),
    (
        "between two",
        |event, saved| matches!(event, Event::Stepped(stepped) if saved > 0 && stepped.step == saved + 1),
    ),
    ("while saving", |event, saved| matches!(event, Event::Phase { phase: Phase::Saving, .. }) && saved > 0),
];

fn is_exact(name: &str, job: &Job, begin: Begin) {
    let total = killed(job, ("whole", begin), |image| format!("killed-{image}"));
    assert!(total >= 4, "{name}: {total} steps are too few to be interrupted in");
    for (point, (what, _)) in POINTS.iter().enumerate() {
        let out = format!("killed-{point}");
        tear(&job.path(&out));
        // Once more before the end: stopped, or killed while it takes steps that were taken before.
        if point == 1 {
            killed(job, (&out, Begin::Resume), |image| format!("again-{image}"));
            tear(&job.path("again-1"));
            is_whole(job, "again-1", &format!("{name}, killed {what} and again"));
        } else {
            let stop = |event: &Event| matches!(event, Event::Stepped(stepped) if stepped.step == total - 1);
            job.stop_at((&out, Begin::Resume), stop);
        }
        is_whole(job, &out, &format!("{name}, killed {what}"));
    }
}

/// Resumes the run in `out`, if it is not finished, and compares it with the one that was left alone.
fn is_whole(job: &Job, out: &str, what: &str) {
    job.finish(out, Begin::Resume);
    assert_eq!(differing(job, out, &job.result("whole")), [""; 0], "{what}");
    assert_eq!(digests(job, out), digests(job, "whole"), "{what}");
    let comparison = compare(&job.path("whole"), &job.path(out)).expect("two runs");
    assert!(comparison.equal, "{what}: {comparison:?}");
}

/// Runs it to the end and copies its directory at each of [`POINTS`] when it comes there first: what is there of a run
/// that is killed then. Returns the steps.
fn killed(job: &Job, (out, begin): (&str, Begin), image: impl Fn(usize) -> String) -> u64 {
    let (mut saved, mut is_taken) = (0, [false; POINTS.len()]);
    let mut observer = |event: &Event| {
        for (point, (_, is_there)) in POINTS.iter().enumerate() {
            if !is_taken[point] && is_there(event, saved) {
                is_taken[point] = true;
                copy_tree(&job.path(out), &job.path(&image(point)));
            }
        }
        if let Event::Saved { step, .. } = event {
            saved = *step;
        }
    };
    match job.train((out, begin), &mut observer, &StopSignal::new()) {
        Ok(Outcome::Finished(summary)) => summary.steps,
        other => panic!("the run did not finish: {other:?}"),
    }
}

fn copy_tree(from: &Path, to: &Path) {
    copy(from, to);
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            copy_tree(&path, &to.join(path.file_name().expect("a name")));
        }
    }
}

/// What a process that is killed within a write leaves: half lines, and half a checkpoint that has no name yet.
fn tear(out: &Path) {
    for (name, half) in
        [("events.jsonl", "{\"seq\":99,\"time_uni"), ("digests.jsonl", "{\"step\":99,\"loss\":\"3f")]
    {
        let path = out.join(name);
        let text = fs::read_to_string(&path).expect("a file of lines");
        fs::write(&path, text + half).expect("torn");
    }
    let half = out.join(".tmp-checkpoint-99");
    fs::create_dir_all(&half).expect("a directory");
    fs::write(half.join("optimizer.safetensors"), "ha").expect("a file");
}
