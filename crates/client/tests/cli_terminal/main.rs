//! What is drawn of a run, and the figures in it.

mod curve;
mod draw;
mod figures;
mod lines;
mod pace;
mod summary;
mod table;

use std::path::Path;

use ftl_core::job::{Job, JobEvent, Phase, Progress, State};
use ftl_core::metrics::{Evaluated, Stepped};
use ftl_core::{Event, EventRecord, JobId, JobSpec};

/// A moment in 2023.
const BEGIN: u64 = 1_700_000_000_000;

/// A job that waits.
fn job() -> Job {
    Job {
        id: JobId::from_bits(0x1234_5678_9abc),
        name: "tiny-train".to_owned(),
        spec: JobSpec::default(),
        state: State::Queued,
        reason: None,
        problems: Vec::new(),
        waiting: None,
        queue_place: None,
        parent: None,
        phase: None,
        progress: Progress::default(),
        n_attempts: 1,
        seq: 0,
        directory: "/data/jobs/job-x".into(),
        created_unix_ms: BEGIN,
        started_unix_ms: None,
        ended_unix_ms: None,
    }
}

/// An event of the first attempt.
fn event(time_unix_ms: u64, event: Event) -> JobEvent {
    JobEvent { attempt: 1, record: EventRecord { seq: 1, time_unix_ms, event } }
}

/// A step of 100 tokens that took a second.
fn stepped(step: u64, loss_nats: f64) -> Stepped {
    Stepped {
        step,
        epoch: step as f64 / 100.0,
        loss_nats,
        grad_norm: 0.5,
        learning_rate: 2e-4,
        tokens: 100,
        supervised_tokens: 50,
        samples: 4,
        tokens_per_sec: 100.0,
        samples_per_sec: 4.0,
        step_millis: 1_000.0,
        data_millis: 1.0,
        rewards: None,
    }
}

fn evaluated(step: u64, loss_nats: f64) -> Event {
    Event::Evaluated(Evaluated {
        step,
        loss_nats,
        perplexity: loss_nats.exp(),
        token_accuracy: 0.5,
        tokens: 64,
        rewards: None,
    })
}

fn state(state: State) -> Event {
    Event::State { state, reason: None }
}

fn phase(phase: Phase, done: Option<u64>, total: Option<u64>) -> Event {
    Event::Phase { phase, done, total, unit: None }
}

/// Compares with a file of `goldens/`; `UPDATE_GOLDEN=1` writes it instead.
fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli_terminal/goldens").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("a golden can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, golden, "{name} differs; look at it, then rewrite it with UPDATE_GOLDEN=1");
}
