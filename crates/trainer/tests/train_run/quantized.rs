//! Runs on a base in 4 bits: how they go on, what they leave, and what can't be trained.

use std::fs;

use ftl_core::Event;
use ftl_trainer::train::Begin;
use serde_json::json;

use crate::job::{Job, directory};

fn small() -> Job {
    Job::small(12).set("quantization", json!({"kind": "nf4"})).set("train.num_train_epochs", 2)
}

#[test]
fn scales_in_8_bits_lead_to_another_adapter() {
    let [double, single] = [true, false].map(|double_quant| {
        let job = small().set("quantization.double_quant", double_quant);
        job.finish("out", Begin::New);
        job.weights("out")
    });
    assert_ne!(double, single);
}

#[test]
fn a_run_in_4_bits_leaves_an_adapter_and_says_how_the_base_was_held() {
    let job = small();
    job.finish("out", Begin::New);
    let names = job.names("out/final");
    assert!(names.contains(&"adapter_model.safetensors".to_owned()), "{names:?}");
    assert!(!names.contains(&"model.safetensors".to_owned()), "{names:?}");
    let spec = fs::read_to_string(job.path("out/spec.resolved.json")).expect("a resolved spec");
    let spec: serde_json::Value = serde_json::from_str(&spec).expect("JSON");
    assert_eq!(spec["quantization"], json!({"kind": "nf4", "double_quant": true}));
}

#[test]
fn a_checkpoint_of_another_quantization_is_refused() {
    let job = small();
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(step) if step.step == 2));
    let job = job.set("quantization", json!({"kind": "nf4", "double_quant": false}));
    let refusal = job.refused(("out", Begin::Resume));
    assert!(
        refusal.contains("was written with quantization.double_quant = true, the job asks for false"),
        "{refusal}"
    );
}

#[test]
fn weights_in_4_bits_can_not_be_trained() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    let Ok(entries) = fs::read_dir(fixtures.join("nf4")) else { return };
    let model = entries.map(|entry| entry.expect("an entry").path()).find(|path| path.is_dir());
    let model = model.expect("a checkpoint in 4 bits");
    let job = Job::small(2).set("model", json!({"path": model})).set("adapter", json!({"kind": "none"}));
    let refusal = job.refused(("out", Begin::New));
    assert!(
        refusal.contains(
            "the model's weights are stored in 4 bits and can't be trained, but `adapter.kind` = `none`"
        ),
        "{refusal}"
    );
}
