//! `ftl-train verify`: two runs side by side, and one against its manifests.

use std::fs;

use ftl_core::Event;
use ftl_trainer::train::Begin;
use serde_json::{Value, json};
use std::process::Command;

use crate::job::{Job, Ran};

const TOTAL_STEPS: u64 = 6;

fn job() -> Job {
    Job::small(12)
        .set("adapter.lora_dropout", 0.1)
        .set("train.max_steps", TOTAL_STEPS)
        .set("train.save_steps", 2)
        .set("train.save_total_limit", 9)
}

fn verify(job: &Job, outs: &[&str], arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftl-train"));
    command.arg("verify").args(outs.iter().map(|out| job.path(out))).args(arguments);
    Ran::of(command.output().expect("the program starts"))
}

/// The exit code and the document.
fn json(job: &Job, outs: &[&str]) -> (i32, Value) {
    let ran = verify(job, outs, &["--json"]);
    (ran.code.expect("it ends by itself"), ran.json())
}

#[test]
fn interrupted_run_is_equal_to_the_one_left_alone_and_one_with_another_seed_is_not() {
    let mut job = job();
    job.finish("whole", Begin::New);
    job.stop_at(("parts", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 3));
    job.change("name", "another name");
    job.finish("parts", Begin::Resume);
    let (code, document) = json(&job, &["whole", "parts"]);
    assert_eq!(code, 0, "{document}");
    let expected = json!({
        "equal": true,
        "spec": [{"key": "name", "a": "\"small\"", "b": "\"another name\""}],
        "steps": {"a": 6, "b": 6, "compared": 6, "first_difference": null},
        "checkpoints": {"compared": [2, 4, 6], "first_difference": null},
        "weights": {"of": "final", "tensors": document["weights"]["tensors"], "differing": 0, "first_difference": null},
    });
    assert_eq!(document, expected);
    let text = verify(&job, &["whole", "parts"], &[]).stdout;
    let expected = format!(
        "the specs differ:\n  name: \"small\" and \"another name\"\nboth stand after step 6\nsteps: 6 compared, all \
         the same\ncheckpoints: 3 compared, all the same\nweights of `final`: {} tensors, the same to the last bit\n\
         the runs are equal\n",
        document["weights"]["tensors"]
    );
    assert_eq!(text, expected);

    job.change("train.seed", 7);
    job.finish("other", Begin::New);
    let (code, document) = json(&job, &["whole", "other"]);
    assert_eq!((code, &document["equal"]), (1, &json!(false)), "{document}");
    assert_eq!(document["spec"][1], json!({"key": "train.seed", "a": "42", "b": "7"}));
    assert_eq!(document["steps"]["first_difference"]["step"], 1);
    assert_eq!(document["steps"]["first_difference"]["part"], "loss");
    assert_eq!(document["checkpoints"]["first_difference"]["step"], 2);
    let weights = &document["weights"];
    assert!(weights["differing"].as_u64().is_some_and(|n| n > 0), "{document}");
    let tensor = weights["first_difference"]["tensor"].as_str().expect("a tensor");
    assert!(tensor.starts_with("base_model.model.model.layers.0."), "{tensor}");
    let text = verify(&job, &["whole", "other"], &[]).stdout;
    assert!(
        text.contains("steps: step 1 differs in its loss: ") && text.ends_with("the runs differ\n"),
        "{text}"
    );
}

#[test]
fn first_step_that_differs_is_named_with_what_differs() {
    let mut job = job();
    job.finish("one", Begin::New);
    // The first step's loss and gradients are the same, what is made of them is not.
    job.change("train.learning_rate", 2e-3);
    job.finish("other", Begin::New);
    let (_, document) = json(&job, &["one", "other"]);
    let first = &document["steps"]["first_difference"];
    assert_eq!((&first["step"], &first["part"]), (&json!(1), &json!("weights")), "{document}");

    let path = job.path("one/digests.jsonl");
    let text = fs::read_to_string(&path).expect("digests");
    fs::write(job.path("other/digests.jsonl"), &text).expect("written");
    let of_step_4 = text.lines().nth(3).expect("six steps");
    let norm = of_step_4.split('"').nth(9).expect("a norm");
    assert_eq!(norm.len(), 16, "{of_step_4}");
    fs::write(&path, text.replace(norm, "3ff8000000000000")).expect("written");
    let (code, document) = json(&job, &["one", "other"]);
    let first = &document["steps"]["first_difference"];
    assert_eq!(
        (code, &first["step"], &first["part"], &first["a"]),
        (1, &json!(4), &json!("grad_norm"), &json!("1.5"))
    );
}

