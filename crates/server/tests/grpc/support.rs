//! A service in a directory of its own whose store the test holds too, so that jobs get states and events without a
//! worker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ftl_client::wire::details::{Details, unpack};
use ftl_core::job::{Job, Phase, State};
use ftl_core::metrics::Stepped;
use ftl_core::spec::{AdapterKind, AdapterSpec, DataSpec, MethodKind, MethodSpec, ModelSpec};
use ftl_core::{Event, EventRecord, JobId, JobSpec};
use ftl_server::commits::Commits;
use ftl_server::connections::Connections;
use ftl_server::data_dir::DataDir;
use ftl_server::datasets::Datasets;
use ftl_server::grpc::{Parts, Services};
use ftl_server::guard::Guard;
use ftl_server::hugging_face::Cache;
use ftl_server::jobs::Jobs;
use ftl_server::resolve::Resolver;
use ftl_server::server;
use ftl_server::token::Token;
use ftl_server::worker::Workers;
use ftl_store::{Change, NewJob, Store};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Status};

/// Far more than anything here takes; a test that waits so long has failed.
pub const LONG: Duration = Duration::from_secs(120);

/// A service that answers on a Unix socket and on loopback TCP.
pub struct Service {
    pub home: TempDir,
    pub store: Store,
    pub dir: DataDir,
    pub port: u16,
    pub token: String,
    pub shutdown: CancellationToken,
    jobs: Jobs,
}

impl Service {
    pub async fn start() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let dir = DataDir::open(&home.path().join("data")).expect("a data directory");
        let commits = Commits::new();
        let told = commits.clone();
        let store = Store::open(&dir.database(), move |id, seq| told.published(id, seq)).expect("a database");
        let program = PathBuf::from(env!("CARGO_BIN_EXE_ftl-server"));
        let workers = Workers::start(program, dir.workers()).expect("a place for logs");
        let jobs = Jobs::start(store.clone(), workers.clone(), dir.clone()).await.expect("an empty queue");
        let shutdown = CancellationToken::new();
        let cache = Cache::at(home.path().join("hub"));
        let resolver = Resolver::new(store.clone(), cache.clone());
        let datasets = Datasets::start(store.clone(), workers.clone(), dir.clone(), resolver.clone());
        let datasets = datasets.await.expect("empty directories");
        let services = Services::new(Parts {
            store: store.clone(),
            workers,
            datasets,
            jobs: jobs.clone(),
            commits,
            dir: dir.clone(),
            resolver,
            cache,
            shutdown: shutdown.clone(),
        });
        let unix = UnixListener::bind(home.path().join("ftl.sock")).expect("a socket");
        let metrics = services.metrics;
        let connections = Connections::with_time(256, LONG);
        metrics.listens("unix", connections.clone());
        let over_unix = server(Guard::unix(&metrics), &metrics)
            .add_routes(services.routes.clone())
            .serve_with_incoming_shutdown(connections.over_unix(unix), shutdown.clone().cancelled_owned());
        tokio::spawn(over_unix);
        let token = Token::read_or_make(&dir.token()).expect("a token");
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = tcp.local_addr().expect("an address").port();
        let connections = Connections::with_time(256, LONG);
        metrics.listens("tcp", connections.clone());
        let over_tcp = server(Guard::tcp(port, token, &metrics), &metrics)
            .add_routes(services.routes)
            .serve_with_incoming_shutdown(connections.over_tcp(tcp), shutdown.clone().cancelled_owned());
        tokio::spawn(over_tcp);
        let token = std::fs::read_to_string(dir.token()).expect("a token").trim().to_owned();
        Self { home, store, dir, port, token, shutdown, jobs }
    }

    pub fn socket(&self) -> PathBuf {
        self.home.path().join("ftl.sock")
    }

    /// A connection over the Unix socket.
    pub async fn channel(&self) -> Channel {
        channel(&self.socket()).await
    }

    /// A job that nobody works on: the queue is not told of it.
    pub async fn job(&self) -> JobId {
        self.job_with(spec()).await
    }

    pub async fn job_with(&self, spec: JobSpec) -> JobId {
        let id = JobId::from_bits(getrandom::u64().expect("random numbers"));
        let job = NewJob {
            id: id.clone(),
            name: "test".to_owned(),
            spec,
            directory: self.dir.job(&id),
            request_id: None,
            parent: None,
        };
        self.store.create_job(job).await.expect("a new id");
        id
    }

    /// A job in its first attempt.
    pub async fn running_job(&self) -> JobId {
        self.running(self.job().await).await
    }

    pub async fn running(&self, id: JobId) -> JobId {
        self.store.begin_attempt(&id).await.expect("it is queued");
        self.transition(&id, State::Running).await;
        id
    }

    pub async fn transition(&self, id: &JobId, to: State) -> Job {
        let change = Change { to, reason: None, problems: Vec::new() };
        self.store.transition(id, change).await.expect("a state that may follow")
    }

    /// Appends steps of the first attempt, whose worker reports them as its events `from..=to`.
    pub async fn steps(&self, id: &JobId, from: u64, to: u64) {
        let records = (from..=to).map(step).collect();
        self.store.append_events(id, 1, records).await.expect("steps are kept");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shutdown.cancel();
        let jobs = self.jobs.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { jobs.shut_down().await });
        }
    }
}

/// A connection to a Unix socket.
pub async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connect).await.expect("a service listens")
}

/// A spec that passes, of files that need not exist.
pub fn spec() -> JobSpec {
    JobSpec {
        model: ModelSpec { path: Some("/models/small".into()), ..ModelSpec::default() },
        data: DataSpec { train: vec!["/data/train.jsonl".into()], ..DataSpec::default() },
        method: MethodSpec { kind: Some(MethodKind::Sft), ..MethodSpec::default() },
        adapter: AdapterSpec { kind: Some(AdapterKind::Lora), ..AdapterSpec::default() },
        ..JobSpec::default()
    }
}

/// A file of the repository's examples.
pub fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(path)
        .canonicalize()
        .expect("an example")
}

fn step(number: u64) -> EventRecord {
    let stepped = Stepped {
        step: number,
        epoch: 0.1,
        loss_nats: 2.0,
        grad_norm: 1.0,
        learning_rate: 1e-4,
        tokens: 64,
        supervised_tokens: 32,
        samples: 4,
        tokens_per_sec: 640.0,
        samples_per_sec: 40.0,
        step_millis: 100.0,
        data_millis: 1.0,
        rewards: None,
    };
    EventRecord { seq: number, time_unix_ms: 1_700_000_000_000 + number, event: Event::Stepped(stepped) }
}

/// A phase, which is no metric.
pub fn phase(number: u64) -> EventRecord {
    let event = Event::Phase { phase: Phase::Loading, done: None, total: None, unit: None };
    EventRecord { seq: number, time_unix_ms: 1_700_000_000_000 + number, event }
}

/// What a refusal must look like.
#[track_caller]
pub fn assert_refused(status: &Status, code: Code, reason: &str, (field, message): (&str, &str)) {
    let Details { reason: found, metadata: _, problems } = unpack(status);
    assert_eq!((status.code(), found.as_str()), (code, reason), "{status:?} {problems:?}");
    let problem = problems.first().unwrap_or_else(|| panic!("no problem in {status:?}"));
    assert_eq!(problem.field.as_deref().unwrap_or_default(), field, "{problem:?}");
    assert!(problem.message.contains(message), "`{message}` is not in `{}`", problem.message);
    assert!(status.message().contains(&problem.message), "{status:?}");
}
