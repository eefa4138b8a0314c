//! A service that keeps everything in memory: the generated stubs over a [`World`] that a test fills and reads.

mod checkpoints;
mod data;
mod jobs;
mod kept;
mod others;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ftl_client::wire::details::{Details, pack, reason, reason_of};
use ftl_client::wire::{page, v1};
use ftl_core::config::{Config, Preset};
use ftl_core::dataset::{DataCheck, Dataset, DatasetReport, PreviewRow, SplitBy};
use ftl_core::inference::InferenceRequest;
use ftl_core::job::{Artifact, Attempt, Checkpoint, Job, JobEvent, Move, Prediction, State};
use ftl_core::model::Model;
use ftl_core::system::{GpuSample, Gpus};
use ftl_core::{JobId, Problem};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;
use tonic::{Code, Status};
use v1::checkpoint_service_server::CheckpointServiceServer;
use v1::config_service_server::ConfigServiceServer;
use v1::dataset_service_server::DatasetServiceServer;
use v1::inference_service_server::InferenceServiceServer;
use v1::job_service_server::JobServiceServer;
use v1::model_service_server::ModelServiceServer;
use v1::prediction_service_server::PredictionServiceServer;
use v1::system_service_server::SystemServiceServer;

/// What the service knows.
#[derive(Default)]
pub struct World {
    /// Newest first.
    pub jobs: Vec<Job>,
    pub events: HashMap<JobId, Vec<JobEvent>>,
    pub attempts: Vec<Attempt>,
    /// Of every job, newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Every export that was asked for.
    pub exports: Vec<(String, String)>,
    pub artifacts: Vec<Artifact>,
    pub log: String,
    pub datasets: Vec<Dataset>,
    pub rows: Vec<PreviewRow>,
    /// What is found in all data.
    pub report: DatasetReport,
    /// Every check that was asked for.
    pub checks: Vec<DataCheck>,
    /// What was sent, by its hash.
    pub uploads: HashMap<String, Vec<u8>>,
    /// Every split that was asked for.
    pub splits: Vec<SplitBy>,
    pub models: Vec<Model>,
    pub configs: Vec<Config>,
    pub presets: Vec<Preset>,
    pub gpus: Option<Gpus>,
    /// Newest first.
    pub gpu_samples: Vec<GpuSample>,
    /// Newest first.
    pub predictions: Vec<Prediction>,
    /// Where the database was copied to.
    pub backups: Vec<String>,
    /// Every answer that was asked for.
    pub inferences: Vec<InferenceRequest>,
    /// Every request id of a job.
    pub request_ids: Vec<Option<String>>,
    /// Break a stream of events off after so many, once.
    pub break_after: Option<usize>,
    /// What every call of `CreateJob` is refused with.
    pub refusal: Option<Status>,
    /// The token that every request must bring.
    pub token: Option<String>,
    /// How many more pages of lists were asked for than first ones.
    pub n_further_pages: usize,
    pub n_watches: usize,
    /// Every change of the queue's order that was asked for.
    pub moves: Vec<Move>,
    pub min_free_disk_bytes: u64,
}

/// The service, until it is dropped.
pub struct Fake {
    service: Service,
    pub dir: TempDir,
    runtime: Runtime,
}

#[derive(Clone)]
pub struct Service {
    world: Arc<Mutex<World>>,
    changed: watch::Sender<u64>,
    n_dropped_answers: Arc<AtomicUsize>,
}

impl Fake {
    /// A service without anything in it, on a socket of its own.
    pub fn start() -> Self {
        let service = Service {
            world: Arc::default(),
            changed: watch::Sender::new(0),
            n_dropped_answers: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let fake = Self { service, dir: tempfile::tempdir().expect("a directory"), runtime };
        fake.listen(fake.socket());
        fake
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("ftl.sock")
    }

    /// Listens on a further socket.
    pub fn listen(&self, socket: PathBuf) {
        let _guard = self.runtime.enter();
        let listener = UnixListener::bind(socket).expect("a socket");
        let server = routes(&self.service).serve_with_incoming(UnixListenerStream::new(listener));
        self.runtime.spawn(server);
    }

    /// Listens on a loopback port, which it gives.
    pub fn listen_on_port(&self) -> u16 {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        self.runtime.spawn(routes(&self.service).serve_with_incoming(TcpListenerStream::new(listener)));
        port
    }

    /// What it knows, to read or to change. Streams see changes when the guard is dropped by [`Fake::change`].
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.service.world()
    }

