//! What goes into a batch: packed rows, samples grouped by length, files by weight, noise.

use ftl_core::Event;
use ftl_core::StopSignal;
use ftl_trainer::train::{Begin, Outcome};
use serde_json::{Value, json};

use crate::job::{Job, token_rows};

/// Two files of 17 and 9 samples.
fn job() -> Job {
    let job = Job::small(17)
        .set("data.train", json!(["train.jsonl", "more.jsonl"]))
        .set("data.max_length", 32)
        .set("adapter.lora_dropout", 0.1)
        .set("train.gradient_accumulation_steps", 2)
        .set("train.num_train_epochs", 3)
        .set("train.save_steps", 2);
    job.write("more.jsonl", &token_rows(9, 2));
    job
}

fn weighted(job: Job, weight: f64) -> Job {
    job.set("data.train", json!(["train.jsonl", {"path": "more.jsonl", "weight": weight}]))
}

#[test]
fn packed_step_is_the_step_of_its_samples() {
    // All samples in one step, as rows of one sample and as packed ones: the same objective and gradient.
    let step = |packing: bool| {
        let job = Job::small(17)
            .set("data.packing", packing)
            .set("data.max_length", 32)
            .set("train.per_device_train_batch_size", 17)
            .set("train.max_steps", 1);
        job.finish("out", Begin::New);
        job.steps("out").remove(0)
    };
    let [apart, packed] = [false, true].map(step);
    println!(
        "loss {} and {}, gradient {} and {}",
        apart.loss_nats, packed.loss_nats, apart.grad_norm, packed.grad_norm
    );
    assert!((apart.loss_nats - packed.loss_nats).abs() < 1e-6 * apart.loss_nats);
    assert!((apart.grad_norm - packed.grad_norm).abs() < 1e-5 * apart.grad_norm);
    let counts =
        |step: &ftl_core::metrics::Stepped| (step.tokens, step.supervised_tokens, step.samples, step.epoch);
    assert_eq!(counts(&apart), counts(&packed));
    assert_eq!((packed.samples, packed.epoch), (17, 1.0));
}

#[test]
fn packed_rows_are_counted_and_their_filling_is_told() {
    let job = job().set("data.packing", true);
    let mut notes = Vec::new();
    let mut observer = |event: &Event| {
        if let Event::Note { message, .. } = event {
            notes.push(message.clone());
        }
    };
    let outcome = job.train(("out", Begin::New), &mut observer, &StopSignal::new());
    assert!(matches!(outcome, Ok(Outcome::Finished(_))));
    let note = notes.into_iter().find(|note| note.starts_with("packing: ")).expect("a note on packing");
    println!("{note}");
    let numbers: Vec<f64> =
        note.split(|c: char| !c.is_ascii_digit() && c != '.').filter_map(|word| word.parse().ok()).collect();
    let [n_samples, n_rows, limit, filled] = numbers[..] else { panic!("{note}") };
    assert_eq!((n_samples, limit), (26.0, 32.0));
    let steps = job.steps("out");
    // Two rows to a microbatch, two microbatches to a step, three epochs.
    let per_epoch = (n_rows / 4.0).ceil();
    assert_eq!(steps.len() as f64, per_epoch * 3.0);
    let epoch = &steps[..per_epoch as usize];
    assert_eq!(epoch.iter().map(|step| step.samples).sum::<u64>(), 26);
    let n_tokens = epoch.iter().map(|step| step.tokens).sum::<u64>();
    assert!((n_tokens as f64 / (n_rows * limit) * 100.0 - filled).abs() < 0.06, "{note}");
    assert!(epoch.iter().all(|step| step.tokens <= 4 * 32));
    assert_eq!(steps.last().map(|step| step.epoch), Some(3.0));
}

#[test]
fn files_are_drawn_by_their_weights() {
    // The second file has ids of its own, so that what a step trained on shows in its tokens.
    let supervised = |weight: f64| {
        let job = weighted(job(), weight);
        let labelled = |id: u64| {
            let row: Value = json!({"input_ids": vec![id; 10]});
            format!("{row}\n")
        };
        job.write("train.jsonl", &labelled(5).repeat(20));
        // Half of the tokens are learned.
        let row = json!({"input_ids": vec![6; 10], "labels": [-100, -100, -100, -100, -100, 6, 6, 6, 6, 6]});
        job.write("more.jsonl", &format!("{row}\n").repeat(10));
        job.finish("out", Begin::New);
        let steps = job.steps("out");
        assert_eq!(steps.iter().map(|step| step.samples).sum::<u64>(), 90);
        steps.iter().map(|step| step.supervised_tokens).sum::<u64>()
    };
    let of = |n_first: u64| 3 * (n_first * 9 + (30 - n_first) * 5);
    assert_eq!(supervised(1.0), of(15));
    assert_eq!(supervised(4.0), of(6));
    assert_eq!(supervised(0.5), of(20));
}

#[test]
fn batches_made_otherwise_train_otherwise() {
    let mut seen = Vec::new();
    for job in [
        job(),
        job().set("data.packing", true),
        job().set("data.packing", true).set("data.shuffle", false),
        job().set("train.group_by_length", true),
        weighted(job(), 3.0),
        job().set("train.neftune_noise_alpha", 5),
        job().set("train.neftune_noise_alpha", 6),
    ] {
        job.finish("out", Begin::New);
        let weights = job.weights("out");
        assert!(!seen.contains(&weights));
        seen.push(weights);
    }
}

#[test]
fn other_weights_or_rows_are_another_job() {
    let mut job = weighted(job(), 2.0);
    job.stop_at(("out", Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == 2));
    job.change("data.packing", true);
    let refusal = job.refused(("out", Begin::Resume));
    assert!(refusal.contains("data.packing = false, the job asks for true"), "{refusal}");
    let refusal = weighted(job.set("data.packing", false), 3.0).refused(("out", Begin::Resume));
    assert!(refusal.contains("was written with data.train"), "{refusal}");
}

#[test]
fn noise_is_for_training_only() {
    let job = |alpha: f64| {
        // The learning rate keeps the weights as they are.
        job()
            .set("data.eval", json!({"path": "eval.jsonl"}))
            .set("train.neftune_noise_alpha", alpha)
            .set("train.learning_rate", 1e-30)
            .set("train.max_steps", 2)
    };
    let [silent, noisy] = [0.0, 5.0].map(|alpha| {
        let job = job(alpha);
        job.write("eval.jsonl", &token_rows(5, 3));
        job.finish("out", Begin::New);
        job
    });
    assert_eq!(silent.evaluations("out"), noisy.evaluations("out"));
    let [silent, noisy] =
        [silent, noisy].map(|job| job.steps("out").iter().map(|step| step.loss_nats).collect::<Vec<_>>());
    assert_ne!(silent, noisy);
}
