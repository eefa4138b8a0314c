//! Starts the service, runs it, and ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ftl_client::places;
use ftl_store::{Store, StoreError};
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};
use tracing::{info, warn};

use crate::commits::Commits;
use crate::data_dir::{DataDir, DataDirError};
use crate::datasets::Datasets;
use crate::error::ServiceError;
use crate::grpc::{Parts, Services};
use crate::guard::Guard;
use crate::hugging_face::Cache;
use crate::jobs::Jobs;
use crate::listen::{self, Listen, ListenError};
use crate::panics::CatchPanics;
use crate::resolve::Resolver;
use crate::telemetry::gpus::GpuReader;
use crate::telemetry::requests::TraceRequests;
use crate::telemetry::samples::{Pace, sample};
use crate::token::{Token, TokenError};
use crate::worker::Workers;

/// Requests of one connection that are worked on at once; more wait.
const MAX_REQUESTS_OF_CONNECTION: usize = 256;
/// Requests of one connection that may be open, streams included. hyper's own 200 is less than the streams that the
/// service gives.
const MAX_OPEN_OF_CONNECTION: u32 = 1_024;
/// Headers of a request. Ours have some hundred bytes.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// A peer that is silent for so long is asked whether it lives.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// And is given so long to answer.
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(20);
/// How long answers under way have when the service ends. Workers have 25 seconds at the same time.
const ANSWERS_END_WITHIN: Duration = Duration::from_secs(5);

/// How a service is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is. Made where it does not exist.
    pub data_dir: PathBuf,
    /// The Unix socket; `None`: `ftl.sock` in the data directory.
    pub socket: Option<PathBuf>,
    /// An address on loopback TCP, which is served too; port 0 takes a free one.
    pub listen: Option<SocketAddr>,
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
    let Config { data_dir, socket, listen, worker_program, hugging_face_cache } = config;
    let socket = match socket {
        Some(socket) => std::path::absolute(socket)?,
        None => places::socket_in(&std::path::absolute(&data_dir)?),
    };
    let listen = Listen { socket, tcp: listen };
    listen.check()?;

    let dir = DataDir::open(&data_dir)?;
    let commits = Commits::new();
    let told = commits.clone();
    let store = Store::open(&dir.database(), move |id, seq| told.published(id, seq))?;
    let program = worker_program.map_or_else(std::env::current_exe, Ok)?;
    let workers = Workers::start(program, dir.workers()).map_err(ServeError::Workers)?;
    let jobs = Jobs::start(store.clone(), workers.clone(), dir.clone()).await.map_err(ServeError::Jobs)?;
    let cache = hugging_face_cache.map_or_else(Cache::of_user, Cache::at);
    let resolver = Resolver::new(store.clone(), cache.clone());
    let datasets = Datasets::start(store.clone(), workers.clone(), dir.clone(), resolver.clone());
    let datasets = datasets.await.map_err(ServeError::Datasets)?;
    let parts = Parts {
        store,
        workers,
        datasets,
        jobs: jobs.clone(),
        commits,
        dir: dir.clone(),
        resolver,
        cache,
        shutdown: shutdown.clone(),
    };
    tokio::spawn(sample(parts.store.clone(), GpuReader::new(), Pace::default(), shutdown.clone()));
    let answering = async {
        let served = match open(&listen, &dir).await {
            Ok(doors) => {
                ready(&doors.ready);
                info!(socket = %doors.ready.socket.display(), tcp = ?doors.ready.tcp, "the service is ready");
                answer(doors, Services::new(parts), &shutdown).await
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
        jobs.shut_down().await;
    };
    let (served, ()) = tokio::join!(answering, working);
    served
}

/// The open sockets.
struct Doors {
    unix: UnixListener,
    tcp: Option<(TcpListener, Token)>,
    ready: Ready,
}

async fn open(listen: &Listen, dir: &DataDir) -> Result<Doors, ServeError> {
    let tcp = match listen.tcp {
        Some(address) => Some((listen::tcp(address).await?, Token::read_or_make(&dir.token())?)),
        None => None,
    };
    let address = tcp.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    dir.announce(&listen.socket)?;
    let unix = listen::unix(&listen.socket)?;
    let ready = Ready { socket: listen.socket.clone(), tcp: address, token: dir.token() };
    Ok(Doors { unix, tcp, ready })
}

/// Answers until `shutdown` is raised and every caller has its answer, or has had its time.
async fn answer(doors: Doors, services: Services, shutdown: &CancellationToken) -> Result<(), ServeError> {
    let Doors { unix, tcp, ready } = doors;
    let Services { routes, mut health } = services;
    let over_unix = server(Guard::unix())
        .add_routes(routes.clone())
        .serve_with_incoming_shutdown(UnixListenerStream::new(unix), shutdown.clone().cancelled_owned());
    let over_tcp = async {
        match (tcp, ready.tcp) {
            (Some((listener, token)), Some(address)) => {
                server(Guard::tcp(address.port(), token))
                    .add_routes(routes)
                    .serve_with_incoming_shutdown(
                        TcpListenerStream::new(listener),
                        shutdown.clone().cancelled_owned(),
                    )
                    .await
            }
            (_, _) => Ok(()),
        }
    };
    let limit = async {
        shutdown.cancelled().await;
        // Ends the streams of those who watch the health.
        health.clear_service_status("").await;
        tokio::time::sleep(ANSWERS_END_WITHIN).await;
    };
    let served = tokio::select! {
        served = async { tokio::try_join!(over_unix, over_tcp) } => served.map(|((), ())| ()),
        () = limit => {
            warn!("callers that do not leave are left behind");
            Ok(())
        }
    };
    if let Err(error) = std::fs::remove_file(&ready.socket) {
        warn!(socket = %ready.socket.display(), %error, "the socket stays");
    }
    Ok(served?)
}

/// What every request goes through, from the outside in.
pub type Layers = Stack<CatchPanics, Stack<Guard, Stack<TraceRequests, Identity>>>;

/// A gRPC server behind a guard, with the limits of the service and without a service.
pub fn server(guard: Guard) -> Server<Layers> {
    Server::builder()
        .concurrency_limit_per_connection(MAX_REQUESTS_OF_CONNECTION)
        .max_concurrent_streams(MAX_OPEN_OF_CONNECTION)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WITHIN))
        .layer(TraceRequests)
        .layer(guard)
        .layer(CatchPanics)
}
