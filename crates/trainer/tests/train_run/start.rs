//! Runs that start from a checkpoint of another run.

use std::fs;

use ftl_core::{Event, EventRecord, StopSignal};
use ftl_trainer::train::{Begin, Outcome};
use serde_json::{Value, json};

use crate::job::{Job, token_rows};

/// 14 samples in 3 steps an epoch.
const TOTAL_STEPS: u64 = 6;

fn job() -> Job {
    Job::small(17)
        .set("adapter.lora_dropout", 0.1)
        .set("data.eval", json!({"fraction": 0.2}))
        .set("train.gradient_accumulation_steps", 3)
        .set("train.num_train_epochs", 2)
        .set("train.save_steps", 2)
        .set("train.warmup_steps", 2)
}

fn at(job: &Job, checkpoint: &str) -> Begin {
    Begin::From(job.path(checkpoint))
}

#[test]
fn run_from_a_checkpoint_with_the_same_settings_equals_the_uninterrupted_run() {
    let full = || job().set("adapter", json!({"kind": "none"}));
    for job in [job(), full(), full().set("train.optim", "adamw_8bit")] {
        let whole = job.finish("whole", Begin::New);
        assert_eq!(whole.steps, TOTAL_STEPS);
        for step in [2, 4] {
            let out = format!("from-{step}");
            let summary = job.finish(&out, at(&job, &format!("whole/checkpoint-{step}")));
            assert_eq!((summary.steps, summary.loss_nats), (TOTAL_STEPS, whole.loss_nats));
            assert_eq!(job.weights(&out), job.weights("whole"), "from step {step}");
            let steps: Vec<u64> = job.steps(&out).iter().map(|stepped| stepped.step).collect();
            assert_eq!(steps, (step + 1..=TOTAL_STEPS).collect::<Vec<_>>());
            let all = job.steps("whole");
            for (one, other) in job.steps(&out).iter().zip(&all[step as usize..]) {
                assert_eq!((one.loss_nats, one.grad_norm), (other.loss_nats, other.grad_norm));
            }
        }
    }
}

#[test]
fn run_from_a_checkpoint_with_other_settings_differs() {
    let others: [(&str, Value); 8] = [
        ("train.learning_rate", json!(1e-3)),
        ("train.lr_scheduler_type", json!("linear")),
        ("train.per_device_train_batch_size", json!(3)),
        ("train.weight_decay", json!(0.1)),
        ("train.neftune_noise_alpha", json!(5)),
        ("adapter.lora_dropout", json!(0.3)),
        ("data.packing", json!(true)),
        ("data.train", json!(["other.jsonl"])),
    ];
    for (key, value) in others {
        let mut job = job();
        job.finish("whole", Begin::New);
        job.write("other.jsonl", &token_rows(20, 2));
        job.change("name", "another");
        job.change(key, value);
        job.change("train.max_steps", TOTAL_STEPS);
        job.finish("from", at(&job, "whole/checkpoint-2"));
        assert_ne!(job.weights("from"), job.weights("whole"), "{key}");
    }
}

#[test]
fn steps_and_schedule_are_those_of_the_new_spec_at_the_step_that_was_reached() {
    let mut job = job();
    job.finish("whole", Begin::New);
    job.change("train.num_train_epochs", 4);
    job.finish("longer", Begin::New);
    job.finish("from", at(&job, "whole/checkpoint-6"));
    let after = |out: &str| {
        let steps = job.steps(out).into_iter().filter(|stepped| stepped.step > 6);
        steps.map(|stepped| (stepped.step, stepped.learning_rate, stepped.tokens)).collect::<Vec<_>>()
    };
    assert_eq!(after("from").len(), 6);
    assert_eq!(after("from"), after("longer"));
    assert_ne!(job.weights("from"), job.weights("longer"));
}

