//! Streams that outlive a connection: opened again from where they were, with growing pauses.

use std::time::Duration;

use futures_util::stream::BoxStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Response, Status, Streaming};

use super::{Client, no_answer};
use crate::error::ClientError;
use crate::wire::WireError;

impl Client {
    /// What the server streams, from `cursor` on.
    ///
    /// `open` asks for what follows the cursor. `take` makes an item of a message and moves the cursor; `None`: the
    /// message is only a sign of life, or was seen before. The stream ends as the server's does, or with an error
    /// that a repeat does not mend, or after failing for [`Limits::reconnect`](super::Limits::reconnect) without a
    /// message.
    pub(super) fn follow<M, T, Opened>(
        &self,
        mut cursor: u64,
        silence: Duration,
        open: impl Fn(Self, u64) -> Opened + Send + 'static,
        take: impl Fn(&mut u64, M) -> Result<Option<T>, WireError> + Send + 'static,
    ) -> BoxStream<'static, Result<T, ClientError>>
    where
        M: Send + 'static,
        T: Send + 'static,
        Opened: Future<Output = Result<Response<Streaming<M>>, Status>> + Send + 'static,
    {
        let client = self.clone();
        Box::pin(async_stream::try_stream! {
            let limits = client.limits;
            // Counts from the first failure, not from the last message: the reader may have been away for long.
            let mut failing_since: Option<Instant> = None;
            let mut pause = limits.first_pause;
            loop {
                let error = match timeout(limits.answer, open(client.clone(), cursor)).await {
                    Err(_) => no_answer(&client.endpoint, limits.answer),
                    Ok(Err(status)) => client.error(status),
                    Ok(Ok(response)) => {
                        let mut messages = response.into_inner();
                        loop {
                            match timeout(silence, messages.message()).await {
                                Err(_) => break no_answer(&client.endpoint, silence),
                                Ok(Err(status)) => break client.error(status),
                                Ok(Ok(None)) => return,
                                Ok(Ok(Some(message))) => {
                                    failing_since = None;
                                    pause = limits.first_pause;
                                    if let Some(item) = take(&mut cursor, message)? {
                                        yield item;
                                    }
                                }
                            }
                        }
                    }
                };
                let is_worth_it = matches!(error, ClientError::Unavailable(_) | ClientError::TimedOut(_));
                let failing_for = failing_since.get_or_insert_with(Instant::now).elapsed();
                if !is_worth_it || failing_for + pause > limits.reconnect {
                    Err(error)?;
                }
                sleep(pause).await;
                pause = (pause * 2).min(limits.longest_pause);
            }
        })
    }
}