#[test]
fn unfinished_runs_are_compared_as_far_as_both_got() {
    let mut job = job();
    job.finish("whole", Begin::New);
    job.stop_at(("part", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 4));
    let (code, document) = json(&job, &["whole", "part"]);
    assert_eq!(code, 1, "{document}");
    assert_eq!(document["steps"], json!({"a": 6, "b": 4, "compared": 4, "first_difference": null}));
    assert_eq!(
        (&document["weights"]["of"], &document["weights"]["differing"]),
        (&json!("checkpoint-4"), &json!(0))
    );
    let text = verify(&job, &["whole", "part"], &[]).stdout;
    assert!(text.contains("one stands after step 6, the other after step 4\n"), "{text}");

    // One that starts from a checkpoint has taken the later steps alone.
    job.finish("from", Begin::From(job.path("part/checkpoint-4")));
    let (code, document) = json(&job, &["whole", "from"]);
    assert_eq!((code, &document["steps"]["compared"]), (0, &json!(2)), "{document}");
    job.change("train.learning_rate", 1e-3);
    job.finish("slower", Begin::From(job.path("part/checkpoint-4")));
    let (code, document) = json(&job, &["whole", "slower"]);
    let first = &document["steps"]["first_difference"];
    assert_eq!((code, &first["step"], &first["part"]), (1, &json!(5), &json!("weights")), "{document}");
}

#[test]
fn weights_of_other_shapes_differ_in_their_shapes() {
    let mut job = job();
    job.finish("one", Begin::New);
    job.change("adapter.r", 2);
    job.finish("other", Begin::New);
    let (code, document) = json(&job, &["one", "other"]);
    let first = &document["weights"]["first_difference"];
    assert_eq!(
        (code, &first["a"], &first["b"]),
        (1, &json!("F32 [4, 48]"), &json!("F32 [2, 48]")),
        "{document}"
    );
    job.change("adapter", json!({"kind": "none"}));
    job.finish("full", Begin::New);
    let (code, document) = json(&job, &["one", "full"]);
    assert_eq!((code, &document["weights"]["first_difference"]["b"]), (1, &json!("nothing")), "{document}");
}

#[test]
fn directories_without_a_run_or_anything_in_common_and_damaged_ones_are_refused() {
    let job = job();
    job.finish("one", Begin::New);
    job.stop_at(("other", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 1));
    fs::remove_file(job.path("other/digests.jsonl")).expect("removed");
    let refused = |outs: &[&str]| {
        let (code, document) = json(&job, outs);
        assert_eq!(code, 2, "{document}");
        let message = document["problem"]["message"].as_str().expect("a message");
        message.replace(job.dir.path().to_str().expect("UTF-8"), "DIR")
    };
    assert_eq!(
        refused(&["one", "other"]),
        "the runs have neither steps nor weights in common: `DIR/one` stands after step 6, `DIR/other` after step 1"
    );
    assert_eq!(refused(&["one", "model"]), "holds no run: there is no `spec.resolved.json`");
    assert_eq!(refused(&["nothing", "one"]), "holds no run: there is no `spec.resolved.json`");
    assert_eq!(refused(&["nothing"]), "holds no checkpoint and no result");
    fs::create_dir(job.path("other/digests.jsonl")).expect("a directory in a file's place");
    let message = refused(&["one", "other"]);
    assert!(message.starts_with("can't read it: "), "a file that can't be read is no difference: {message}");
    fs::write(job.path("one/final/adapter_model.safetensors"), "x").expect("damaged");
    let message = refused(&["one", "one"]);
    assert!(message.starts_with("`adapter_model.safetensors` has 1 bytes, but "), "{message}");
}

#[test]
fn directories_of_one_run_are_compared_with_their_manifests() {
    let job = job();
    job.finish("out", Begin::New);
    let (code, document) = json(&job, &["out"]);
    assert_eq!((code, &document["whole"]), (0, &json!(true)), "{document}");
    let names: Vec<_> =
        document["checked"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["checkpoint-2", "checkpoint-4", "checkpoint-6", "final"]);
    let path = job.path("out/checkpoint-4/optimizer.safetensors");
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("damaged");
    let ran = verify(&job, &["out"], &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let damaged = "checkpoint-4: `optimizer.safetensors` was changed after it was written (SHA-256 differs)";
    let damaged: Vec<&str> = ran.stdout.lines().filter(|line| *line == damaged).collect();
    assert_eq!(damaged.len(), 1, "{ran:?}");
    assert_eq!(json(&job, &["out/checkpoint-4"]).0, 1);
    assert_eq!(json(&job, &["out/checkpoint-2"]).0, 0);
}