    /// Changes what it knows, and tells the streams.
    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world());
        self.service.tell();
    }

    /// Appends events to a job; a state among them becomes the job's.
    pub fn append(&self, id: &JobId, events: impl IntoIterator<Item = ftl_core::Event>) {
        self.change(|world| world.append(id, events));
    }

    /// Answers that were stopped before their end.
    pub fn n_dropped_answers(&self) -> usize {
        self.service.n_dropped_answers.load(Ordering::SeqCst)
    }
}

impl World {
    /// Adds a job as the newest.
    pub fn add(&mut self, job: Job) {
        self.jobs.insert(0, job);
    }

    pub fn append(&mut self, id: &JobId, events: impl IntoIterator<Item = ftl_core::Event>) {
        let all = self.events.entry(id.clone()).or_default();
        let job = self.jobs.iter_mut().find(|job| job.id == *id).expect("the job is there");
        for event in events {
            if let ftl_core::Event::State { state, .. } = &event {
                job.state = *state;
            }
            job.seq += 1;
            let time_unix_ms = super::BEGIN + job.seq * 1_000;
            let record = ftl_core::EventRecord { seq: job.seq, time_unix_ms, event };
            all.push(JobEvent { attempt: job.n_attempts, record });
        }
    }

    fn job(&mut self, id: &str) -> Result<&mut Job, Status> {
        let found = self.jobs.iter_mut().find(|job| job.id.as_str() == id);
        found.ok_or_else(|| not_found("job", id, reason::JOB_NOT_FOUND))
    }

    /// Moves a job, or says why it can't be.
    fn transition(&mut self, id: &str, to: State) -> Result<Job, Status> {
        let job = self.job(id)?;
        let from = job.state;
        let problem = |error: ftl_core::job::IllegalTransition| {
            let problem = Problem::new(ftl_core::ProblemKind::InvalidValue, error.to_string());
            let details = Details {
                reason: reason::ILLEGAL_TRANSITION.to_owned(),
                metadata: [("state".to_owned(), from.to_string())].into(),
                problems: vec![problem],
            };
            pack(Code::FailedPrecondition, error.to_string(), details)
        };
        job.state = from.transition(to).map_err(problem)?;
        Ok(job.clone())
    }
}

impl Service {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test broke while it changed the world")
    }

    fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

fn routes(service: &Service) -> tonic::transport::server::Router {
    Server::builder()
        .add_service(tonic::service::interceptor::InterceptedService::new(
            SystemServiceServer::new(service.clone()),
            guard(service),
        ))
        .add_service(JobServiceServer::new(service.clone()))
        .add_service(CheckpointServiceServer::new(service.clone()))
        .add_service(DatasetServiceServer::new(service.clone()))
        .add_service(ModelServiceServer::new(service.clone()))
        .add_service(ConfigServiceServer::new(service.clone()))
        .add_service(InferenceServiceServer::new(service.clone()))
        .add_service(PredictionServiceServer::new(service.clone()))
}

/// Asks for the token; at the one service that every connection begins with.
fn guard(
    service: &Service,
) -> impl FnMut(tonic::Request<()>) -> Result<tonic::Request<()>, Status> + Clone + use<> {
    let service = service.clone();
    move |request| {
        let Some(token) = service.world().token.clone() else { return Ok(request) };
        let brought = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if brought == Some(&format!("Bearer {token}")) {
            return Ok(request);
        }
        Err(Status::unauthenticated("the token is wrong or missing"))
    }
}

pub fn not_found(what: &str, id: &str, reason: &str) -> Status {
    let details = Details { reason: reason.to_owned(), ..Details::default() };
    pack(Code::NotFound, format!("there is no {what} `{id}`"), details)
}

pub fn refused(code: Code, problem: Problem) -> Status {
    let details = Details {
        reason: reason_of(problem.kind).to_owned(),
        problems: vec![problem.clone()],
        ..Details::default()
    };
    pack(code, problem.to_string(), details)
}

/// The part of a list that a request asks for, and the token of the next. Tokens are places in the list.
fn part<T: Clone, W: From<T>>(
    world_count: &mut usize,
    all: &[T],
    size: u32,
    token: String,
) -> (Vec<W>, String) {
    let request = page::request(size, token);
    let begin: usize = request.page_token.as_deref().map_or(0, |token| token.parse().expect("our token"));
    if begin > 0 {
        *world_count += 1;
    }
    let size = usize::try_from(request.size()).expect("a small number");
    let end = all.len().min(begin + size);
    let next = if end < all.len() { end.to_string() } else { String::new() };
    (all[begin..end].iter().cloned().map(W::from).collect(), next)
}
