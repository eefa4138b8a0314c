//! Runs equal transformers' and PEFT's, step by step.
//!
//! The reference is `training/<case>` of the directory in `FTL_FIXTURES`, made with torch 2.15.0, transformers 5.23.0
//! and peft 0.21.2. Each case brings its tolerance: about 20 times what rounding alone moved the reference run.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use ftl_core::metrics::Stepped;
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::train::Begin;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::job::{Job, directory};

/// The cases of a kind: trees of reference numbers have others.
fn cases(fixtures: &Path, kind: &str) -> Vec<String> {
    let folder = fs::read_dir(fixtures.join("training")).expect("reference runs");
    let names = folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(kind)).collect();
    names.sort();
    assert!(!names.is_empty(), "there is no reference run {kind}");
    names
}

#[test]
fn lora_runs_of_the_program_equal_the_reference_step_by_step() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for case in cases(&fixtures, "lora_") {
        for checkpointing in ["none", "block"] {
            let reference = Reference::read(&fixtures, &case);
            let job = reference.job().set("train.gradient_checkpointing", checkpointing);
            let ran = job.program("out", &["--json"]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            reference.compare(&job, &format!("{case}, gradient_checkpointing {checkpointing}"));
        }
    }
}

#[test]
fn runs_of_other_kinds_of_adapters_equal_the_reference_step_by_step() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    let entries = fs::read_dir(fixtures.join("training")).expect("reference runs");
    let mut cases: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    cases.sort();
    for case in cases {
        let reference = Reference::read(&fixtures, &case);
        let lora = &reference.trajectory["lora"];
        if reference.trajectory["method"] != "lora"
            || lora.get("use_dora").or(lora.get("use_rslora")).is_none()
        {
            continue;
        }
        let model = reference.trajectory["base_model"].as_str().expect("a model");
        if DecoderConfig::read(&fixtures.join(model)).is_err() {
            println!("skipped: the model of {case} is not supported");
            continue;
        }
        for checkpointing in ["none", "block"] {
            let job = reference.job().set("train.gradient_checkpointing", checkpointing);
            job.finish("out", Begin::New);
            reference.compare(&job, &format!("{case}, gradient_checkpointing {checkpointing}"));
        }
    }
}

#[test]
fn full_runs_of_the_program_equal_the_reference_step_by_step() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for case in cases(&fixtures, "full_") {
        for checkpointing in ["none", "block"] {
            let reference = Reference::read(&fixtures, &case);
            let job = reference.job().set("train.gradient_checkpointing", checkpointing);
            let ran = job.program("out", &[]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            reference.compare(&job, &format!("{case}, gradient_checkpointing {checkpointing}"));
        }
    }
}

#[test]
fn runs_on_a_base_in_4_bits_equal_the_reference_step_by_step() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for case in cases(&fixtures, "qlora_") {
        let reference = Reference::read(&fixtures, &case);
        for checkpointing in ["none", "block"] {
            let job = reference.job().set("train.gradient_checkpointing", checkpointing);
            let ran = job.program("out", &["--json"]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            reference.compare(&job, &format!("{case}, gradient_checkpointing {checkpointing}"));
        }
    }
}

#[test]
fn a_run_on_the_dense_base_differs_from_the_one_in_4_bits() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    let reference = Reference::read(&fixtures, &cases(&fixtures, "qlora_llama")[0]);
    let job = reference.job().set("quantization", json!({"kind": "none"}));
    job.finish("out", Begin::New);
    let (_, rms) = reference.difference(&job).expect("an adapter to compare with");
    assert!(rms > reference.tolerance("final_param_rms"), "{rms} does not tell the runs apart");
}

#[test]
fn runs_of_the_library_equal_the_reference_step_by_step() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for case in [cases(&fixtures, "lora_llama"), cases(&fixtures, "full_llama")].concat() {
        let reference = Reference::read(&fixtures, &case);
        let job = reference.job();
        let summary = job.finish("out", Begin::New);
        assert_eq!(summary.steps, reference.steps().len() as u64);
        reference.compare(&job, &format!("{case} through the library"));
    }
}

#[test]
fn a_run_with_another_decay_differs_from_the_reference() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    let reference = Reference::read(&fixtures, &cases(&fixtures, "lora_llama")[0]);
    let decay = reference.trajectory["hyperparameters"]["weight_decay"].as_f64().expect("a decay") + 0.1;
    let job = reference.job().set("train.weight_decay", decay);
    job.finish("out", Begin::New);
    let (max, rms) = reference.difference(&job).expect("an adapter to compare with");
    println!("decay of 0.1 more: parameters max {max:.1e}, rms {rms:.1e}");
    assert!(rms > reference.tolerance("final_param_rms"), "{rms} does not tell the runs apart");
}

