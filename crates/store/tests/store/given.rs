//! What the tests begin with.

use std::path::PathBuf;

use ftl_core::job::{Attempt, Job, Phase, State};
use ftl_core::metrics::{Evaluated, Stepped};
use ftl_core::spec::{AdapterKind, AdapterSpec, DataSpec, JobSpec, MethodKind, MethodSpec, ModelSpec};
use ftl_core::{Event, EventRecord, JobId};
use ftl_store::{Change, Created, NewJob, Store};
use tempfile::TempDir;

/// A store in a folder of its own, which goes with it.
pub struct Given {
    pub store: Store,
    pub folder: TempDir,
}

impl Given {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ftl.db")
    }

    /// Closes the store and opens it again.
    pub fn reopened(self) -> Self {
        let Self { store, folder } = self;
        drop(store);
        let store = Store::open(&folder.path().join("ftl.db"), |_, _| {}).unwrap();
        Self { store, folder }
    }
}

pub fn store() -> Given {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("ftl.db"), |_, _| {}).unwrap();
    Given { store, folder }
}

pub fn spec() -> JobSpec {
    JobSpec {
        name: Some("first".to_owned()),
        model: ModelSpec { path: Some("/models/tiny".into()), ..ModelSpec::default() },
        data: DataSpec { train: vec!["/data/train.jsonl".into()], ..DataSpec::default() },
        method: MethodSpec { kind: Some(MethodKind::Sft), ..MethodSpec::default() },
        adapter: AdapterSpec {
            kind: Some(AdapterKind::Lora),
            lora_dropout: Some(0.1),
            ..AdapterSpec::default()
        },
        ..JobSpec::default()
    }
}

pub fn new_job(bits: u64) -> NewJob {
    let id = JobId::from_bits(bits);
    let directory = PathBuf::from(format!("/data/jobs/{id}"));
    NewJob { id, name: "first".to_owned(), spec: spec(), directory, request_id: None, parent: None }
}

pub fn created(store: &Store, bits: u64) -> Job {
    match store.create_job(new_job(bits)).wait().unwrap() {
        Created::New(job) => job,
        Created::Existing(job) => panic!("{} was there", job.id),
    }
}

pub fn to(state: State) -> Change {
    Change { to: state, reason: None, problems: Vec::new() }
}

/// A job with a first attempt that is RUNNING: events 1 to 3 are its states.
pub fn running(store: &Store, bits: u64) -> (JobId, Attempt) {
    let id = created(store, bits).id;
    let attempt = store.begin_attempt(&id).wait().unwrap();
    store.transition(&id, to(State::Running)).wait().unwrap();
    (id, attempt)
}

/// The shortest way from QUEUED to a state.
pub fn way_to(state: State) -> &'static [State] {
    match state {
        State::Queued => &[],
        State::Starting => &[State::Starting],
        State::Running => &[State::Starting, State::Running],
        State::Stopping => &[State::Starting, State::Stopping],
        State::Stopped => &[State::Starting, State::Stopping, State::Stopped],
        State::Interrupted => &[State::Starting, State::Interrupted],
        State::Succeeded => &[State::Starting, State::Running, State::Succeeded],
        State::Failed => &[State::Starting, State::Failed],
        State::Cancelled => &[State::Cancelled],
    }
}

pub fn created_in(store: &Store, bits: u64, state: State) -> Job {
    let mut job = created(store, bits);
    for state in way_to(state) {
        job = store.transition(&job.id, to(*state)).wait().unwrap();
    }
    job
}

pub fn record(seq: u64, event: Event) -> EventRecord {
    EventRecord { seq, time_unix_ms: 1_700_000_000_000 + seq, event }
}

pub fn stepped(step: u64) -> Event {
    Event::Stepped(Stepped {
        step,
        epoch: step as f64 / 7.0,
        loss_nats: 2.5 - step as f64 * 1e-3,
        grad_norm: 0.1 + 0.2,
        learning_rate: 2e-4,
        tokens: 4096,
        supervised_tokens: 1024,
        samples: 4,
        tokens_per_sec: 1234.5,
        samples_per_sec: 1.25,
        step_millis: 3317.0,
        data_millis: 0.01,
        rewards: None,
    })
}

pub fn evaluated(step: u64, loss_nats: f64) -> Event {
    Event::Evaluated(Evaluated {
        step,
        loss_nats,
        perplexity: loss_nats.exp(),
        token_accuracy: 0.5,
        tokens: 777,
        rewards: None,
    })
}

pub fn phase(phase: Phase) -> Event {
    Event::Phase { phase, done: None, total: None, unit: None }
}

pub fn training(done: u64, total: u64) -> Event {
    let unit = Some("steps".to_owned());
    Event::Phase { phase: Phase::Training, done: Some(done), total: Some(total), unit }
}

pub fn note(message: &str) -> Event {
    Event::Note { level: ftl_core::event::NoteLevel::Info, message: message.to_owned() }
}

pub fn saved(step: u64) -> Event {
    Event::Saved { step, path: format!("/data/jobs/x/checkpoint-{step}"), bytes: 1000 + step }
}
