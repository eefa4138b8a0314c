//! The connection: a Unix socket or a loopback port, and the token that goes with every request.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint as Target, Uri};
use tonic::{Request, Status};
use tower::service_fn;

use super::named;
use crate::endpoint::Endpoint;
use crate::error::ClientError;

/// A connection that sends the token with every request.
pub(super) type AuthorizedChannel = InterceptedService<Channel, Token>;

/// While calls are open, so often is the peer asked whether it lives …
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// … and after so long without an answer the connection counts as broken.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Adds `authorization: Bearer …`.
#[derive(Clone, Debug)]
pub(super) struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Connects to an endpoint that was checked.
pub(super) async fn channel(endpoint: &Endpoint) -> Result<AuthorizedChannel, ClientError> {
    let (connected, token) = match endpoint {
        Endpoint::Unix(path) => {
            let path = path.clone();
            let connector = service_fn(move |_: Uri| {
                let path = path.clone();
                async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
            });
            // The name is for the request's head alone.
            (alive(Target::from_static("http://localhost")).connect_with_connector(connector).await, None)
        }
        Endpoint::Http { url, token } => {
            let target = Target::from_shared(url.clone())
                .map_err(|error| ClientError::Protocol(format!("`{endpoint}` can't be used: {error}")))?;
            (alive(target).connect().await, token.as_deref())
        }
    };
    let channel = connected.map_err(|error| ClientError::on_the_way(named(endpoint), &error))?;
    Ok(InterceptedService::new(channel, Token(token.map(bearer))))
}

fn alive(target: Target) -> Target {
    target.http2_keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT).tcp_nodelay(true)
}

fn bearer(token: &str) -> MetadataValue<Ascii> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .expect("a checked endpoint has a token of visible ASCII, which a header can carry");
    value.set_sensitive(true);
    value
}
