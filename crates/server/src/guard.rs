//! Who may talk to the service. Asked before everything else, for every method, also those of health and reflection.
//!
//! - On the Unix socket: processes of our own user. The socket is 0600 in a 0700 directory besides.
//! - On loopback TCP: whoever knows the token, which a 0600 file holds. A browser must not become its messenger, so an
//!   exact Host is asked for (DNS rebinding: Ollama's CVE-2024-28224, MLflow's CVE-2025-14279), and a request that
//!   carries an Origin, or that a site caused, is refused whatever it knows.
//! - Anybody else: nobody.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::warn;

use crate::data_dir::own_uid;
use crate::status::refusal;
use crate::token::Token;

/// What a browser says about where a request comes from (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Stands before everything that a listener serves.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Door>);

#[derive(Debug)]
enum Door {
    Unix { uid: u32 },
    Tcp { port: u16, token: Token },
}

/// Why somebody is not let in. Says nothing that helps to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("only the user who runs the service may use its socket")]
    OtherUser,
    #[error("the request names another host; use `127.0.0.1:{0}`, `localhost:{0}` or `[::1]:{0}`")]
    Host(u16),
    #[error("requests of web pages are not answered: this one carries an `Origin`")]
    Origin,
    #[error("requests of web pages are not answered: this one says `Sec-Fetch-Site`")]
    Site,
    #[error(
        "a token is needed: send `authorization: Bearer …` with what the file `token` of the data directory holds"
    )]
    NoToken,
    #[error("the token is not that of this service; the file `token` of its data directory holds it")]
    WrongToken,
}

impl Guard {
    /// Lets in processes of our own user.
    pub fn unix() -> Self {
        Self(Arc::new(Door::Unix { uid: own_uid() }))
    }

    /// Lets in whoever knows `token` and means this port of this machine.
    pub fn tcp(port: u16, token: Token) -> Self {
        Self(Arc::new(Door::Tcp { port, token }))
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        match &*self.0 {
            Door::Unix { uid } => {
                let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
                match peer {
                    Some(peer) if peer.uid() == *uid => Ok(()),
                    Some(_) | None => Err(Refusal::OtherUser),
                }
            }
            Door::Tcp { port, token } => {
                check_host(request, *port)?;
                if request.headers().contains_key(ORIGIN) {
                    return Err(Refusal::Origin);
                }
                if request.headers().get_all(SEC_FETCH_SITE).iter().any(|site| site != "none") {
                    return Err(Refusal::Site);
                }
                check_token(request.headers(), token)
            }
        }
    }
}

/// HTTP/2 has the host as `:authority`; a `host` header beside it must agree.
fn check_host<B>(request: &Request<B>, port: u16) -> Result<(), Refusal> {
    let is_ours = |host: &[u8]| {
        ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host == format!("{name}:{port}").as_bytes())
    };
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let headers = request.headers().get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let mut named = authority.into_iter().chain(headers).peekable();
    if named.peek().is_some() && named.all(is_ours) { Ok(()) } else { Err(Refusal::Host(port)) }
}

fn check_token(headers: &HeaderMap, token: &Token) -> Result<(), Refusal> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return Err(Refusal::NoToken) };
    // Schemes have no case (RFC 9110).
    let given = given.as_bytes();
    let Some((scheme, rest)) = given.split_at_checked(b"Bearer ".len()) else { return Err(Refusal::NoToken) };
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(Refusal::NoToken);
    }
    if token.equals(rest) { Ok(()) } else { Err(Refusal::WrongToken) }
}

impl From<Refusal> for Status {
    fn from(why: Refusal) -> Self {
        let (code, reason) = match why {
            Refusal::OtherUser => (Code::PermissionDenied, "OTHER_USER"),
            Refusal::Host(_) => (Code::PermissionDenied, "HOST_NOT_ALLOWED"),
            Refusal::Origin => (Code::PermissionDenied, "ORIGIN_NOT_ALLOWED"),
            Refusal::Site => (Code::PermissionDenied, "SITE_NOT_ALLOWED"),
            Refusal::NoToken => (Code::Unauthenticated, "TOKEN_MISSING"),
            Refusal::WrongToken => (Code::Unauthenticated, "TOKEN_WRONG"),
        };
        refusal(code, reason, &why.to_string())
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a [`Guard`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.guard.check(&request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(why) => {
                warn!(reason = ?why, method = request.uri().path(), "a request was not let in");
                Either::Right(ready(Ok(Status::from(why).into_http())))
            }
        }
    }
}
