//! A run over tokens that an earlier run made is the same run.

use serde_json::json;

use crate::job::{Job, token_rows};

const FROM_CACHE: &str = "tokenized data from cache";

#[test]
fn a_run_from_the_cache_and_its_resumption_are_the_run_without_one_byte_for_byte() {
    let job = Job::small(1)
        .set("data.eval", json!({"fraction": 0.1}))
        .set("train.max_steps", 6)
        .set("train.save_steps", 2)
        .set("train.eval_steps", 3);
    // Enough to be kept.
    job.write("train.jsonl", &token_rows(1500, 1));
    let run = |out: &str, cache: &str, arguments: &[&str]| {
        let mut command = job.command(out, arguments);
        command.env("FTL_DATA_CACHE", if cache == "off" { cache.into() } else { job.path(cache) });
        let output = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let events = std::fs::read_to_string(job.path(out).join("events.jsonl")).expect("events");
        said.contains(FROM_CACHE) || events.contains(FROM_CACHE)
    };
    let losses = |out: &str| {
        let steps = job.steps(out).into_iter();
        steps.map(|step| (step.loss_nats.to_bits(), step.grad_norm.to_bits())).collect::<Vec<_>>()
    };
    assert!(!run("off", "off", &[]));
    assert!(!run("first", "cache", &[]));
    assert!(run("second", "cache", &[]));
    let names = job.names("cache");
    assert!(names.len() == 1 && names[0].ends_with(".samples"), "{names:?}");
    for out in ["first", "second"] {
        assert_eq!(job.weights(out), job.weights("off"), "{out}");
        assert_eq!(losses(out), losses("off"), "{out}");
    }

    // From a checkpoint that a run without a cache wrote.
    for name in ["final", "checkpoint-6"] {
        std::fs::remove_dir_all(job.path("off").join(name)).expect("removed");
    }
    let result = job.weights("second");
    assert!(run("off", "cache", &["--resume"]));
    assert_eq!(job.weights("off"), result);
}
