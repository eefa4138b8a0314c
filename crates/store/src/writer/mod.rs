//! The one thread that writes. It owns the one connection that can.
//!
//! Changes of state are committed at once. Events wait up to [`GATHER`] for others, or until there are [`ENOUGH_ROWS`],
//! since each COMMIT waits for the disk: one row at a time is 164 rows a second, a thousand at a time 200,000. Nobody
//! is answered before COMMIT has returned, and whoever follows a job hears of it after that too.

mod commit;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use ftl_core::JobId;
use tracing::error;

use crate::append::{Append, Batch};
use crate::error::StoreError;
use crate::fault::{Fault, Outcome};
use crate::open::Lock;
use crate::reply::Answer;
use crate::times::Times;
use commit::Committer;
pub(crate) use commit::Open;

/// How long events wait for others.
const GATHER: Duration = Duration::from_millis(50);

/// Rows that are worth a transaction of their own.
const ENOUGH_ROWS: usize = 1_000;

/// Who is told of committed events: the job, and its highest number.
pub(crate) type OnCommit = Box<dyn Fn(&JobId, u64) + Send>;

/// What the thread is asked to do.
pub(crate) enum Message {
    /// To be committed by itself, at once.
    Now(Box<dyn Task>),
    /// To be committed with others.
    Append(Append),
    /// Nothing to be written: somebody asks whether the thread lives.
    Answer(Answer<()>),
}

/// Something to write in a transaction. It may be run twice, since a COMMIT may fail; what the first run found out is
/// forgotten then.
pub(crate) trait Task: Send {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Outcome<()>;
    /// Tells who asked. `Ok`: what `run` wrote is committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

/// A transaction that is open, and the jobs that will have new events by it.
pub(crate) struct Transaction<'a> {
    pub(crate) connection: &'a mut SqliteConnection,
    touched: Vec<(JobId, u64)>,
}

impl Transaction<'_> {
    /// Says that the job has events up to this number.
    pub(crate) fn touch(&mut self, job: &JobId, seq: u64) {
        match self.touched.iter_mut().find(|(id, _)| id == job) {
            Some((_, highest)) => *highest = (*highest).max(seq),
            None => self.touched.push((job.clone(), seq)),
        }
    }
}

/// A function as a [`Task`].
pub(crate) struct Work<F, T> {
    pub(crate) work: F,
    pub(crate) result: Option<T>,
    pub(crate) answer: Answer<T>,
}

impl<F, T> Task for Work<F, T>
where
    F: FnMut(&mut Transaction<'_>) -> Outcome<T> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Outcome<()> {
        self.result = None;
        self.result = Some((self.work)(transaction)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { work: _, result, answer } = *self;
        let result = committed.map(|()| result.expect("a task that was committed has run to its end"));
        // Nobody waits any more: the work is done all the same.
        let _ = answer.send(result);
    }
}

/// Starts the thread. It ends when the sender is dropped, after everything that was sent.
pub(crate) fn start(
    open: Open,
    on_commit: OnCommit,
    lock: Lock,
    times: Arc<Times>,
) -> Result<(Sender<Message>, JoinHandle<()>), StoreError> {
    let (sender, receiver) = channel();
    let committer = Committer::new(open).map_err(|Fault(error)| error)?;
    let writer = Writer { committer, on_commit, times, _lock: lock };
    let thread = std::thread::Builder::new().name("store-writer".to_owned());
    let thread = thread.spawn(|| writer.run(receiver)).map_err(|error| StoreError::Io(error.to_string()))?;
    Ok((sender, thread))
}

struct Writer {
    committer: Committer,
    on_commit: OnCommit,
    times: Arc<Times>,
    /// The last to go, so that nobody else opens the file while this connection has it.
    _lock: Lock,
}

impl Writer {
    #[expect(clippy::needless_pass_by_value, reason = "the thread owns its end of the channel")]
    fn run(mut self, messages: Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Now(task) => self.perform(task),
                Message::Append(append) => {
                    let (batch, next) = gather(append, &messages);
                    self.perform(Box::new(batch));
                    if let Some(task) = next {
                        self.perform(task);
                    }
                }
                Message::Answer(answer) => lives(answer),
            }
        }
    }

    fn perform(&mut self, mut task: Box<dyn Task>) {
        let began = Instant::now();
        // Tasks' own panics are caught further down. This is for the rest, since no writer means no store.
        let committed = catch_unwind(AssertUnwindSafe(|| self.committer.commit(task.as_mut())))
            .unwrap_or_else(|panic| Err(StoreError::Panicked(panic_text(panic.as_ref()).to_owned())));
        self.times.add(began.elapsed(), &committed);
        if let Err(StoreError::Panicked(text)) = &committed {
            error!(panic = text, "the thread that writes panicked, and goes on");
        }
        if let Ok(touched) = &committed {
            for (job, seq) in touched {
                let told = catch_unwind(AssertUnwindSafe(|| (self.on_commit)(job, *seq)));
                if let Err(panic) = told {
                    error!(job.id = %job, panic = panic_text(panic.as_ref()), "who follows a job panicked");
                }
            }
        }
        task.answer(committed.map(drop));
    }
}

/// Waits for more events, until there are enough, it takes too long, or something must be done at once.
fn gather(first: Append, messages: &Receiver<Message>) -> (Batch, Option<Box<dyn Task>>) {
    let until = Instant::now() + GATHER;
    let mut batch = Batch::new(first);
    while batch.n_rows() < ENOUGH_ROWS {
        match messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Message::Append(append)) => batch.push(append),
            Ok(Message::Now(task)) => return (batch, Some(task)),
            Ok(Message::Answer(answer)) => lives(answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    (batch, None)
}

/// Tells who asked that this thread works.
fn lives(answer: Answer<()>) {
    // Nobody waits any more.
    let _ = answer.send(Ok(()));
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

#[cfg(test)]
mod tests;
