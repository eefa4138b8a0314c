//! An answer that is on its way: awaited in async code, waited for elsewhere.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use crate::error::StoreError;

/// The answer to a question or a change. The work is done whether or not anybody waits for it.
#[must_use = "a change that is not waited for may fail unseen"]
#[derive(Debug)]
pub struct Reply<T>(Stage<T>);

#[derive(Debug)]
enum Stage<T> {
    /// Refused before it was sent to a thread; `None`: it was given out.
    Ready(Option<Result<T, StoreError>>),
    Sent(oneshot::AsyncReceiver<Result<T, StoreError>>),
}

/// Where the thread that does the work puts the answer.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

impl<T> Reply<T> {
    pub(crate) fn ready(result: Result<T, StoreError>) -> Self {
        Self(Stage::Ready(Some(result)))
    }

    pub(crate) fn channel() -> (Answer<T>, Self) {
        let (sender, receiver) = oneshot::async_channel();
        (sender, Self(Stage::Sent(receiver)))
    }

    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// What the store refuses, and [`StoreError::Closed`] where its thread is gone.
    pub fn wait(self) -> Result<T, StoreError> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut reply = pin!(self);
        loop {
            match reply.as_mut().poll(&mut context) {
                Poll::Ready(result) => return result,
                Poll::Pending => std::thread::park(),
            }
        }
    }
}

// Nothing in it is pinned: the channel's end lives on the heap.
impl<T> Unpin for Reply<T> {}

impl<T> Future for Reply<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Stage::Ready(result) => Poll::Ready(result.take().expect("a future is not polled after its end")),
            Stage::Sent(receiver) => {
                Pin::new(receiver).poll(context).map(|sent| sent.unwrap_or(Err(StoreError::Closed)))
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
