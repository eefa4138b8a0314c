//! The handle. It speaks core's types alone; one file for each service of `proto/`.

mod call;
mod checkpoints;
mod configs;
mod connect;
mod datasets;
mod follow;
mod inference;
mod jobs;
mod models;
mod predictions;
mod queue;
mod storage;
mod system;
mod uploads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::{Problem, ProblemKind};
use tokio::time::timeout;
use tonic::Status;

use crate::endpoint::Endpoint;
use crate::error::ClientError;

pub use checkpoints::Show;
pub use jobs::Follow;
pub use storage::BackedUp;
pub use uploads::FileToSend;

/// A connection to a server. Cheap to clone; clones share the connection, which is made anew where it breaks.
///
/// A call that changes nothing is repeated while the server is unavailable, up to five times in all and within its
/// time; so is [`Client::create_job`] with a request id. Every other call is sent once.
#[derive(Clone, Debug)]
pub struct Client {
    channel: connect::AuthorizedChannel,
    endpoint: Arc<Endpoint>,
    limits: Limits,
}

/// How patient a [`Client`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection, and for an answer that only needs the database.
    pub answer: Duration,
    /// For an answer that needs files or a model: imports, inspections, previews, and the removal of a job's files.
    pub long_answer: Duration,
    /// Before the first repeat; each further pause is twice as long.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// A stream that fails for so long, however often it was opened again, gives up with the last error.
    pub reconnect: Duration,
    /// A stream that is this silent is taken for broken. The server sends a sign of life every 15 seconds.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(10),
            long_answer: Duration::from_secs(600),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
            reconnect: Duration::from_secs(120),
            silence: Duration::from_secs(60),
        }
    }
}

impl Client {
    /// Connects, and asks the server who it is.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the endpoint can't be used, [`ClientError::Unavailable`] if nobody answers there,
    /// [`ClientError::Denied`] if the server does not talk to us.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        Self::connect_within(endpoint, Limits::default()).await
    }

    /// [`Client::connect`] with other limits.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_within(endpoint: &Endpoint, limits: Limits) -> Result<Self, ClientError> {
        endpoint.check().map_err(|problem| ClientError::Refused(vec![problem]))?;
        let connected = timeout(limits.answer, connect::channel(endpoint)).await;
        let channel = connected.unwrap_or_else(|_| Err(no_answer(endpoint, limits.answer)))?;
        let client = Self { channel, endpoint: Arc::new(endpoint.clone()), limits };
        client.greet().await?;
        Ok(client)
    }

    /// What a status means that a call ended with.
    fn error(&self, status: Status) -> ClientError {
        ClientError::at(named(&self.endpoint), status)
    }

    /// Where the server is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// An endpoint in an error.
fn named(endpoint: &Endpoint) -> String {
    format!("`{endpoint}`")
}

fn no_answer(endpoint: &Endpoint, limit: Duration) -> ClientError {
    ClientError::TimedOut(format!("{} gave no answer within {} s", named(endpoint), limit.as_secs_f64()))
}

/// A path of a request. Text that stands for another path would have the server open another file.
fn path_text(path: &Path) -> Result<String, ClientError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let shown = path.display();
        let what = format!("`{shown}` is no UTF-8, which a request can't carry");
        ClientError::Refused(vec![Problem::new(ProblemKind::InvalidValue, what).at("path").hint("rename it")])
    })
}
