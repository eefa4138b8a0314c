//! Who is let in, for every method there is.

use ftl_client::wire::details::unpack;
use tonic::Code;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::raw::{all_paths, call};
use super::support::{Service, assert_refused};

async fn tcp(port: u16, origin: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    endpoint.origin(origin.parse().expect("a URI")).connect().await.expect("it listens")
}

fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (key, value) in pairs {
        metadata.append(*key, value.parse().expect("ASCII"));
    }
    metadata
}

struct Stranger {
    origin: String,
    metadata: Vec<(&'static str, String)>,
    code: Code,
    reason: &'static str,
    message: &'static str,
}

#[tokio::test]
async fn every_method_refuses_every_stranger_on_tcp() {
    let service = Service::start().await;
    let (port, token) = (service.port, service.token.clone());
    let ours = format!("http://127.0.0.1:{port}");
    let bearer = || ("authorization", format!("Bearer {token}"));
    let wrong = format!("Bearer {}", "0".repeat(token.len()));
    let stranger = |origin: &str, metadata: Vec<(&'static str, String)>, code, reason, message| Stranger {
        origin: origin.to_owned(),
        metadata,
        code,
        reason,
        message,
    };
    let no_token = "a token is needed";
    let other_token = "the token is not that of this service";
    let strangers = [
        stranger(&ours, vec![], Code::Unauthenticated, "TOKEN_MISSING", no_token),
        stranger(
            &ours,
            vec![("authorization", token.clone())],
            Code::Unauthenticated,
            "TOKEN_MISSING",
            no_token,
        ),
        stranger(
            &ours,
            vec![("authorization", format!("Basic {token}"))],
            Code::Unauthenticated,
            "TOKEN_MISSING",
            no_token,
        ),
        stranger(&ours, vec![bearer(), bearer()], Code::Unauthenticated, "TOKEN_MISSING", no_token),
        stranger(&ours, vec![("authorization", wrong)], Code::Unauthenticated, "TOKEN_WRONG", other_token),
        stranger(
            &ours,
            vec![("authorization", format!("Bearer {}", &token[1..]))],
            Code::Unauthenticated,
            "TOKEN_WRONG",
            other_token,
        ),
        stranger(
            &format!("http://finetunelab.example:{port}"),
            vec![bearer()],
            Code::PermissionDenied,
            "HOST_NOT_ALLOWED",
            "the request names another host",
        ),
        stranger(
            "http://127.0.0.1:1",
            vec![bearer()],
            Code::PermissionDenied,
            "HOST_NOT_ALLOWED",
            "the request names another host",
        ),
        stranger(
            &ours,
            vec![bearer(), ("host", format!("finetunelab.example:{port}"))],
            Code::PermissionDenied,
            "HOST_NOT_ALLOWED",
            "the request names another host",
        ),
        stranger(
            &ours,
            vec![bearer(), ("origin", ours.clone())],
            Code::PermissionDenied,
            "ORIGIN_NOT_ALLOWED",
            "carries an `Origin`",
        ),
        stranger(
            &ours,
            vec![bearer(), ("sec-fetch-site", "cross-site".to_owned())],
            Code::PermissionDenied,
            "SITE_NOT_ALLOWED",
            "says `Sec-Fetch-Site`",
        ),
        stranger(
            &ours,
            vec![bearer(), ("sec-fetch-site", "same-origin".to_owned())],
            Code::PermissionDenied,
            "SITE_NOT_ALLOWED",
            "says `Sec-Fetch-Site`",
        ),
    ];
    let paths = all_paths();
    assert!(paths.len() > 35, "{paths:?}");
    for Stranger { origin, metadata: pairs, code, reason, message } in &strangers {
        let channel = tcp(port, origin).await;
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
        for path in &paths {
            let status = call(&channel, path, None, metadata(&pairs)).await.expect_err(path);
            assert_refused(&status, *code, reason, ("", message));
        }
    }
}

#[tokio::test]
async fn whoever_knows_the_token_is_let_in_by_each_name_of_this_machine() {
    let service = Service::start().await;
    let (port, token) = (service.port, &service.token);
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let channel = tcp(port, &format!("http://{host}:{port}")).await;
        for (scheme, site) in [("Bearer", None), ("bearer", Some("none"))] {
            let authorization = format!("{scheme} {token}");
            let mut pairs = vec![("authorization", authorization.as_str())];
            pairs.extend(site.map(|site| ("sec-fetch-site", site)));
            let path = "/ftl.v1.SystemService/GetSystemInfo";
            call(&channel, path, None, metadata(&pairs)).await.expect("it is let in");
        }
    }
}

#[tokio::test]
async fn processes_of_our_user_need_no_token_on_the_socket() {
    let service = Service::start().await;
    let channel = service.channel().await;
    call(&channel, "/ftl.v1.SystemService/GetSystemInfo", None, MetadataMap::new())
        .await
        .expect("it is let in");
}

/// What a peer of another user would be is a connection whose credentials say so, or say nothing. A TCP connection
/// has none.
#[tokio::test]
async fn guard_of_the_socket_refuses_whoever_has_no_credentials() {
    let tcp_listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = tcp_listener.local_addr().expect("an address").port();
    let (_, health) = tonic_health::server::health_reporter();
    tokio::spawn(
        ftl_server::server(ftl_server::guard::Guard::unix())
            .add_service(health)
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(tcp_listener)),
    );
    let channel = tcp(port, &format!("http://127.0.0.1:{port}")).await;
    let status =
        call(&channel, "/grpc.health.v1.Health/Check", None, MetadataMap::new()).await.expect_err("refused");
    assert_refused(&status, Code::PermissionDenied, "OTHER_USER", ("", "only the user who runs the service"));
}

#[tokio::test]
async fn refusal_does_not_tell_which_methods_there_are() {
    let service = Service::start().await;
    let channel = tcp(service.port, &format!("http://127.0.0.1:{}", service.port)).await;
    let there =
        call(&channel, "/ftl.v1.JobService/ListJobs", None, MetadataMap::new()).await.expect_err("refused");
    let absent =
        call(&channel, "/ftl.v1.JobService/Absent", None, MetadataMap::new()).await.expect_err("refused");
    assert_eq!(there.message(), absent.message());
    assert_eq!(unpack(&there), unpack(&absent));
}
