//! A handler that panics answers INTERNAL with an incident id, and the service lives on.
//!
//! Without this a panic drops the response and reaches the client as CANCELLED, as if it had given up itself. Streams
//! are watched too: one that panics in the middle ends with trailers that say INTERNAL.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tower::{Layer, Service};

use crate::status::incident;

/// Catches the panics of the service below it.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanics;

impl<S> Layer<S> for CatchPanics {
    type Service = Catching<S>;

    fn layer(&self, inner: S) -> Catching<S> {
        Catching { inner }
    }
}

/// A service whose panics are answers. See [`CatchPanics`].
#[derive(Clone, Debug)]
pub struct Catching<S> {
    inner: S,
}

impl<S> Service<Request<Body>> for Catching<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Nothing of the request is looked at after a panic; what handlers share is behind locks that bear poison.
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        Box::pin(async move {
            let answered = match called {
                Ok(future) => AssertUnwindSafe(future).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            Ok(match answered {
                Ok(Ok(response)) => response.map(|body| Body::new(CatchingBody { body: Some(body) })),
                Ok(Err(never)) => match never {},
                Err(panic) => after_panic(&*panic).into_http(),
            })
        })
    }
}

/// A body that ends with INTERNAL where it panics.
struct CatchingBody {
    /// `None` after a panic.
    body: Option<Body>,
}

impl http_body::Body for CatchingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.body = None;
                let mut trailers = HeaderMap::new();
                Poll::Ready(Some(
                    after_panic(&*panic).add_header(&mut trailers).map(|()| Frame::trailers(trailers)),
                ))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

fn after_panic(panic: &(dyn Any + Send)) -> Status {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is no text");
    incident(&format!("a handler panicked: {said}"))
}
