//! Runs with other optimizers, and with updates that are taken while the backward pass is under way.

use ftl_core::Event;
use ftl_trainer::train::Begin;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use crate::job::{Job, files};

fn full() -> Job {
    Job::small(14)
        .set("adapter", json!({"kind": "none"}))
        .set("train.num_train_epochs", 2)
        .set("train.weight_decay", 0.01)
        .set("train.save_steps", 3)
}

fn adamw_8bit() -> Job {
    full().set("train.optim", "adamw_8bit")
}

#[test]
fn moments_in_8_bits_lead_to_other_weights() {
    let job = adamw_8bit();
    job.finish("whole", Begin::New);
    let dense = full();
    dense.finish("out", Begin::New);
    assert_ne!(dense.weights("out"), job.weights("whole"));
}

#[test]
fn checkpoints_hold_the_codes_of_large_weights_and_f32_of_small_ones() {
    let job = adamw_8bit();
    job.finish("out", Begin::New);
    let checkpoint = files(&job.path("out/checkpoint-12"));
    let file = SafeTensors::deserialize(&checkpoint["optimizer.safetensors"]).expect("safetensors");
    // Slot 0 is the embedding of 512 x 32, slot 1 a norm of 32.
    let tensor = |name: &str| file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    for moment in ["exp_avg", "exp_avg_sq"] {
        let codes = tensor(&format!("000000.{moment}"));
        assert_eq!((codes.dtype(), codes.shape()), (Dtype::U8, &[512 * 32][..]));
        let scales = tensor(&format!("000000.{moment}.absmax"));
        assert_eq!((scales.dtype(), scales.shape()), (Dtype::F32, &[512 * 32 / 256][..]));
        let small = tensor(&format!("000001.{moment}"));
        assert_eq!((small.dtype(), small.shape()), (Dtype::F32, &[1, 32][..]));
    }
}

#[test]
fn a_checkpoint_of_another_optimizer_is_refused() {
    let job = adamw_8bit();
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(step) if step.step == 2));
    let refusal = job.set("train.optim", "adamw").refused(("out", Begin::Resume));
    let expected = "was written with train.optim = \"adamw_8bit\", the job asks for \"adamw\"";
    assert!(refusal.contains(expected), "{refusal}");
}

#[test]
fn updates_during_the_backward_pass_are_those_after_it() {
    for job in [
        full(),
        adamw_8bit(),
        full().set("train.gradient_checkpointing", "block"),
        full().set("adapter", json!({"kind": "lora", "r": 4, "lora_dropout": 0.1})),
    ] {
        // Clipping is off, so each weight is updated as soon as its gradient is there; a bound that no gradient
        // reaches computes the same with all gradients at hand.
        let early = job.set("train.max_grad_norm", 0);
        early.finish("early", Begin::New);
        let late = early.set("train.max_grad_norm", 1e30);
        late.finish("late", Begin::New);
        assert_eq!(late.weights("early"), late.weights("late"));
        let numbers = |out: &str| -> Vec<(u64, f64, f64)> {
            late.steps(out).iter().map(|step| (step.step, step.loss_nats, step.grad_norm)).collect()
        };
        assert_eq!(numbers("early"), numbers("late"));
        let clipped = late.set("train.max_grad_norm", 0.1);
        clipped.finish("clipped", Begin::New);
        assert_ne!(clipped.weights("early"), clipped.weights("clipped"));
    }
}
