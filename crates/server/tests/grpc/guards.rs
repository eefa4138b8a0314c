//! Who is let in. That nobody else is, for every method there is, is `matrix`'s to show.

use ftl_client::wire::details::unpack;
use ftl_server::connections::Peer;
use ftl_server::guard::{Guard, Refusal};
use ftl_server::telemetry::metrics::Metrics;
use http::{Extensions, Request, Version};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::raw::call;
use super::support::Service;

pub async fn tcp(port: u16, origin: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    endpoint.origin(origin.parse().expect("a URI")).connect().await.expect("it listens")
}

pub fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (key, value) in pairs {
        metadata.append(*key, value.parse().expect("ASCII"));
    }
    metadata
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

fn on_the_socket(peer: Option<Peer>) -> Request<()> {
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = "http://localhost/ftl.v1.SystemService/GetSystemInfo".parse().expect("a URI");
    request.extensions_mut().extend(
        peer.map(|peer| {
            let mut extensions = Extensions::new();
            extensions.insert(peer);
            extensions
        })
        .unwrap_or_default(),
    );
    request
}

#[test]
fn guard_of_the_socket_lets_in_our_user_alone() {
    let guard = Guard::unix(&Metrics::default());
    // SAFETY: geteuid always succeeds.
    let own = unsafe { libc::geteuid() };
    assert_eq!(guard.check(&on_the_socket(Some(Peer::of_user(Some(own))))), Ok(()));
    // Another user, root for everybody else, a peer of whom the kernel says nothing, and no Unix socket at all.
    let strangers = [Some(own + 1), Some(u32::MAX), if own == 0 { Some(65_534) } else { Some(0) }, None];
    for uid in strangers {
        assert_eq!(guard.check(&on_the_socket(Some(Peer::of_user(uid)))), Err(Refusal::OtherUser), "{uid:?}");
    }
    assert_eq!(guard.check(&on_the_socket(None)), Err(Refusal::OtherUser));
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
