//! Starts the service, runs it, and ends it.

use std::net::SocketAddr;
use std::path::PathBuf;

use ftl_client::places;
use ftl_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::commits::Commits;
use crate::data_dir::{DataDir, DataDirError};
use crate::datasets::Datasets;
use crate::doors;
use crate::error::ServiceError;
use crate::grpc::{Parts, Services};
use crate::hugging_face::Cache;
use crate::jobs::Jobs;
use crate::listen::{Listen, ListenError};
use crate::resolve::Resolver;
use crate::systemd::{Inherited, notify, watchdog};
use crate::telemetry::gpus::GpuReader;
use crate::telemetry::samples::{Pace, sample};
use crate::token::TokenError;
use crate::worker::Workers;

/// How a service is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is. Made where it does not exist.
    pub data_dir: PathBuf,
    /// The Unix socket; `None`: `ftl.sock` in the data directory.
    pub socket: Option<PathBuf>,
    /// An address on loopback TCP, which is served too; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Sockets that systemd has opened.
    pub inherited: Inherited,
    /// The program that workers are, called with `worker`; `None`: this one.
    pub worker_program: Option<PathBuf>,
    /// The Hugging Face cache; `None`: that of the user.
    pub hugging_face_cache: Option<PathBuf>,
}

impl Config {
    /// On a Unix socket in the data directory alone.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            socket: None,
            listen: None,
            inherited: Inherited::default(),
            worker_program: None,
            hugging_face_cache: None,
        }
    }
}

/// Where a service that is ready can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The address on TCP, with the port that was taken.
    pub tcp: Option<SocketAddr>,
    /// The file with the token for TCP.
    pub token: PathBuf,
}

/// Why a service did not start, or broke down.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sockets.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The token for TCP.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The workers.
    #[error("worker processes can't be started")]
    Workers(#[source] std::io::Error),
    /// What an earlier service left behind.
    #[error("the jobs of an earlier service can't be taken over")]
    Jobs(#[source] ServiceError),
    /// Files that an earlier service left behind.
    #[error("the datasets of an earlier service can't be taken over")]
    Datasets(#[source] ServiceError),
    /// The operating system told nothing about this program, or refused to write down where it listens.
    #[error("the operating system refused something that the service needs")]
    Io(#[from] std::io::Error),
    /// A listener broke down.
    #[error("a listener broke down")]
    Transport(#[from] tonic::transport::Error),
}

/// Runs a service until `shutdown` is raised.
///
/// # Errors
/// It could not be started, or a listener broke down.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    serve_and_tell(config, shutdown, |_| {}).await
}

/// [`serve`] that calls `ready` when the service can be reached.
///
/// # Errors
/// As [`serve`].
pub async fn serve_and_tell(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(&Ready) + Send,
) -> Result<(), ServeError> {
    let Config { data_dir, socket, listen, inherited, worker_program, hugging_face_cache } = config;
    let socket = match socket.as_deref().or(inherited.socket()) {
        Some(socket) => std::path::absolute(socket)?,
        None => places::socket_in(&std::path::absolute(&data_dir)?),
    };
    let listen = Listen { socket, tcp: listen, inherited };
    listen.check()?;

    let dir = DataDir::open(&data_dir)?;
    let commits = Commits::new();
    let told = commits.clone();
    let store = Store::open(&dir.database(), move |id, seq| told.published(id, seq))?;
    let program = worker_program.map_or_else(own_program, Ok)?;
    let workers = Workers::start(program, dir.workers()).map_err(ServeError::Workers)?;
    let jobs = Jobs::start(store.clone(), workers.clone(), dir.clone()).await.map_err(ServeError::Jobs)?;
    let cache = hugging_face_cache.map_or_else(Cache::of_user, Cache::at);
    let resolver = Resolver::new(store.clone(), cache.clone());
    let datasets = Datasets::start(store.clone(), workers.clone(), dir.clone(), resolver.clone());
    let datasets = datasets.await.map_err(ServeError::Datasets)?;
    let leases = workers.leases().clone();
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
    let sampling = sample((store.clone(), leases), GpuReader::new(), Pace::default(), shutdown.clone());
    let watching = watchdog::watch(store, services.metrics.clone());
    let answering = async {
        let served = match doors::open(&listen, &dir).await {
            Ok(doors) => {
                ready(&doors.ready);
                notify::ready(&format!("listens on unix:{}", doors.ready.socket.display()));
                info!(socket = %doors.ready.socket.display(), tcp = ?doors.ready.tcp, "the service is ready");
                doors::answer(doors, services, &shutdown).await
            }
            Err(error) => Err(error),
        };
        // Whatever ended it, workers are to save.
        shutdown.cancel();
        served
    };
    let working = async {
        shutdown.cancelled().await;
        info!("the service ends");
        notify::stopping();
        jobs.shut_down().await;
    };
    let serving = async { tokio::join!(answering, working).0 };
    // Whatever is not worth waiting for ends with it, and lets go of the database.
    let beside = async { tokio::join!(sampling, watching).1 };
    tokio::select! {
        served = serving => served,
        never = beside => match never {},
    }
}

/// What workers are started from. On Linux this is the very program that runs, also when another version has taken its
/// place on the disk: server and workers must speak the same frames.
fn own_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}
