//! The server's end of a worker: frames in and out, and how it ended.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ftl_core::{Problem, ProblemKind};
use tokio::sync::mpsc;

use super::exit::{Evidence, OomKiller, Work, oom_kills};
use super::frame::{self, FrameError};
use super::log;
use super::message::{FromWorker, Task, ToWorker};
use super::spawn::{Launch, Launched, Process, launch};
use crate::error::ServiceError;

/// Frames that wait to be looked at; then the worker's sending thread waits, its training does not.
const WAITING_FRAMES: usize = 64;
/// A worker takes a frame within this time, or it hangs.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// A worker that has closed its socket ends within this time, or is killed.
const EXIT_LIMIT: Duration = Duration::from_secs(30);
/// How much of a log is read to find out why a worker ended.
const READ_LOG_BYTES: u64 = 64 << 10;

/// A worker.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) process: Arc<Process>,
    frames: mpsc::Receiver<Result<FromWorker, FrameError>>,
    socket: UnixStream,
    log: PathBuf,
    oom_kills: Option<u64>,
    /// What its last frames said.
    evidence: Evidence,
}

impl Connection {
    /// Starts a worker and sends it the task. Its [`FromWorker::Hello`] is checked as it comes.
    pub(super) async fn open(program: &Path, log: PathBuf, task: Task) -> Result<Self, ServiceError> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| ServiceError::Internal(Box::new(error)))?;
        let nonce = format!("{:032x}", u128::from_le_bytes(bits));
        let work = match &task {
            Task::Train { .. } => Work::Training,
            Task::InspectModel { .. }
            | Task::CheckData { .. }
            | Task::RenderSample { .. }
            | Task::SplitData { .. }
            | Task::Preview { .. }
            | Task::PlanMemory { .. }
            | Task::VerifyCheckpoint { .. }
            | Task::ExportCheckpoint { .. }
            | Task::Infer { .. } => Work::Task,
        };
        // Before anything is started: a path that is not UTF-8 is the caller's to mend.
        let first = frame::encode(&ToWorker::Task { nonce: nonce.clone(), task }).map_err(unsendable)?;
        let oom_kills = oom_kills();
        let started = launch(Launch { program: program.to_owned(), log: log.clone() }).await;
        let Launched { process, socket } = started.map_err(|error| {
            tracing::error!(%error, program = %program.display(), "a worker process can't be started");
            let problem =
                Problem::new(ProblemKind::Worker, format!("a worker process can't be started: {error}"));
            ServiceError::Worker(
                problem.hint("look at the machine's limits of memory, processes and open files"),
            )
        })?;
        socket.set_write_timeout(Some(WRITE_LIMIT))?;
        let frames = read_frames(socket.try_clone()?, nonce)?;
        let connection = Self {
            process: Arc::new(process),
            frames,
            socket,
            log,
            oom_kills,
            evidence: Evidence { work, ..Evidence::default() },
        };
        connection.send_bytes(&first);
        Ok(connection)
    }

    /// Sends a frame. Where the worker is gone or hangs, that shows in what comes from it.
    pub(super) fn send(&self, message: &ToWorker) -> Result<(), ServiceError> {
        self.send_bytes(&frame::encode(message).map_err(unsendable)?);
        Ok(())
    }

    fn send_bytes(&self, bytes: &[u8]) {
        if let Err(error) = (&self.socket).write_all(bytes) {
            tracing::debug!(pid = self.process.pid(), %error, "a worker takes no frames");
        }
    }

    /// The next frame; `None`: there are no more. May be cancelled and called again.
    pub(super) async fn next(&mut self) -> Option<FromWorker> {
        match self.frames.recv().await? {
            Ok(frame) => {
                self.note(&frame);
                Some(frame)
            }
            Err(error) => {
                tracing::warn!(pid = self.process.pid(), %error, "a worker sent something that is no frame");
                self.evidence.garbage = Some(error.to_string());
                self.process.signal(libc::SIGKILL);
                self.frames.close();
                None
            }
        }
    }

    /// The next frame, where one is there already.
    pub(super) fn next_at_once(&mut self) -> Option<FromWorker> {
        match self.frames.try_recv() {
            Ok(Ok(frame)) => {
                self.note(&frame);
                Some(frame)
            }
            Ok(Err(error)) => {
                self.evidence.garbage = Some(error.to_string());
                self.process.signal(libc::SIGKILL);
                self.frames.close();
                None
            }
            Err(_) => None,
        }
    }

    fn note(&mut self, frame: &FromWorker) {
        match frame {
            FromWorker::Finished => self.evidence.finished = true,
            FromWorker::Stopped { .. } => self.evidence.stopped = true,
            FromWorker::Refused { problems } => self.evidence.problems.clone_from(problems),
            FromWorker::Hello { .. }
            | FromWorker::Events(_)
            | FromWorker::Heartbeat { .. }
            | FromWorker::Model(_)
            | FromWorker::CheckProgress(_)
            | FromWorker::Report(_)
            | FromWorker::Rendered(_)
            | FromWorker::Row(_)
            | FromWorker::Plan(_)
            | FromWorker::Verified { .. }
            | FromWorker::Copied { .. }
            | FromWorker::Part { .. }
            | FromWorker::AnswerRefused { .. } => {}
        }
    }

    /// Reads to the end and says how the worker ended.
    pub(super) async fn wait(mut self) -> Evidence {
        while self.next().await.is_some() {}
        if tokio::time::timeout(EXIT_LIMIT, self.process.ended()).await.is_err() {
            tracing::warn!(
                pid = self.process.pid(),
                "a worker said its last and did not end, so it is killed"
            );
            self.process.signal(libc::SIGKILL);
        }
        self.evidence.status = self.process.ended().await;
        self.evidence.log = log::tail(&self.log, READ_LOG_BYTES);
        let is_raised = matches!((self.oom_kills, oom_kills()), (Some(before), Some(now)) if now > before);
        self.evidence.oom_killer = if is_raised { OomKiller::Killed } else { OomKiller::Quiet };
        self.evidence
    }
}

