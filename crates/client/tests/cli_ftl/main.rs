//! The program `ftl` from outside: what it prints, how it ends, and what it asks of the service, which is a fake.

mod chat;
mod checkpoints;
mod config;
mod data;
mod fake;
mod follow;
mod jobs;
mod kept;
mod models;
mod pty;
mod queue;
mod start;
mod status;
mod terminal;
mod train;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ftl_core::job::{Job, Progress, State};
use ftl_core::metrics::{Evaluated, Stepped};
use ftl_core::{Event, JobId, JobSpec};
use serde_json::Value;

use fake::Fake;

/// A moment in 2023.
const BEGIN: u64 = 1_700_000_000_000;
/// Nothing here takes so long; a test that waits in vain fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program with an environment of its own: no service, no data, no colours of whoever runs the tests.
fn bare(home: &Path) -> Command {
    bare_program(Path::new(env!("CARGO_BIN_EXE_ftl")), home)
}

fn bare_program(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").env("RUST_BACKTRACE", "1");
    command.stdin(Stdio::null());
    command
}

/// The program, talking to a fake.
fn ftl(fake: &Fake, args: &[&str]) -> Command {
    let mut command = bare(fake.dir.path());
    command.env("FTL_SERVER", format!("unix:{}", fake.socket().display())).args(args);
    command
}

/// What a run of the program left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let Output { status, stdout, stderr } = output;
        let text = |bytes| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Ran {
    /// The one JSON document on stdout.
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The program ended with this code.
    fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

fn run(fake: &Fake, args: &[&str]) -> Ran {
    ftl(fake, args).output().expect("the program runs").into()
}

fn id(bits: u64) -> JobId {
    JobId::from_bits(bits)
}

/// A job in a state.
fn job(bits: u64, name: &str, state: State) -> Job {
    let id = id(bits);
    Job {
        directory: PathBuf::from(format!("/data/jobs/{id}")),
        id,
        name: name.to_owned(),
        spec: JobSpec::default(),
        state,
        reason: None,
        problems: Vec::new(),
        waiting: None,
        queue_place: None,
        parent: None,
        phase: None,
        progress: Progress::default(),
        n_attempts: 1,
        seq: 0,
        created_unix_ms: BEGIN,
        started_unix_ms: None,
        ended_unix_ms: None,
    }
}

fn state(state: State) -> Event {
    Event::State { state, reason: None }
}

fn stepped(step: u64, loss_nats: f64) -> Event {
    Event::Stepped(Stepped {
        step,
        epoch: 0.5,
        loss_nats,
        grad_norm: 0.25,
        learning_rate: 2e-4,
        tokens: 100,
        supervised_tokens: 50,
        samples: 4,
        tokens_per_sec: 100.0,
        samples_per_sec: 4.0,
        step_millis: 1_000.0,
        data_millis: 1.0,
        rewards: None,
    })
}

fn evaluated(step: u64, loss_nats: f64) -> Event {
    Event::Evaluated(Evaluated {
        step,
        loss_nats,
        perplexity: 2.5,
        token_accuracy: 0.5,
        tokens: 64,
        rewards: None,
    })
}

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder with a spec that can be trained on, and its path.
fn spec_file(dir: &Path) -> PathBuf {
    let path = dir.join("job.toml");
    let text = "model.path = \"tiny\"\ndata.train = \"train.jsonl\"\nmethod.kind = \"sft\"\nadapter.kind = \"lora\"\n";
    std::fs::write(&path, text).expect("a spec");
    path
}
