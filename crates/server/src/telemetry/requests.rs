//! A span for each request that was let in, and a line with its code and time when it is answered; the metrics count
//! it. For a stream that is its end. Those that were not let in are the guard's to tell of.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span, debug, info_span};

use super::metrics::Metrics;

/// Gives every request a span. Stands below what turns gRPC-Web into gRPC, so that the codes of both are seen.
#[derive(Clone, Debug, Default)]
pub struct TraceRequests(pub Metrics);

impl<S> Layer<S> for TraceRequests {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { metrics: self.0.clone(), inner }
    }
}

/// A service whose requests have spans. See [`TraceRequests`].
#[derive(Clone, Debug)]
pub struct Traced<S> {
    metrics: Metrics,
    inner: S,
}

impl<S> Service<Request<Body>> for Traced<S>
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
        let span = info_span!("request", method = request.uri().path());
        self.metrics.begun();
        let mut line = Line {
            span: span.clone(),
            path: request.uri().path().to_owned(),
            metrics: self.metrics.clone(),
            began: Instant::now(),
            code: None,
        };
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let response = answer.await?;
                // An error without a message before it comes as headers alone.
                line.code = code_of(response.headers());
                Ok(response.map(|body| Body::new(TracedBody { body, line })))
            }
            .instrument(span),
        )
    }
}

/// What is written at the end of a request, however it ends.
struct Line {
    span: Span,
    path: String,
    metrics: Metrics,
    began: Instant,
    /// `None`: the caller left before.
    code: Option<Code>,
}

impl Drop for Line {
    fn drop(&mut self) {
        let Self { span, path, metrics, began, code } = self;
        metrics.ended(path, *code);
        let _entered = span.enter();
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match code {
            Some(code) => debug!(?code, millis, "a request was answered"),
            None => debug!(millis, "a caller left before its answer was complete"),
        }
    }
}

struct TracedBody {
    body: Body,
    line: Line,
}

impl http_body::Body for TracedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let span = self.line.span.clone();
        let _entered = span.enter();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
        {
            self.line.code = code_of(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}
