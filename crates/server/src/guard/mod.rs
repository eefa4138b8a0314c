//! Who may talk to the service. Asked before everything else, for every path: those of methods, of health, reflection
//! and `/metrics`, and those that do not exist.
//!
//! - On the Unix socket: processes of our own user. The socket is 0600 in a 0700 directory besides.
//! - On loopback TCP: whoever knows the token, which a 0600 file holds. A browser must not become the messenger of a
//!   foreign page, so what it says of a request is judged whatever the request knows (`browser`).
//! - Anybody else: nobody.

mod browser;
mod refusal;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, Version};
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::warn;

pub use refusal::Refusal;

use crate::connections::Peer;
use crate::data_dir::own_uid;
use crate::telemetry::metrics::Metrics;
use crate::token::Token;
use browser::Pages;

/// Headers of a request, names and values. Ours have some hundred bytes.
pub const MAX_HEADER_BYTES: usize = 16 << 10;

/// Stands before everything that a listener serves.
#[derive(Clone, Debug)]
pub struct Guard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    door: Door,
    metrics: Metrics,
}

#[derive(Debug)]
enum Door {
    Unix { uid: u32 },
    Tcp { port: u16, token: Token },
}

impl Guard {
    /// Lets in processes of our own user.
    pub fn unix(metrics: &Metrics) -> Self {
        Self::at(Door::Unix { uid: own_uid() }, metrics.clone())
    }

    /// Lets in whoever knows `token` and means this port of this machine.
    pub fn tcp(port: u16, token: Token, metrics: &Metrics) -> Self {
        Self::at(Door::Tcp { port, token }, metrics.clone())
    }

    fn at(door: Door, metrics: Metrics) -> Self {
        Self(Arc::new(Shared { door, metrics }))
    }

    /// Whether a request is let in.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let peer = request.extensions().get::<Peer>();
        if let Some(most) = peer.and_then(Peer::beyond) {
            return Err(Refusal::Crowd(most));
        }
        check_size(request)?;
        match &self.0.door {
            Door::Unix { uid } => {
                if peer.and_then(Peer::uid) != Some(*uid) {
                    return Err(Refusal::OtherUser);
                }
                browser::check(request, Pages::Never)
            }
            Door::Tcp { port, token } => {
                browser::check(request, Pages::Own { port: *port })?;
                check_token(request.headers(), token)
            }
        }
    }
}

/// HTTP/2 has its own limit, which is kept while headers are read; that of HTTP/1 is 400 KiB.
fn check_size<B>(request: &Request<B>) -> Result<(), Refusal> {
    if request.version() == Version::HTTP_2 {
        return Ok(());
    }
    let of_headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let n_bytes = of_headers.sum::<usize>() + target;
    if n_bytes > MAX_HEADER_BYTES {
        return Err(Refusal::Headers { n_bytes, most: MAX_HEADER_BYTES });
    }
    Ok(())
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
            Ok(()) => {
                if let Some(peer) = request.extensions().get::<Peer>() {
                    peer.let_in();
                }
                Either::Left(self.inner.call(request))
            }
            Err(why) => {
                // A page that calls in a loop must not fill the disk with lines.
                if self.guard.0.metrics.refused(why) {
                    warn!(
                        reason = why.reason(),
                        method = short(request.uri().path()),
                        "a request was not let in"
                    );
                }
                Either::Right(ready(Ok(why.answer(request.headers()))))
            }
        }
    }
}

/// The beginning of a path, which may be as long as the caller likes.
fn short(path: &str) -> &str {
    &path[..path.floor_char_boundary(100)]
}
