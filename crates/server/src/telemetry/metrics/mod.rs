//! What the service counts, and `/metrics`, where Prometheus reads it. It is behind the guard like everything else: the
//! bearer token on TCP, the user's own processes on the socket.
//!
//! | file | does |
//! |---|---|
//! | this one | what is counted while it happens |
//! | `sources` | what is looked at when somebody asks: store, GPUs, process, disk |
//! | `process` | this process, by `/proc` |
//! | `page`, `commits` | all of it as OpenMetrics text |
//! | `layer` | the answer to `GET /metrics` |
//!
//! Names follow Prometheus: base units, `_total` for what only grows. No label can take more values than the program
//! has names for, but for two: ids of jobs that a worker is at, one for each GPU, and GPUs.

mod commits;
mod layer;
mod page;
mod process;
mod sources;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tonic::Code;

pub use layer::{Metered, PATH};
pub use sources::Sources;

use crate::connections::Connections;
use crate::guard::Refusal;

/// Between two lines about refusals for the same reason.
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Bounds of how long the store's writer takes to answer, in seconds. It gathers events for 50 ms before it commits.
const ANSWER_BOUNDS_SECS: [f64; 9] = [0.001, 0.005, 0.02, 0.06, 0.1, 0.25, 1.0, 5.0, 20.0];

type Labels<const N: usize> = [(&'static str, String); N];

/// What the service counts. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    requests: Family<Labels<2>, Counter>,
    refused: Family<Labels<1>, Counter>,
    n_in_flight: AtomicU64,
    answers: Histogram,
    said: Mutex<HashMap<&'static str, Instant>>,
    listeners: Mutex<Vec<(&'static str, Connections)>>,
    sources: OnceLock<Sources>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            refused: Family::default(),
            n_in_flight: AtomicU64::new(0),
            answers: Histogram::new(ANSWER_BOUNDS_SECS),
            said: Mutex::default(),
            listeners: Mutex::default(),
            sources: OnceLock::new(),
        }
    }
}

impl Metrics {
    /// What is looked at when somebody asks. The first that is given stays.
    pub fn look_at(&self, sources: Sources) {
        let _ = self.0.sources.set(sources);
    }

    /// Counts the connections of a listener too, under a name such as `unix`.
    pub fn listens(&self, name: &'static str, connections: Connections) {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).push((name, connections));
    }

    /// A request was refused at the door. Whether it is worth a line in the log: not where there was one for the same
    /// reason a moment ago.
    pub(crate) fn refused(&self, why: Refusal) -> bool {
        self.0.refused.get_or_create(&[("reason", why.reason().to_owned())]).inc();
        let mut said = self.0.said.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match said.get(why.reason()) {
            Some(last) if now.duration_since(*last) < LINE_EVERY => false,
            Some(_) | None => {
                said.insert(why.reason(), now);
                true
            }
        }
    }

    /// A request was let in.
    pub(crate) fn begun(&self) {
        self.0.n_in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Its answer is complete, or its caller left (`None`).
    pub(crate) fn ended(&self, path: &str, code: Option<Code>) {
        self.0.n_in_flight.fetch_sub(1, Ordering::Relaxed);
        // Callers choose the path of what is not there, and each would be a label of its own.
        let is_there = code.is_some_and(|code| code != Code::Unimplemented);
        let may_be_there = path.len() < 100 && (path.starts_with("/ftl.v1.") || path.starts_with("/grpc."));
        let method = if is_there || (code.is_none() && may_be_there) { path } else { "unknown" };
        let labels = [("method", method.to_owned()), ("code", name_of(code).to_owned())];
        self.0.requests.get_or_create(&labels).inc();
    }

    /// The store's writer answered after so long.
    pub(crate) fn writer_answered(&self, after: Duration) {
        self.0.answers.observe(after.as_secs_f64());
    }
}

/// A code as gRPC writes it.
fn name_of(code: Option<Code>) -> &'static str {
    let Some(code) = code else { return "LEFT" };
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
