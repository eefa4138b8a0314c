//! The open sockets, and what every request that comes through them goes through.

use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_web::GrpcWebLayer;
use tower::layer::util::{Identity, Stack};
use tracing::warn;

use crate::connections::Connections;
use crate::data_dir::DataDir;
use crate::grpc::Services;
use crate::guard::{Guard, MAX_HEADER_BYTES};
use crate::listen::{Listen, Origin};
use crate::panics::CatchPanics;
use crate::serve::{Ready, ServeError};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::requests::TraceRequests;
use crate::token::Token;

/// Connections to the Unix socket. Each stream of a program of its own is one.
const MOST_ON_UNIX: usize = 2_048;
/// Connections to the TCP port. Browsers open six for each page that is served.
const MOST_ON_TCP: usize = 512;
/// Requests of one connection that are worked on at once; more wait.
const MAX_REQUESTS_OF_CONNECTION: usize = 256;
/// Requests of one connection that may be open, streams included. hyper's own 200 is less than the streams that the
/// service gives.
const MAX_OPEN_OF_CONNECTION: u32 = 1_024;
/// A peer that is silent for so long is asked whether it lives.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// And is given so long to answer.
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(20);
/// How long answers under way have when the service ends. Workers have 25 seconds at the same time.
const ANSWERS_END_WITHIN: Duration = Duration::from_secs(5);

/// The open sockets.
pub(crate) struct Doors {
    unix: UnixListener,
    tcp: Option<(TcpListener, Token)>,
    /// Where they are.
    pub(crate) ready: Ready,
    /// Whether its file is to go with the service.
    origin: Origin,
}

/// Opens them, or takes over those that systemd has opened.
///
/// # Errors
/// The operating system refuses, or the place is not fit.
pub(crate) async fn open(listen: &Listen, dir: &DataDir) -> Result<Doors, ServeError> {
    let tcp = match listen.open_tcp().await? {
        Some(listener) => Some((listener, Token::read_or_make(&dir.token())?)),
        None => None,
    };
    let address = tcp.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?;
    dir.announce(&listen.socket)?;
    let (unix, origin) = listen.open_unix()?;
    let ready = Ready { socket: listen.socket.clone(), tcp: address, token: dir.token() };
    Ok(Doors { unix, tcp, ready, origin })
}

/// Answers until `shutdown` is raised and every caller has its answer, or has had its time.
///
/// # Errors
/// A listener broke down.
pub(crate) async fn answer(
    doors: Doors,
    services: Services,
    shutdown: &CancellationToken,
) -> Result<(), ServeError> {
    let Doors { unix, tcp, ready, origin } = doors;
    let Services { routes, mut health, metrics } = services;
    let connections = Connections::new(MOST_ON_UNIX);
    metrics.listens("unix", connections.clone());
    let over_unix = server(Guard::unix(&metrics), &metrics)
        .add_routes(routes.clone())
        .serve_with_incoming_shutdown(connections.over_unix(unix), shutdown.clone().cancelled_owned());
    let over_tcp = async {
        match (tcp, ready.tcp) {
            (Some((listener, token)), Some(address)) => {
                let connections = Connections::new(MOST_ON_TCP);
                metrics.listens("tcp", connections.clone());
                server(Guard::tcp(address.port(), token, &metrics), &metrics)
                    .add_routes(routes)
                    .serve_with_incoming_shutdown(
                        connections.over_tcp(listener),
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
    match origin {
        Origin::Own => remove(&ready.socket),
        Origin::Inherited => {}
    }
    Ok(served?)
}

fn remove(socket: &Path) {
    if let Err(error) = std::fs::remove_file(socket) {
        warn!(socket = %socket.display(), %error, "the socket stays");
    }
}

/// What every request goes through, from the inside out.
pub type Layers =
    Stack<CatchPanics, Stack<TraceRequests, Stack<GrpcWebLayer, Stack<Metrics, Stack<Guard, Identity>>>>>;

/// A server of gRPC over HTTP/2, and of gRPC-Web over both versions of HTTP, behind a guard, with the limits of the
/// service and without a service. `/metrics` stands beside what will be served.
pub fn server(guard: Guard, metrics: &Metrics) -> Server<Layers> {
    Server::builder()
        .accept_http1(true)
        .concurrency_limit_per_connection(MAX_REQUESTS_OF_CONNECTION)
        .max_concurrent_streams(MAX_OPEN_OF_CONNECTION)
        .http2_max_header_list_size(u32::try_from(MAX_HEADER_BYTES).expect("16 KiB"))
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_WITHIN))
        .layer(guard)
        .layer(metrics.clone())
        // Asks no questions of its own, and sends no header of CORS.
        .layer(GrpcWebLayer::new())
        .layer(TraceRequests(metrics.clone()))
        .layer(CatchPanics)
}