#[test]
fn run_from_a_checkpoint_is_resumed_from_its_own_or_else_from_there_again() {
    let mut job = job();
    job.finish("other", Begin::New);
    job.change("train.learning_rate", 3e-3);
    job.finish("whole", at(&job, "other/checkpoint-2"));
    for stop_after in 2..TOTAL_STEPS {
        let out = format!("stopped-{stop_after}");
        let outcome = job.stop_at((&out, at(&job, "other/checkpoint-2")), |event| match event {
            Event::Stepped(stepped) => stepped.step == stop_after,
            Event::Phase { phase: ftl_core::job::Phase::Training, .. } => stop_after == 2,
            _ => false,
        });
        let checkpoint = Some(job.path(&out).join(format!("checkpoint-{stop_after}")));
        assert_eq!(outcome, Outcome::Stopped { step: stop_after, checkpoint });
        if stop_after % 2 == 1 {
            // As if it had been killed before it saved anything.
            for name in job.names(&out).into_iter().filter(|name| name.starts_with("checkpoint-")) {
                fs::remove_dir_all(job.path(&out).join(name)).expect("removed");
            }
        }
        job.finish(&out, Begin::Resume);
        assert_eq!(job.weights(&out), job.weights("whole"), "stopped after step {stop_after}");
        let is_again = |record: &EventRecord| match &record.event {
            Event::Note { message, .. } => message.contains("other/checkpoint-2 again, after step 2"),
            _ => false,
        };
        let n_again = job.events(&out).iter().filter(|record| is_again(record)).count();
        assert_eq!(n_again, usize::from(stop_after % 2 == 1));
    }
}

#[test]
fn checkpoint_that_a_run_started_from_must_stay_as_it_was_until_the_run_has_its_own() {
    let message = |job: &Job| {
        job.refused(("out", Begin::Resume)).replace(job.dir.path().to_str().expect("UTF-8"), "DIR")
    };
    let mut job = job();
    job.finish("other", Begin::New);
    job.stop_at(("out", at(&job, "other/checkpoint-2")), |event| matches!(event, Event::Phase { .. }));
    assert_eq!(
        job.names("."),
        ["job.json", "model", "other", "train.jsonl"],
        "it was stopped before it began"
    );
    job.stop_at(("out", at(&job, "other/checkpoint-2")), |event| matches!(event, Event::Stepped(_)));
    fs::remove_dir_all(job.path("out/checkpoint-3")).expect("removed");
    fs::rename(job.path("other"), job.path("elsewhere")).expect("renamed");
    assert_eq!(message(&job), "DIR/other/checkpoint-2: there is no such checkpoint");
    job.change("train.learning_rate", 1e-3);
    job.finish("other", Begin::New);
    let expected = "DIR/out/start.json: the run started from `DIR/other/checkpoint-2`, which is another checkpoint \
                    now; put the checkpoint back, or start the run anew in another directory";
    assert_eq!(message(&job), expected);
    fs::remove_dir_all(job.path("other")).expect("removed");
    fs::rename(job.path("elsewhere"), job.path("other")).expect("renamed");
    job.finish("out", Begin::Resume);
}

#[test]
fn held_out_scores_of_a_run_from_a_checkpoint_begin_there() {
    let mut job = job();
    job.change("train.load_best_model_at_end", true);
    job.change("train.eval_steps", 1);
    let whole = job.finish("whole", Begin::New);
    // So high that nothing gets better: the best is one of its own steps all the same.
    job.change("train.learning_rate", 1.0);
    job.change("train.lr_scheduler_type", "constant");
    job.change("train.warmup_steps", 0);
    let summary = job.finish("from", at(&job, "whole/checkpoint-4"));
    let steps = |out: &str| job.evaluations(out).iter().map(|evaluated| evaluated.step).collect::<Vec<_>>();
    assert_eq!((steps("whole"), steps("from")), ((0..=6).collect(), vec![4, 5, 6]));
    let before = summary.eval_before.expect("an evaluation");
    assert_eq!(Some(&before), job.evaluations("whole").get(4));
    let best = summary.best.expect("an evaluation");
    assert!(best.step > 4 && best.loss_nats > before.loss_nats, "{best:?}");
    assert!(whole.best.expect("an evaluation").loss_nats <= before.loss_nats);
}

#[test]
fn what_would_change_the_meaning_of_weights_or_moments_is_refused_by_name() {
    let of = |job: &Job, out: &str| {
        let mut job_dir = job.dir.path().to_str().expect("UTF-8").to_owned();
        job_dir.push('/');
        job.refused((out, at(job, "whole/checkpoint-2"))).replace(&job_dir, "")
    };
    let refusal = |key: &str, was: &str, is: &str| {
        format!(
            "{key}: the checkpoint that training starts from has {was}, the job asks for {is}; set it back, or begin \
             without the checkpoint: its weights and moments would mean something else"
        )
    };
    let plain = job();
    plain.finish("whole", Begin::New);
    let mut plain = plain;
    let cases = [
        ("adapter.r", json!(4), json!(8)),
        ("adapter.lora_alpha", json!(8.0), json!(16.0)),
        ("adapter.use_rslora", json!(false), json!(true)),
        ("adapter.use_dora", json!(false), json!(true)),
        ("adapter.target_modules", json!("all-linear"), json!(["q_proj"])),
        ("train.optim", json!("adamw"), json!("adamw_8bit")),
        ("train.adam_beta1", json!(0.9), json!(0.8)),
        ("train.adam_beta2", json!(0.999), json!(0.99)),
        ("train.seed", json!(42), json!(43)),
        ("method.kind", json!("sft"), json!("cpt")),
    ];
    for (key, was, is) in &cases {
        plain.change(key, is.clone());
        assert_eq!(of(&plain, "out"), refusal(key, &was.to_string(), &is.to_string()));
        plain.change(key, was.clone());
    }
    // Several at once, each with its own problem.
    plain.change("adapter.r", 8);
    plain.change("quantization", json!({"kind": "nf4"}));
    let both = of(&plain, "out");
    assert_eq!(both.lines().count(), 3, "{both}");
    assert!(both.contains("quantization.double_quant: ") && both.contains("quantization.kind: "), "{both}");
    assert!(!plain.path("out").exists());
}

