//! The answer to `GET /metrics`.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::warn;

use super::Metrics;
use super::page::page;

/// Where the metrics are.
pub const PATH: &str = "/metrics";
/// <https://prometheus.io/docs/specs/om/open_metrics_spec/#content-type>
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl<S> Layer<S> for Metrics {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered { metrics: self.clone(), inner }
    }
}

/// A service with `/metrics` beside it.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    metrics: Metrics,
    inner: S,
}

impl<S> Service<Request<Body>> for Metered<S>
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
        if request.uri().path() != PATH {
            return Box::pin(self.inner.call(request));
        }
        if request.method() != Method::GET {
            let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "metrics are read with GET\n".to_owned());
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return Box::pin(async { Ok(refusal) });
        }
        let metrics = self.metrics.clone();
        Box::pin(async move { Ok(metrics.answer().await) })
    }
}

impl Metrics {
    async fn answer(&self) -> Response<Body> {
        let moment = match self.0.sources.get() {
            Some(sources) => match sources.look().await {
                Ok(moment) => Some(moment),
                Err(error) => {
                    warn!(%error, "the metrics of the store can't be read");
                    let message = "the store does not answer; the log of the service says why\n";
                    return text(StatusCode::SERVICE_UNAVAILABLE, message.to_owned());
                }
            },
            None => None,
        };
        match page(&self.0, moment.as_ref()) {
            Ok(page) => {
                let mut response = Response::new(Body::new(page));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(KIND));
                response
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

fn text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