/// A run of the reference program.
pub(crate) struct Reference {
    fixtures: std::path::PathBuf,
    case: String,
    pub(crate) trajectory: Value,
}

impl Reference {
    pub(crate) fn read(fixtures: &Path, case: &str) -> Self {
        let path = fixtures.join("training").join(case).join("trajectory.json");
        let text = fs::read_to_string(path).expect("a reference run");
        let trajectory = serde_json::from_str(&text).expect("a trajectory is JSON");
        Self { fixtures: fixtures.to_owned(), case: case.to_owned(), trajectory }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.fixtures.join("training").join(&self.case)
    }

    pub(crate) fn steps(&self) -> &[Value] {
        self.trajectory["steps"].as_array().expect("steps")
    }

    pub(crate) fn tolerance(&self, key: &str) -> f64 {
        self.trajectory["suggested_tolerance"][key].as_f64().expect("a tolerance")
    }

    /// The job that does the same.
    pub(crate) fn job(&self) -> Job {
        let hyper = &self.trajectory["hyperparameters"];
        let model = self.trajectory["base_model"].as_str().expect("a model");
        let adapter = match self.trajectory["lora"] {
            Value::Null => json!({"kind": "none"}),
            _ => json!({"kind": "lora", "init_from": self.dir().join("init_adapter")}),
        };
        let quantization = match self.trajectory["double_quant"].as_bool() {
            Some(double_quant) => json!({"kind": "nf4", "double_quant": double_quant}),
            None => json!({"kind": "none"}),
        };
        let job = Job::of(json!({
            "quantization": quantization,
            "model": {"path": self.fixtures.join(model)},
            "data": {"train": ["batches.jsonl"], "format": "tokens", "shuffle": false},
            "method": self.method(),
            "adapter": adapter,
            "train": {
                "max_steps": hyper["steps"],
                "per_device_train_batch_size": 2,
                "gradient_accumulation_steps": hyper["grad_accum"],
                "learning_rate": hyper["lr"],
                "lr_scheduler_type": hyper["schedule"],
                "warmup_steps": hyper["warmup_steps"],
                "weight_decay": hyper["weight_decay"],
                "adam_beta1": hyper["betas"][0],
                "adam_beta2": hyper["betas"][1],
                "adam_epsilon": hyper["eps"],
                "max_grad_norm": hyper["max_grad_norm"],
                "save_steps": 0,
            },
            "device": {"kind": "cpu"},
        }));
        let sides: &[&str] = match self.trajectory["method"].as_str() {
            Some("dpo" | "orpo") => &["chosen_", "rejected_"],
            _ => &[""],
        };
        job.write("batches.jsonl", &rows(&self.dir().join("batches.safetensors"), sides));
        job
    }

    fn method(&self) -> Value {
        let mut method = json!({"kind": "sft"});
        if let kind @ ("dpo" | "orpo") = self.trajectory["method"].as_str().expect("a method") {
            method["kind"] = json!(kind);
            for key in ["beta", "loss_type", "label_smoothing"] {
                if let Some(value) = self.trajectory["hyperparameters"].get(key) {
                    method[key] = value.clone();
                }
            }
        }
        method
    }

    pub(crate) fn compare(&self, job: &Job, what: &str) {
        let ours = job.steps("out");
        assert_eq!(ours.len(), self.steps().len(), "{what}");
        let mut worst = [0.0f64; 3];
        for (ours, theirs) in ours.iter().zip(self.steps()) {
            let Stepped { step, loss_nats, grad_norm, learning_rate, supervised_tokens, .. } = *ours;
            let number = |key: &str| theirs[key].as_f64().expect("a number");
            assert_eq!(Some(step), theirs["step"].as_u64(), "{what}");
            // References of pairs do not count them.
            let counted = theirs.get("label_tokens").map_or(Some(supervised_tokens), Value::as_u64);
            assert_eq!(Some(supervised_tokens), counted, "{what}, step {step}");
            let differences = [
                (loss_nats - number("loss")).abs(),
                (grad_norm / number("grad_norm") - 1.0).abs(),
                (learning_rate - number("lr")).abs(),
            ];
            for (worst, difference) in worst.iter_mut().zip(differences) {
                *worst = worst.max(difference);
            }
        }
        let [loss, grad_norm, learning_rate] = worst;
        println!("{what}: loss {loss:.1e}, grad norm {grad_norm:.1e}, learning rate {learning_rate:.1e}");
        assert!(loss <= self.tolerance("loss_abs"), "{what}: loss {loss}");
        // Closer than suggested: 1 - beta2 taken in float32 shows here and nowhere else.
        let rounding = self.trajectory["rounding_only"]["max_loss_diff"].as_f64().expect("a difference");
        assert!(loss <= 5.0 * rounding, "{what}: loss {loss}, rounding alone moves it by {rounding}");
        assert!(grad_norm <= self.tolerance("grad_norm_rel"), "{what}: gradient norm {grad_norm}");
        assert!(learning_rate <= 1e-18, "{what}: learning rate {learning_rate}");
        match self.difference(job) {
            Some((max, rms)) => {
                println!("{what}: parameters max {max:.1e}, rms {rms:.1e}");
                assert!(max <= self.tolerance("final_param_max_abs"), "{what}: parameters {max}");
                assert!(rms <= self.tolerance("final_param_rms"), "{what}: parameters {rms}");
            }
            None => self.compare_digest(job, what),
        }
    }

