//! Limits on connections and on what they send.

use std::time::{Duration, Instant};

use ftl_server::connections::Connections;
use ftl_server::guard::Guard;
use ftl_server::server;
use ftl_server::telemetry::metrics::Metrics;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::http1::{send, web_call};
use super::raw::call;
use super::support::{LONG, Service, assert_refused, channel};

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// Health alone, on a Unix socket with these connections.
fn serve(connections: Connections) -> (TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().expect("a directory");
    let socket = home.path().join("ftl.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let (_, health) = tonic_health::server::health_reporter();
    let metrics = Metrics::default();
    let serving = server(Guard::unix(&metrics), &metrics)
        .add_service(health)
        .serve_with_incoming(connections.over_unix(listener));
    tokio::spawn(serving);
    (home, socket)
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so_and_places_become_free() {
    let connections = Connections::with_time(3, LONG);
    let (_home, socket) = serve(connections.clone());
    let mut within = Vec::new();
    for _ in 0..3 {
        let channel = channel(&socket).await;
        call(&channel, CHECK, None, MetadataMap::new()).await.expect("it has a place");
        within.push(channel);
    }
    assert_eq!(connections.n_open(), 3);
    let beyond = channel(&socket).await;
    let status = call(&beyond, CHECK, None, MetadataMap::new()).await.expect_err("there is no place");
    let message = "3 connections are open, which is as many as the service gives";
    assert_refused(&status, Code::ResourceExhausted, "TOO_MANY_CONNECTIONS", ("", message));
    let over_http1 = UnixStream::connect(&socket).await.expect("it listens");
    let answer = send(over_http1, &web_call(CHECK, &[("host", "localhost")], b"")).await;
    assert_eq!(answer.grpc_status(), Some(Code::ResourceExhausted as i32), "{answer:?}");

    drop((beyond, within));
    let until = Instant::now() + LONG;
    while connections.n_open() > 0 {
        assert!(Instant::now() < until, "{} are open", connections.n_open());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    call(&channel(&socket).await, CHECK, None, MetadataMap::new()).await.expect("a place is free again");
}

#[tokio::test]
async fn connection_that_shows_nothing_is_closed_and_one_that_does_stays() {
    let time = Duration::from_millis(600);
    let (_home, socket) = serve(Connections::with_time(16, time));
    let known = channel(&socket).await;
    let mut health = HealthClient::new(known.clone());
    let mut watched = health.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    watched.message().await.expect("no error").expect("a first answer");

    // Silence; the beginning of HTTP/2; a head of HTTP/1 without an end, a byte at a time; a refused request.
    let beginnings: [&[u8]; 4] = [
        b"",
        b"PRI * HTTP/2.0\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\nx: ",
        b"GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    ];
    for beginning in beginnings {
        let mut stream = UnixStream::connect(&socket).await.expect("it listens");
        stream.write_all(beginning).await.expect("it is open");
        let began = Instant::now();
        let ended = async {
            let mut bytes = [0; 4096];
            loop {
                // Until it ends, a byte from time to time.
                tokio::select! {
                    read = stream.read(&mut bytes) => match read {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    },
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
                if beginning.ends_with(b"x: ") && stream.write_all(b"y").await.is_err() {
                    return;
                }
            }
        };
        timeout(LONG, ended).await.expect("it is closed");
        assert!(began.elapsed() >= time / 2, "{:?}", began.elapsed());
    }
    call(&known, CHECK, None, MetadataMap::new()).await.expect("it was let in, and is still open");
    let silent = timeout(Duration::from_millis(50), watched.message()).await;
    assert!(silent.is_err(), "the stream goes on: {silent:?}");
}

#[tokio::test]
async fn headers_are_bounded_on_both_versions_of_http() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.token);
    let host = format!("127.0.0.1:{}", service.port);
    let long = "x".repeat(20_000);
    let connect = || async { TcpStream::connect(("127.0.0.1", service.port)).await.expect("it listens") };
    let headers = [("host", host.as_str()), ("authorization", &bearer), ("x-much", &long)];
    let path = "/ftl.v1.SystemService/GetSystemInfo";
    let answer = send(connect().await, &web_call(path, &headers, b"")).await;
    assert_eq!(answer.grpc_status(), Some(Code::ResourceExhausted as i32), "{answer:?}");
    assert!(answer.header("grpc-message").is_some_and(|text| text.contains("16384")), "{answer:?}");
    let answer = send(connect().await, &web_call(path, &headers[..2], b"")).await;
    assert_eq!(answer.grpc_status(), Some(0), "{answer:?}");

    // hyper answers those of HTTP/2 while it reads them.
    let channel = service.channel().await;
    let mut metadata = MetadataMap::new();
    metadata.insert("x-much", long.parse().expect("ASCII"));
    let status = call(&channel, path, None, metadata).await.expect_err("too much");
    assert_ne!(status.code(), Code::Ok, "{status:?}");
    call(&service.channel().await, path, None, MetadataMap::new()).await.expect("the service is well");
}

#[tokio::test]
async fn messages_are_bounded() {
    let service = Service::start().await;
    let bearer = format!("Bearer {}", service.token);
    let host = format!("127.0.0.1:{}", service.port);
    let headers = [("host", host.as_str()), ("authorization", bearer.as_str())];
    let much = vec![0; (4 << 20) + 1];
    let stream = TcpStream::connect(("127.0.0.1", service.port)).await.expect("it listens");
    let answer = send(stream, &web_call("/ftl.v1.JobService/GetJob", &headers, &much)).await;
    assert_eq!(answer.grpc_status(), Some(Code::OutOfRange as i32), "{answer:?}");
}
