//! A job in a directory of its own, and ways to run it.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ftl_core::metrics::{Evaluated, Stepped};
use ftl_core::{CheckedSpec, Event, EventRecord, JobSpec, Observer, StopReason, StopSignal};
use ftl_trainer::error::TrainError;
use ftl_trainer::train::{Begin, Outcome, Summary, train};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Ids of the small model and of the tokenizer that lies beside these tests.
pub const VOCAB: u64 = 512;

/// The directory that `variable` names. Without it there is nothing to compare with, and the test says so.
pub fn directory(variable: &str) -> Option<PathBuf> {
    let directory = env::var_os(variable).map(PathBuf::from);
    if directory.is_none() {
        println!("skipped: {variable} does not name the directory of reference numbers");
    }
    directory
}

/// A spec and its files.
pub struct Job {
    /// Holds everything.
    pub dir: TempDir,
    spec: Value,
}

impl Job {
    /// A LoRA job on a small random model over `n_samples` random samples.
    pub fn small(n_samples: usize) -> Self {
        let job = Self::of(json!({
            "name": "small",
            "model": {"path": "model", "init": "random"},
            "data": {"train": ["train.jsonl"], "format": "tokens"},
            "method": {"kind": "sft"},
            "adapter": {"kind": "lora", "r": 4, "lora_alpha": 8},
            "train": {"per_device_train_batch_size": 2, "learning_rate": 1e-2, "gradient_checkpointing": "none"},
            "device": {"kind": "cpu"},
        }));
        write_model(&job.path("model"));
        job.write("train.jsonl", &token_rows(n_samples, 1));
        job
    }

    /// The job that `spec` asks for, in an empty directory; on the device that `FTL_TEST_DEVICE` names, where it is set.
    pub fn of(mut spec: Value) -> Self {
        if let Ok(device) = env::var("FTL_TEST_DEVICE") {
            spec["device"]["kind"] = device.into();
        }
        Self { dir: TempDir::new().expect("a temporary directory"), spec }
    }

    /// Sets a key of the spec, named with dots.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.change(key, value);
        self
    }

    /// Sets a key of the spec, named with dots.
    pub fn change(&mut self, key: &str, value: impl Into<Value>) {
        let parts = key.split('.');
        *parts.fold(&mut self.spec, |tree, part| &mut tree[part]) = value.into();
    }

    /// A path in the job's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the job's directory.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file of the test");
    }

    /// Writes the spec and says where it is.
    pub fn spec_file(&self) -> PathBuf {
        self.write("job.json", &self.spec.to_string());
        self.path("job.json")
    }

    /// The spec as the engine takes it.
    pub fn checked(&self) -> Result<CheckedSpec, TrainError> {
        Ok(JobSpec::read_with(self.spec_file(), &[])?.check()?)
    }

    /// Runs it through the library.
    pub fn train(
        &self,
        (out, begin): (&str, Begin),
        observer: &mut dyn Observer,
        stop: &StopSignal,
    ) -> Result<Outcome, TrainError> {
        train(&self.checked()?, (&self.path(out), begin), observer, stop)
    }

    /// Runs it through the library to the end.
    pub fn finish(&self, out: &str, begin: Begin) -> Summary {
        match self.train((out, begin), &mut |_: &Event| {}, &StopSignal::new()) {
            Ok(Outcome::Finished(summary)) => summary,
            other => panic!("the run did not finish: {other:?}"),
        }
    }

    /// Runs it through the library and asks it to stop at the first event that `at` says yes to.
    pub fn stop_at(&self, (out, begin): (&str, Begin), mut at: impl FnMut(&Event) -> bool) -> Outcome {
        let stop = StopSignal::new();
        let mut observer = |event: &Event| {
            if at(event) {
                stop.raise(StopReason::User);
            }
        };
        self.train((out, begin), &mut observer, &stop).expect("a run that can be stopped")
    }

    /// What keeps it from being run.
    pub fn refused(&self, (out, begin): (&str, Begin)) -> String {
        match self.train((out, begin), &mut |_: &Event| {}, &StopSignal::new()) {
            Err(error @ TrainError::Refused(_)) => error.to_string(),
            other => panic!("expected a refusal, not {other:?}"),
        }
    }

    /// The program, about to run the job.
    pub fn command(&self, out: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ftl-train"));
        command.arg("run").arg(self.spec_file()).arg("--out").arg(self.path(out)).args(arguments);
        command
    }

    /// Runs it through the program.
    pub fn program(&self, out: &str, arguments: &[&str]) -> Ran {
        Ran::of(self.command(out, arguments).output().expect("the program starts"))
    }

    /// Every event of a run.
    pub fn events(&self, out: &str) -> Vec<EventRecord> {
        let text = fs::read_to_string(self.path(out).join("events.jsonl")).expect("a run has events");
        text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// The steps of a run.
    pub fn steps(&self, out: &str) -> Vec<Stepped> {
        let step = |record: EventRecord| match record.event {
            Event::Stepped(stepped) => Some(stepped),
            _ => None,
        };
        self.events(out).into_iter().filter_map(step).collect()
    }

    /// The evaluations of a run.
    pub fn evaluations(&self, out: &str) -> Vec<Evaluated> {
        let evaluation = |record: EventRecord| match record.event {
            Event::Evaluated(evaluated) => Some(evaluated),
            _ => None,
        };
        self.events(out).into_iter().filter_map(evaluation).collect()
    }

    /// The result of a run, file by file.
    pub fn result(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        files(&self.path(out).join("final"))
    }

    /// The trained weights of a run.
    pub fn weights(&self, out: &str) -> Vec<u8> {
        let files = self.result(out);
        let weights = files.get("adapter_model.safetensors").or_else(|| files.get("model.safetensors"));
        weights.expect("a result has weights").clone()
    }

    /// The names in a directory, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).expect("a directory");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }
}

/// What the program said.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None`: a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Takes over the program's output.
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The JSON document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Every file below a directory.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            files.insert(name, fs::read(&path).expect("a file"));
        }
    }
    files
}

/// Copies the files of a directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for (name, bytes) in files(from) {
        fs::write(to.join(name), bytes).expect("a copy");
    }
}

/// A small model directory without weights, with the tokenizer that lies beside these tests.
fn write_model(dir: &Path) {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml");
    copy(&tokenizer, dir);
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "hidden_act": "silu", "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": 0, "eos_token_id": 2,
        "initializer_range": 0.05, "torch_dtype": "float32",
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("a config");
    let generation = json!({"bos_token_id": 0, "eos_token_id": 2});
    fs::write(dir.join("generation_config.json"), generation.to_string()).expect("a generation config");
}

/// Random rows of the format `tokens`, of 4 to 19 tokens.
pub fn token_rows(n_rows: usize, seed: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = String::new();
    for _ in 0..n_rows {
        let n_tokens = 4 + random.next_u64() % 16;
        // Ids close to each other, so that there is something to learn.
        let ids: Vec<u64> = (0..n_tokens).map(|_| 4 + random.next_u64() % 60).collect();
        let _ = writeln!(rows, "{}", json!({"input_ids": ids}));
    }
    rows
}
