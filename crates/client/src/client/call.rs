//! One request, one answer: its deadline, and when it is repeated.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tonic::{Response, Status};

use super::{Client, no_answer};
use crate::error::ClientError;

/// How often a call is sent, the first time included.
const MAX_TRIES: u32 = 5;
/// The longest answer. A page of 1,000 preview rows may be long; tonic would refuse more than 4 MiB.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Whether a call may be sent again while the server is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nobody knows whether the first one was heard.
    Never,
    /// A second one does no harm.
    WhileUnavailable,
}

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// Whether it may be sent again.
    pub(super) repeat: Repeat,
    /// For all its tries and the pauses between them.
    pub(super) limit: Duration,
}

impl Client {
    /// For a call that changes nothing.
    pub(super) fn to_read(&self) -> Manner {
        Manner { repeat: Repeat::WhileUnavailable, limit: self.limits.answer }
    }

    /// For a call that changes nothing and for which the server reads files.
    pub(super) fn to_read_files(&self) -> Manner {
        Manner { repeat: Repeat::WhileUnavailable, limit: self.limits.long_answer }
    }

    /// For a call that changes something.
    pub(super) fn to_change(&self) -> Manner {
        Manner { repeat: Repeat::Never, limit: self.limits.answer }
    }

    /// For a call that changes something and for which the server works on files.
    pub(super) fn to_change_files(&self) -> Manner {
        Manner { repeat: Repeat::Never, limit: self.limits.long_answer }
    }

    /// A call. `send` sends the request through a stub; an `AsyncFn` would read better, but its future can't be shown
    /// to be `Send`.
    pub(super) async fn call<S: Clone, Q: Clone, A, Sent>(
        &self,
        manner: Manner,
        stub: S,
        request: Q,
        send: impl Fn(S, Q) -> Sent,
    ) -> Result<A, ClientError>
    where
        Sent: Future<Output = Result<Response<A>, Status>>,
    {
        let Manner { repeat, limit } = manner;
        let tries = async {
            let mut pause = self.limits.first_pause;
            let mut n_tries = 1;
            loop {
                let error = match send(stub.clone(), request.clone()).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) => self.error(status),
                };
                let is_worth_it = match repeat {
                    Repeat::Never => false,
                    Repeat::WhileUnavailable => matches!(error, ClientError::Unavailable(_)),
                };
                if !is_worth_it || n_tries == MAX_TRIES {
                    return Err(error);
                }
                sleep(pause).await;
                pause = (pause * 2).min(self.limits.longest_pause);
                n_tries += 1;
            }
        };
        timeout(limit, tries).await.unwrap_or_else(|_| Err(no_answer(&self.endpoint, limit)))
    }
}