/// Reads frames on a thread, up to the end of the stream or the first bad one.
fn read_frames(
    mut socket: UnixStream,
    nonce: String,
) -> Result<mpsc::Receiver<Result<FromWorker, FrameError>>, ServiceError> {
    let (sender, frames) = mpsc::channel(WAITING_FRAMES);
    thread::Builder::new().name("worker frames".to_owned()).spawn(move || {
        loop {
            let next = match frame::read(&mut socket) {
                Ok(None) => break,
                Ok(Some(frame)) => expected(frame, &nonce),
                Err(error) => Err(error),
            };
            let is_bad = next.is_err();
            if sender.blocking_send(next).is_err() || is_bad {
                break;
            }
        }
    })?;
    Ok(frames)
}

/// Refuses a greeting that answers another server's.
fn expected(frame: FromWorker, nonce: &str) -> Result<FromWorker, FrameError> {
    match &frame {
        FromWorker::Hello { nonce: answered, .. } if answered != nonce => {
            Err(FrameError::Io(std::io::Error::other("the greeting is meant for another server")))
        }
        FromWorker::Hello { .. }
        | FromWorker::Events(_)
        | FromWorker::Heartbeat { .. }
        | FromWorker::Model(_)
        | FromWorker::CheckProgress(_)
        | FromWorker::Report(_)
        | FromWorker::Rendered(_)
        | FromWorker::Row(_)
        | FromWorker::Plan(_)
        | FromWorker::Verified { .. }
        | FromWorker::Copied { .. }
        | FromWorker::Part { .. }
        | FromWorker::AnswerRefused { .. }
        | FromWorker::Refused { .. }
        | FromWorker::Stopped { .. }
        | FromWorker::Finished => Ok(frame),
    }
}

fn unsendable(error: FrameError) -> ServiceError {
    match error {
        FrameError::TooLong(bytes) => {
            let message =
                format!("the request has {bytes} bytes, more than the {} of one", frame::MAX_FRAME_BYTES);
            Problem::new(ProblemKind::InvalidValue, message).hint("send less text").into()
        }
        FrameError::Unwritable(error) => {
            let message = format!("the request can't be passed on: {error}");
            Problem::new(ProblemKind::InvalidValue, message).hint("use paths that are UTF-8").into()
        }
        FrameError::Torn | FrameError::Unknown(_) | FrameError::Io(_) => {
            ServiceError::Internal(Box::new(error))
        }
    }
}
