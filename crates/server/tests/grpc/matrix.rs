//! Every path × every stranger × gRPC over HTTP/2 and gRPC-Web over HTTP/1.1: all refused. The paths come from the
//! contract's descriptors, so a new method is among them by itself. Beside it, that whoever is no stranger gets past the
//! guard on every one of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ftl_server::connections::Connections;
use ftl_server::guard::Guard;
use ftl_server::server;
use ftl_server::telemetry::metrics::Metrics;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

use super::guards::{metadata, tcp};
use super::http1::{Answer, head, send, web_call};
use super::raw::{all_paths, call};
use super::support::{LONG, Service, assert_refused, channel};

/// Somebody who is not let in.
struct Stranger {
    who: &'static str,
    /// As which host the service is spoken to.
    host: String,
    headers: Vec<(&'static str, String)>,
    code: Code,
    reason: &'static str,
}

fn stranger(
    who: &'static str,
    host: &str,
    headers: Vec<(&'static str, String)>,
    (code, reason): (Code, &'static str),
) -> Stranger {
    Stranger { who, host: host.to_owned(), headers, code, reason }
}

const NO_TOKEN: (Code, &str) = (Code::Unauthenticated, "TOKEN_MISSING");
const WRONG_TOKEN: (Code, &str) = (Code::Unauthenticated, "TOKEN_WRONG");
const HOST: (Code, &str) = (Code::PermissionDenied, "HOST_NOT_ALLOWED");
const ORIGIN: (Code, &str) = (Code::PermissionDenied, "ORIGIN_NOT_ALLOWED");
const SITE: (Code, &str) = (Code::PermissionDenied, "SITE_NOT_ALLOWED");
const USER: (Code, &str) = (Code::PermissionDenied, "OTHER_USER");

fn strangers_on_tcp(port: u16, token: &str) -> Vec<Stranger> {
    let ours = format!("127.0.0.1:{port}");
    let bearer = || ("authorization", format!("Bearer {token}"));
    let with = |name: &'static str, value: &str| vec![bearer(), (name, value.to_owned())];
    let own_origin = || ("origin", format!("http://127.0.0.1:{port}"));
    let said = |text: String| vec![("authorization", text)];
    vec![
        stranger("no token", &ours, vec![], NO_TOKEN),
        stranger("a token without its scheme", &ours, said(token.to_owned()), NO_TOKEN),
        stranger("another scheme", &ours, said(format!("Basic {token}")), NO_TOKEN),
        stranger("a token in a cookie", &ours, vec![("cookie", format!("token={token}"))], NO_TOKEN),
        stranger("two tokens", &ours, vec![bearer(), bearer()], NO_TOKEN),
        stranger("own page without a token", &ours, vec![own_origin()], NO_TOKEN),
        stranger("wrong token", &ours, said(format!("Bearer {}", "0".repeat(token.len()))), WRONG_TOKEN),
        stranger("a part of the token", &ours, said(format!("Bearer {}", &token[1..])), WRONG_TOKEN),
        stranger("rebound name", &format!("finetunelab.example:{port}"), vec![bearer()], HOST),
        stranger("another port", "127.0.0.1:1", vec![bearer()], HOST),
        stranger("no port", "127.0.0.1", vec![bearer()], HOST),
        stranger("another spelling", &format!("127.1:{port}"), vec![bearer()], HOST),
        stranger("foreign origin", &ours, with("origin", "https://evil.example"), ORIGIN),
        stranger("sandboxed page", &ours, with("origin", "null"), ORIGIN),
        stranger("another port's page", &ours, with("origin", "http://127.0.0.1:1"), ORIGIN),
        stranger("another name's page", &ours, with("origin", &format!("http://localhost:{port}")), ORIGIN),
        stranger("TLS page", &ours, with("origin", &format!("https://127.0.0.1:{port}")), ORIGIN),
        stranger("two origins", &ours, [with("origin", "null"), vec![own_origin()]].concat(), ORIGIN),
        stranger("cross-site", &ours, with("sec-fetch-site", "cross-site"), SITE),
        stranger("same-site", &ours, with("sec-fetch-site", "same-site"), SITE),
        stranger(
            "own origin, cross-site",
            &ours,
            [with("sec-fetch-site", "cross-site"), vec![own_origin()]].concat(),
            SITE,
        ),
    ]
}

fn strangers_on_the_socket() -> Vec<Stranger> {
    let with = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    vec![
        stranger("rebound name", "finetunelab.example", vec![], HOST),
        stranger("rebound name with a port", "localhost.example:80", vec![], HOST),
        stranger("a page", "localhost", with("origin", "http://localhost"), ORIGIN),
        stranger("same-origin", "localhost", with("sec-fetch-site", "same-origin"), SITE),
        stranger("cross-site", "localhost", with("sec-fetch-site", "cross-site"), SITE),
    ]
}

/// Every method, and what else could be asked for.
fn paths() -> Vec<String> {
    let mut paths = all_paths();
    paths.extend(["/metrics", "/", "/index.html", "/../etc/passwd"].map(str::to_owned));
    assert!(paths.len() > 40, "{paths:?}");
    paths
}

impl Stranger {
    fn headers(&self) -> Vec<(&'static str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn is_refused_over_grpc(&self, channel: &Channel) {
        for path in paths() {
            let status = call(channel, &path, None, metadata(&self.headers())).await;
            let status = status.expect_err(&format!("{} on {path}", self.who));
            assert_refused(&status, self.code, self.reason, ("", ""));
        }
    }

    async fn is_refused_over_http1<S, F>(&self, connect: impl Fn() -> F)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        F: Future<Output = S>,
    {
        let mut headers = vec![("host", self.host.as_str())];
        headers.extend(self.headers());
        for path in paths() {
            let answer = send(connect().await, &web_call(&path, &headers, b"")).await;
            let context = format!("{} on {path}: {answer:?}", self.who);
            assert_eq!(answer.grpc_status(), Some(self.code as i32), "{context}");
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{context}");
            assert_eq!(answer.header("content-type"), Some("application/grpc-web+proto"), "{context}");
            assert_no_cors(&answer);
            // What no gRPC is, is refused as plain HTTP.
            for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
                let answer = send(connect().await, head(method, &path, &headers).as_bytes()).await;
                let context = format!("{} with {method} on {path}: {answer:?}", self.who);
                let expected =
                    if self.code == Code::Unauthenticated && method != "OPTIONS" { 401 } else { 403 };
                assert_eq!(answer.status, expected, "{context}");
                assert_no_cors(&answer);
            }
        }
    }
}

fn assert_no_cors(answer: &Answer) {
    let is_cors = |name: &str| name.starts_with("access-control-") || name == "set-cookie";
    assert!(!answer.headers.iter().any(|(name, _)| is_cors(name)), "{answer:?}");
}

async fn connect_tcp(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.expect("it listens")
}

async fn connect_unix(socket: PathBuf) -> UnixStream {
    UnixStream::connect(socket).await.expect("it listens")
}

#[tokio::test]
async fn every_method_refuses_every_stranger_on_tcp_over_grpc() {
    let service = Service::start().await;
    for stranger in strangers_on_tcp(service.port, &service.token) {
        let channel = tcp(service.port, &format!("http://{}", stranger.host)).await;
        stranger.is_refused_over_grpc(&channel).await;
    }
}

#[tokio::test]
async fn every_method_refuses_every_stranger_on_tcp_over_http1() {
    let service = Service::start().await;
    for stranger in strangers_on_tcp(service.port, &service.token) {
        stranger.is_refused_over_http1(|| connect_tcp(service.port)).await;
    }
}

#[tokio::test]
async fn every_method_refuses_every_stranger_on_the_socket() {
    let service = Service::start().await;
    for stranger in strangers_on_the_socket() {
        let channel = on_socket(&service.socket(), &stranger.host, connect_unix).await;
        stranger.is_refused_over_grpc(&channel).await;
        stranger.is_refused_over_http1(|| connect_unix(service.socket())).await;
    }
}

/// A channel that names `host`, over a connection made by `connect`.
async fn on_socket<F>(socket: &Path, host: &str, connect: impl Fn(PathBuf) -> F) -> Channel
where
    F: Future<Output = UnixStream> + Send + 'static,
{
    let stream = std::sync::Mutex::new(Some(connect(socket.to_owned()).await));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.lock().expect("no panic").take();
        async move { stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("it was closed")) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{host}")).expect("an address");
    endpoint.connect_with_connector(connector).await.expect("it listens")
}

/// A connection of another user's. The kernel notes who connects by the thread, and the system call itself, unlike
/// libc's, changes the thread alone.
async fn connect_as_nobody(socket: PathBuf) -> UnixStream {
    const NOBODY: libc::c_long = 65_534;
    const SAME: libc::c_long = -1;
    let thread = std::thread::spawn(move || {
        // SAFETY: the call takes three numbers, and the thread ends with this closure.
        let code = unsafe { libc::syscall(libc::SYS_setresuid, SAME, NOBODY, SAME) };
        assert_eq!(code, 0, "root may become anybody");
        std::os::unix::net::UnixStream::connect(socket).expect("the directory is open to all")
    });
    let stream = thread.join().expect("no panic");
    stream.set_nonblocking(true).expect("set");
    UnixStream::from_std(stream).expect("a socket")
}

/// The socket's directory keeps other users out already, so this is a socket that all can open, with the guard alone
/// before the service.
#[tokio::test]
async fn every_method_refuses_another_user_on_the_socket() {
    // SAFETY: geteuid always succeeds.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let all = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(home.path(), all(0o755)).expect("set");
    let socket = home.path().join("open.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    std::fs::set_permissions(&socket, all(0o777)).expect("set");
    let (_, health) = tonic_health::server::health_reporter();
    let metrics = Metrics::default();
    let serving = server(Guard::unix(&metrics), &metrics)
        .add_service(health)
        .serve_with_incoming(Connections::with_time(256, LONG).over_unix(listener));
    tokio::spawn(serving);

    let nobody = stranger("another user", "localhost", vec![], USER);
    nobody.is_refused_over_grpc(&on_socket(&socket, "localhost", connect_as_nobody).await).await;
    nobody.is_refused_over_http1(|| connect_as_nobody(socket.clone())).await;
    // The same socket is open to us.
    let ours = channel(&socket).await;
    call(&ours, "/grpc.health.v1.Health/Check", None, metadata(&[])).await.expect("it is let in");
}

/// What the guard answers, and nobody behind it.
fn is_of_the_guard(code: i32) -> bool {
    code == Code::PermissionDenied as i32 || code == Code::Unauthenticated as i32
}

#[tokio::test]
async fn every_method_is_behind_the_guard_for_whoever_is_let_in() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.token);
    let over_tcp = tcp(service.port, &format!("http://127.0.0.1:{}", service.port)).await;
    let over_unix = service.channel().await;
    for path in all_paths() {
        for (channel, headers) in
            [(&over_tcp, metadata(&[("authorization", &bearer)])), (&over_unix, metadata(&[]))]
        {
            let code =
                call(channel, &path, None, headers).await.map_or_else(|status| status.code(), |()| Code::Ok);
            assert!(!is_of_the_guard(code as i32), "{path}: {code:?}");
        }
    }
}

#[tokio::test]
async fn every_method_is_behind_the_guard_over_grpc_web_too() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.token);
    let (port, socket) = (service.port, service.socket());
    let host = format!("localhost:{port}");
    let origin = format!("http://{host}");
    let page = [
        ("host", host.as_str()),
        ("authorization", bearer.as_str()),
        ("origin", origin.as_str()),
        ("sec-fetch-site", "same-origin"),
        ("cookie", "whatever=1"),
    ];
    let program = [("host", host.as_str()), ("authorization", bearer.as_str())];
    for path in all_paths() {
        let answers = [
            send(connect_tcp(port).await, &web_call(&path, &page, b"")).await,
            send(connect_tcp(port).await, &web_call(&path, &program, b"")).await,
            send(connect_unix(socket.clone()).await, &web_call(&path, &[("host", "localhost")], b"")).await,
        ];
        for answer in answers {
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            // A stream has no code yet, and comes from behind the guard.
            assert!(!answer.grpc_status().is_some_and(is_of_the_guard), "{path}: {answer:?}");
            assert_no_cors(&answer);
        }
    }
    let preflight = [
        ("host", host.as_str()),
        ("authorization", bearer.as_str()),
        ("origin", origin.as_str()),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,authorization"),
    ];
    for path in all_paths() {
        let answer = send(connect_tcp(port).await, head("OPTIONS", &path, &preflight).as_bytes()).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        assert!(answer.text().contains("preflights are refused"), "{answer:?}");
        assert_no_cors(&answer);
    }
}
