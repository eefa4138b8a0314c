//! Answers of models: one worker with loaded weights, which is used again as long as the same weights are asked.
//!
//! One answer at a time; others wait their turn. The worker ends when other weights are asked for, after a minute without
//! a question, or when a job wants its GPU, so that its memory is free for a training.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use ftl_core::inference::{InferencePart, Prompt, SamplingSpec};
use ftl_core::spec::resolved::DeviceKind;
use ftl_core::{Problem, ProblemKind};
use futures_util::Stream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::connection::Connection;
use super::message::{FromWorker, Task, ToWorker};
use super::spawn::task_log;
use super::workers::judge;
use crate::error::ServiceError;
use crate::leases::{Lease, Leases, taken};

/// A worker without a question is kept this long.
const IDLE: Duration = Duration::from_secs(60);
/// The weights are loaded, and each token is there, within this time, or the worker hangs.
const PART_LIMIT: Duration = Duration::from_secs(10 * 60);
/// An answer that nobody wants ends within this time: one token, or the pass over a long prompt.
const ABORT_LIMIT: Duration = Duration::from_secs(10);

/// What to answer, and with which weights.
#[derive(Clone, Debug, PartialEq)]
pub struct InferTask {
    /// The model's directory.
    pub model: PathBuf,
    /// A PEFT adapter directory.
    pub adapter: Option<PathBuf>,
    /// What is gone on from.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: SamplingSpec,
    /// Where to compute, as in `device.kind`; `None`: `auto`.
    pub device: Option<String>,
}

type Part = Result<InferencePart, ServiceError>;

/// The way to the worker that answers.
#[derive(Debug)]
pub(super) struct Answers {
    program: PathBuf,
    logs: PathBuf,
    leases: Leases,
    warm: Arc<Mutex<Option<Warm>>>,
    n_asked: AtomicU64,
}

/// A worker that has weights loaded, or loads them.
#[derive(Debug)]
struct Warm {
    weights: Weights,
    connection: Connection,
    /// Of the GPU that it computes on. Behind the connection, which ends first where this is dropped.
    lease: Option<Lease>,
    log: PathBuf,
    /// The last question.
    asked: u64,
    has_answered: bool,
}

/// What must be equal for a worker to be used again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Weights {
    model: PathBuf,
    adapter: Option<PathBuf>,
    /// As it was asked for.
    device: DeviceKind,
    /// The files' names, sizes and times: a model that is written anew is loaded anew.
    files: Vec<(OsString, u64, Option<SystemTime>)>,
}

struct Question {
    id: u64,
    weights: Weights,
    prompt: Prompt,
    sampling: SamplingSpec,
}

impl Answers {
    pub(super) fn new(program: PathBuf, logs: PathBuf, leases: Leases) -> Self {
        Self { program, logs, leases, warm: Arc::default(), n_asked: AtomicU64::new(0) }
    }

    pub(super) async fn ask(
        &self,
        task: InferTask,
    ) -> Result<impl Stream<Item = Part> + Send + use<>, ServiceError> {
        let InferTask { model, adapter, prompt, sampling, device } = task;
        let device: DeviceKind =
            device.as_deref().unwrap_or("auto").parse().map_err(|problem: Problem| problem.at("device"))?;
        let read = tokio::task::spawn_blocking(move || {
            let mut files = files_of(&model);
            files.extend(adapter.iter().flat_map(|adapter| files_of(adapter)));
            Weights { model, adapter, device, files }
        });
        let weights = read.await.map_err(|error| ServiceError::Internal(Box::new(error)))?;
        let id = 1 + self.n_asked.fetch_add(1, Ordering::Relaxed);
        let question = Question { id, weights, prompt, sampling };
        // Without a limit, since an answer has one: a reader that is slow does not keep the worker from the next.
        let (parts, stream) = mpsc::unbounded_channel();
        let log = task_log(&self.logs, "infer", id);
        let worker = Start { program: self.program.clone(), log, leases: self.leases.clone() };
        tokio::spawn(answer(Arc::clone(&self.warm), worker, question, parts));
        Ok(UnboundedReceiverStream::new(stream))
    }
}

/// How a worker is started.
struct Start {
    program: PathBuf,
    log: PathBuf,
    leases: Leases,
}

/// What became of the worker.
enum After {
    Keep,
    End,
}

async fn answer(
    warm: Arc<Mutex<Option<Warm>>>,
    start: Start,
    question: Question,
    parts: mpsc::UnboundedSender<Part>,
) {
    let mut worker = tokio::select! {
        worker = warm.lock() => worker,
        () = parts.closed() => return,
    };
    let is_fit = |warm: &Warm| warm.weights == question.weights && !warm.connection.process.has_ended();
    // One question more would keep the job waiting that wants the place.
    if let Some(lease) =
        worker.as_ref().and_then(|warm| warm.lease.as_ref()).filter(|lease| lease.is_wanted())
    {
        let refusal = taken(&[lease.place()]);
        end(worker.take()).await;
        // On the CPU it is in nobody's way.
        if question.weights.device != DeviceKind::Cpu {
            let _ = parts.send(Err(ServiceError::Precondition(refusal)));
            return;
        }
    }
    if !worker.as_ref().is_some_and(is_fit) {
        end(worker.take()).await;
        match load(start, question.weights.clone()).await {
            Ok(loaded) => *worker = Some(loaded),
            Err(error) => {
                // Whoever asked may be gone.
                let _ = parts.send(Err(error));
                return;
            }
        }
    }
    let id = question.id;
    let Some(loaded) = worker.as_mut() else { return };
    loaded.asked = id;
    match converse(loaded, question, &parts).await {
        After::Keep => {
            let wanted = loaded.lease.as_ref().map(Lease::wanted);
            drop(worker);
            tokio::spawn(end_if_idle(Arc::downgrade(&warm), id, wanted));
        }
        After::End => {
            let Some(Warm { connection, lease, log, .. }) = worker.take() else { return };
            let evidence = connection.wait().await;
            drop(lease);
            match judge(&evidence, log.parent().unwrap_or(&log)) {
                Ok(()) => {
                    let message = "the worker process ended in the middle of an answer";
                    let problem = Problem::new(ProblemKind::Worker, message).hint("try again");
                    let _ = parts.send(Err(ServiceError::Worker(problem)));
                }
                Err(error) => {
                    if matches!(error, ServiceError::Invalid(_)) {
                        remove(&log);
                    }
                    let _ = parts.send(Err(error));
                }
            }
        }
    }
}

