//! Runs on real data, from the directory in `FTL_DATA`, that learn what they should.

use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_trainer::train::Begin;
use serde_json::{Value, json};

use crate::job::{Job, directory};

/// The model has none of its own.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}\
                        {% if add_generation_prompt %}assistant: {% endif %}";

fn job(data: &std::path::Path, train: Value, method: Value) -> Job {
    let job = Job::of(json!({
        "model": {"path": data.join("models/stories260K")},
        "data": {
            "train": [train], "eval": {"fraction": 0.15}, "chat_template": "template.jinja",
            "excess_length_strategy": "truncate",
        },
        "method": method,
        "adapter": {"kind": "lora"},
        "train": {"lr_scheduler_type": "constant", "save_steps": 0},
        "device": {"kind": "cpu"},
    }));
    job.write("template.jinja", TEMPLATE);
    job
}

#[test]
fn dpo_on_demonstrations_prefers_what_it_is_shown() {
    let Some(data) = directory("FTL_DATA") else { return };
    let train = json!(data.join("datasets/dpo/dpo_en_demo.json"));
    let job = job(&data, train, json!({"kind": "dpo"}))
        .set("data.max_length", 256)
        .set("train.max_steps", 60)
        .set("train.per_device_train_batch_size", 4)
        .set("train.learning_rate", 3e-4)
        .set("train.eval_steps", 30);
    job.finish("out", Begin::New);
    let steps = job.steps("out");
    let mean = |steps: &[Stepped], of: fn(Rewards) -> f64| {
        steps.iter().map(|step| of(step.rewards.expect("rewards"))).sum::<f64>() / steps.len() as f64
    };
    let accuracy = |steps| mean(steps, |rewards| rewards.reward_accuracy);
    let margin = |steps| mean(steps, |rewards| rewards.reward_margin);
    let (first, last) = (&steps[..15], &steps[45..]);
    let (before, after) = ([accuracy(first), margin(first)], [accuracy(last), margin(last)]);
    println!("accuracy and margin {before:?}, then {after:?}");
    let held_out: Vec<Rewards> = job.evaluations("out").iter().map(|e| e.rewards.expect("rewards")).collect();
    println!("held out {held_out:?}");
    assert!(after[0] > before[0] && after[0] > 0.7, "accuracy {} to {}", before[0], after[0]);
    assert!(after[1] > before[1] + 0.1, "margin {} to {}", before[1], after[1]);
    // What it had never seen too.
    assert!(held_out[2].reward_margin > held_out[1].reward_margin && held_out[1].reward_margin > 0.0);
}

#[test]
fn lora_on_grade_school_maths_lowers_the_held_out_loss() {
    let Some(data) = directory("FTL_DATA") else { return };
    let train = json!(data.join("datasets/question_answer/gsm8k_train_first2000.jsonl"));
    let job = job(&data, train, json!({"kind": "sft"}))
        .set("data.max_length", 256)
        .set("train.max_steps", 60)
        .set("train.per_device_train_batch_size", 8)
        .set("train.learning_rate", 5e-3)
        .set("train.eval_steps", 30);
    let summary = job.finish("out", Begin::New);
    let losses: Vec<f64> = job.evaluations("out").iter().map(|e| e.loss_nats).collect();
    println!("held-out loss {losses:?}");
    assert_eq!(losses.len(), 3);
    assert!(losses[1] < losses[0] - 0.5 && losses[2] < losses[1], "{losses:?}");
    let accuracy = |e: Option<Evaluated>| e.expect("an evaluation").token_accuracy;
    assert!(accuracy(summary.eval_after) > accuracy(summary.eval_before));
}