#[test]
fn other_base_than_the_checkpoints_is_refused_and_a_moved_one_is_none() {
    let mut job = job();
    job.finish("whole", Begin::New);
    fs::rename(job.path("model"), job.path("moved")).expect("renamed");
    job.change("model.path", "moved");
    job.finish("moved-on", at(&job, "whole/checkpoint-2"));
    assert_eq!(job.weights("moved-on"), job.weights("whole"));
    let config = fs::read_to_string(job.path("moved/config.json")).expect("a config");
    let other = config.replace("\"rope_theta\":10000.0", "\"rope_theta\":20000.0");
    assert_ne!(other, config);
    job.write("moved/config.json", &other);
    let found = job.refused(("out", at(&job, "whole/checkpoint-2")));
    assert!(found.starts_with("model.path: the checkpoint that training starts from has \""), "{found}");
    assert!(
        found.contains("/model\", the job asks for \"") && found.contains("/moved\"; set it back"),
        "{found}"
    );
    fs::rename(job.path("moved"), job.path("model")).expect("renamed");
    job.change("model.path", "model");
    let found = job.refused(("out", at(&job, "whole/checkpoint-2")));
    assert!(
        found.starts_with("model.path: `") && found.contains("` holds another model now than when"),
        "{found}"
    );
}

#[test]
fn what_is_no_whole_checkpoint_is_refused() {
    let job = job();
    job.finish("whole", Begin::New);
    let refused = |path: &str| {
        job.refused(("out", at(&job, path))).replace(job.dir.path().to_str().expect("UTF-8"), "DIR")
    };
    assert_eq!(refused("nothing"), "DIR/nothing: there is no such checkpoint");
    assert_eq!(
        refused("whole"),
        "DIR/whole: has no `MANIFEST.json`: it was not saved to the end; it is a run; name its checkpoint \
         `DIR/whole/checkpoint-6`"
    );
    assert_eq!(
        refused("whole/final"),
        "DIR/whole/final: is no checkpoint: it has no `optimizer.safetensors`; name a `checkpoint-` directory of a run"
    );
    assert_eq!(
        refused("whole/checkpoint-6"),
        "train.num_train_epochs: the job has 6 steps in all, the checkpoint that training starts from has 6 already; \
         ask for more: the 6 count among them"
    );
    fs::write(job.path("whole/checkpoint-4/optimizer.safetensors"), "x").expect("damaged");
    let damaged = refused("whole/checkpoint-4");
    assert!(damaged.contains("`optimizer.safetensors` has 1 bytes, but "), "{damaged}");
    assert!(!job.path("out").exists());
    let found = job.refused(("whole", at(&job, "whole/checkpoint-2")));
    assert!(found.contains("holds a run already"), "{found}");
}

#[test]
fn program_starts_from_a_checkpoint() {
    let job = job();
    job.finish("whole", Begin::New);
    let checkpoint = job.path("whole/checkpoint-4");
    let checkpoint = checkpoint.to_str().expect("UTF-8");
    let ran = job.program("from", &["--json", "--from", checkpoint]);
    assert_eq!((ran.code, &ran.json()["summary"]["steps"]), (Some(0), &json!(TOTAL_STEPS)), "{ran:?}");
    assert_eq!(job.weights("from"), job.weights("whole"));
    assert!(ran.stderr.contains("whole/checkpoint-4 after step 4"), "{ran:?}");
    let ran = job.program("both", &["--resume", "--from", checkpoint]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("cannot be used with"), "{ran:?}");
    let outcome = job.train(("from", Begin::Resume), &mut |_: &Event| {}, &StopSignal::new());
    assert!(matches!(outcome, Ok(Outcome::Finished(_))), "a run from a checkpoint is finished as any other");
}
