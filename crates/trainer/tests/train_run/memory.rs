//! Memory over a run. It looks at the whole process, so it runs alone:
//! `cargo test … --test train_run -- --ignored memory_stays_flat --nocapture`.

use std::fs;

use ftl_core::{Event, StopSignal};
use ftl_trainer::memory::peak_rss_bytes;
use ftl_trainer::train::{Begin, Outcome};
use serde_json::{Value, json};

use crate::job::{Job, token_rows};

/// What the allocator has not given back yet, with blocks of other sizes in each step; it was seen to end at some 12
/// MiB, after 300 steps. One tensor of activations kept in each step would be 90.
const SLACK_MIB: f64 = 16.0;

#[test]
#[ignore = "other tests of the same process would be measured too"]
fn memory_stays_flat_over_200_steps() {
    for (name, job) in [
        ("packed", job().set("data.packing", true)),
        ("grouped", job().set("train.group_by_length", true)),
        ("noisy", job().set("train.neftune_noise_alpha", 5)),
        ("full", job().set("adapter", json!({"kind": "none"})).set("train.learning_rate", 1e-4)),
    ] {
        forget_peak();
        let mut peaks = [0.0; 2];
        let mut observer = |event: &Event| {
            if let Event::Stepped(stepped) = event {
                match stepped.step {
                    20 => peaks[0] = peak_mib(),
                    200 => peaks[1] = peak_mib(),
                    _ => {}
                }
            }
        };
        let outcome = job.train(("out", Begin::New), &mut observer, &StopSignal::new());
        assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
        let [early, late] = peaks;
        println!("{name}: {early:.1} MiB at most in 20 steps, {late:.1} MiB in 200");
        assert!(late < early + SLACK_MIB, "{name}: {early:.1} MiB at most in 20 steps, {late:.1} MiB in 200");
    }
}

/// With evaluations, answers and checkpoints on the way.
fn job() -> Job {
    let job = Job::small(300)
        .set("data.eval", json!({"path": "eval.jsonl"}))
        .set("data.max_length", 128)
        .set("train.per_device_train_batch_size", 4)
        .set("train.max_steps", 200)
        .set("train.eval_steps", 10)
        .set("train.save_steps", 50)
        .set("train.load_best_model_at_end", true)
        .set("predictions", json!({"count": 2, "max_new_tokens": 20}));
    job.write("eval.jsonl", &token_rows(200, 2));
    // Large enough that weights and activations count for more than what any program holds.
    let config = fs::read_to_string(job.path("model/config.json")).expect("a config");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    for (key, value) in
        [("hidden_size", 256), ("intermediate_size", 512), ("num_hidden_layers", 4), ("head_dim", 64)]
    {
        config[key] = json!(value);
    }
    job.write("model/config.json", &config.to_string());
    job
}

/// Forgets the largest resident memory so far.
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("Linux lets a process forget its peak");
}

fn peak_mib() -> f64 {
    peak_rss_bytes().expect("Linux tells") as f64 / f64::from(1 << 20)
}