/// Starts a worker in the place that the weights are asked for.
async fn load(start: Start, weights: Weights) -> Result<Warm, ServiceError> {
    let Start { program, log, leases } = start;
    let (device, lease) = leases.for_answer(weights.device).await?;
    let Weights { model, adapter, device: _, files: _ } = weights.clone();
    let task = Task::Infer { model, adapter, device: device.to_string() };
    let connection = Connection::open(&program, log.clone(), task).await?;
    Ok(Warm { weights, connection, lease, log, asked: 0, has_answered: false })
}

/// Passes one answer on.
async fn converse(worker: &mut Warm, question: Question, parts: &mpsc::UnboundedSender<Part>) -> After {
    let Question { id, weights: _, prompt, sampling } = question;
    if let Err(error) = worker.connection.send(&ToWorker::Ask { id, prompt, sampling }) {
        let _ = parts.send(Err(error));
        return After::Keep;
    }
    let mut deadline = Instant::now() + PART_LIMIT;
    let mut is_wanted = true;
    loop {
        let frame = tokio::select! {
            frame = worker.connection.next() => frame,
            () = parts.closed(), if is_wanted => {
                is_wanted = false;
                if !worker.has_answered {
                    // It may be loading for minutes yet.
                    worker.connection.process.signal(libc::SIGKILL);
                    return After::End;
                }
                deadline = Instant::now() + ABORT_LIMIT;
                if worker.connection.send(&ToWorker::Abort { id }).is_err() {
                    return After::End;
                }
                continue;
            }
            () = sleep_until(deadline) => {
                tracing::warn!(pid = worker.connection.process.pid(), "a worker that answers hangs, so it is killed");
                worker.connection.process.signal(libc::SIGKILL);
                return After::End;
            }
        };
        match frame {
            None => return After::End,
            Some(FromWorker::Part { id: of, part }) if of == id => {
                worker.has_answered = true;
                if is_wanted {
                    deadline = Instant::now() + PART_LIMIT;
                }
                let is_last = matches!(part, InferencePart::Finished { .. });
                let _ = parts.send(Ok(part));
                if is_last {
                    return After::Keep;
                }
            }
            Some(FromWorker::AnswerRefused { id: of, problems }) if of == id => {
                worker.has_answered = true;
                let _ = parts.send(Err(ServiceError::Invalid(problems)));
                return After::Keep;
            }
            Some(
                FromWorker::Part { .. }
                | FromWorker::AnswerRefused { .. }
                | FromWorker::Hello { .. }
                | FromWorker::Heartbeat { .. }
                | FromWorker::Refused { .. }
                | FromWorker::Stopped { .. }
                | FromWorker::Finished
                | FromWorker::Events(_)
                | FromWorker::Model(_)
                | FromWorker::CheckProgress(_)
                | FromWorker::Report(_)
                | FromWorker::Rendered(_)
                | FromWorker::Row(_)
                | FromWorker::Plan(_)
                | FromWorker::Verified { .. }
                | FromWorker::Copied { .. },
            ) => {}
        }
    }
}

/// Ends a worker and waits until its memory is free.
async fn end(worker: Option<Warm>) {
    let Some(Warm { connection, lease, log, .. }) = worker else { return };
    connection.process.signal(libc::SIGKILL);
    connection.wait().await;
    drop(lease);
    remove(&log);
}

/// Ends the worker when it was idle for long, or a job wants its place.
async fn end_if_idle(
    warm: Weak<Mutex<Option<Warm>>>,
    asked: u64,
    wanted: Option<impl Future<Output = ()> + Send>,
) {
    let wanted = async {
        match wanted {
            Some(wanted) => wanted.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = sleep(IDLE) => {}
        () = wanted => {}
    }
    let Some(warm) = warm.upgrade() else { return };
    let mut worker = warm.lock().await;
    if worker.as_ref().is_some_and(|worker| worker.asked == asked) {
        end(worker.take()).await;
    }
}

fn remove(log: &Path) {
    if let Err(error) = fs::remove_file(log) {
        tracing::debug!(%error, "the log of a worker can't be deleted");
    }
}

/// What a directory holds, without opening a file of it.
fn files_of(directory: &Path) -> Vec<(OsString, u64, Option<SystemTime>)> {
    // A directory that can't be listed is the worker's to refuse.
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let file = |entry: fs::DirEntry| {
        // Follows links: the Hugging Face cache consists of them.
        let metadata = fs::metadata(entry.path()).ok()?;
        Some((entry.file_name(), metadata.len(), metadata.modified().ok()))
    };
    let mut files: Vec<_> = entries.flatten().filter_map(file).collect();
    files.sort();
    files
}