    /// The largest and the root of the mean square difference of the final parameters, where the reference has them.
    pub(crate) fn difference(&self, job: &Job) -> Option<(f64, f64)> {
        let adapter = self.dir().join("final_adapter/adapter_model.safetensors");
        let model = self.dir().join("final_model.safetensors");
        let path = [adapter, model].into_iter().find(|path| path.is_file())?;
        let theirs = fs::read(path).expect("the reference's weights");
        Some(difference(&job.weights("out"), &theirs))
    }

    /// Compares L2 norm, sum and first values of each tensor; makes up for a reference that is too large to keep.
    fn compare_digest(&self, job: &Job, what: &str) {
        let digest = self.trajectory["final_weights_digest"].as_object().expect("a digest");
        let bytes = job.weights("out");
        let ours = SafeTensors::deserialize(&bytes).expect("safetensors");
        let (mut first, mut l2, mut sum) = (0.0f64, 0.0f64, 0.0f64);
        let (max, rms) = (self.tolerance("final_param_max_abs"), self.tolerance("final_param_rms"));
        assert_eq!(ours.len(), digest.len(), "{what}");
        for (name, theirs) in digest {
            let ours = values(&ours, name);
            let number = |key: &str| theirs[key].as_f64().expect("a number");
            for (ours, theirs) in ours.iter().zip(theirs["first"].as_array().expect("values")) {
                first = first.max((ours - theirs.as_f64().expect("a value")).abs());
            }
            let root = (ours.len() as f64).sqrt();
            let norm = ours.iter().map(|value| value * value).sum::<f64>().sqrt();
            // A difference of `rms` in each value moves the norm by at most this, and the sum by `root` times it.
            l2 = l2.max((norm - number("l2")).abs() / root);
            sum = sum.max((ours.iter().sum::<f64>() - number("sum")).abs() / root / root);
        }
        println!("{what}: first values {first:.1e}, norms {l2:.1e}, sums {sum:.1e} per value");
        assert!(first <= max, "{what}: first values {first}");
        assert!(l2 <= rms, "{what}: norms {l2}");
        assert!(sum <= rms, "{what}: sums {sum}");
    }
}

/// The largest difference between the tensors of two files, and the root of its mean square.
pub fn difference(ours: &[u8], theirs: &[u8]) -> (f64, f64) {
    let (ours, theirs) = (safetensors(ours), safetensors(theirs));
    let (mut our_names, mut their_names) = (ours.names(), theirs.names());
    our_names.sort_unstable();
    their_names.sort_unstable();
    assert_eq!(our_names, their_names);
    let (mut max, mut squares, mut n) = (0.0f64, 0.0, 0);
    for name in theirs.names() {
        let (ours, theirs) = (values(&ours, name), values(&theirs, name));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            max = max.max((ours - theirs).abs());
            squares += (ours - theirs).powi(2);
        }
        n += theirs.len();
    }
    (max, (squares / f64::from(n as u32)).sqrt())
}

fn safetensors(bytes: &[u8]) -> SafeTensors<'_> {
    SafeTensors::deserialize(bytes).expect("safetensors")
}

fn values(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
    let (chunks, _) = tensor.data().as_chunks();
    chunks.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
}

/// Batches `[microbatch, row, token]` as rows of the format `tokens`, padding included; of pairs, both `sides`.
fn rows(path: &Path, sides: &[&str]) -> String {
    let bytes = fs::read(path).expect("batches");
    let file = safetensors(&bytes);
    let integers = |name: &str| -> (usize, Vec<i64>) {
        let tensor = file.tensor(name).expect("a tensor of the batches");
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        let (chunks, _) = tensor.data().as_chunks();
        (tensor.shape()[2], chunks.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
    };
    let mut rows: Vec<Value> = Vec::new();
    for side in sides {
        for key in ["input_ids", "labels", "attention_mask"].map(|key| format!("{side}{key}")) {
            let (n_tokens, values) = integers(&key);
            rows.resize(values.len() / n_tokens, json!({}));
            rows.iter_mut().zip(values.chunks(n_tokens)).for_each(|(row, values)| row[&key] = json!(values));
        }
    }
    rows.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{row}");
        text
    })
}
