//! A worker that trains, as the supervisor of jobs sees it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use ftl_core::job::{Exit, Phase};
use ftl_core::{EventRecord, JobSpec, Problem};

use super::connection::Connection;
use super::exit::explain;
use super::journal::{self, read_journal};
use super::message::{FromWorker, Given, Task, ToWorker};
use crate::crash_reports::CrashReports;
use crate::error::ServiceError;

/// Events that are handed out at once.
const MOST_EVENTS: usize = 1_000;
/// How much of the log explains an ending.
const TAIL_BYTES: usize = 4 << 10;

/// What to train.
#[derive(Clone, Debug)]
pub struct TrainTask {
    /// What it is asked to do, with every default and absolute paths.
    pub spec: JobSpec,
    /// The job's directory.
    pub directory: PathBuf,
    /// Which attempt this is, from 1. The first begins a run, later ones go on from the newest checkpoint.
    pub attempt: u32,
    /// The checkpoint of another job that the run starts from, in every attempt that finds none of its own; `None`: it
    /// starts at step 0.
    pub from: Option<PathBuf>,
    /// Where to compute, whatever the spec says; `None`: where the spec says.
    pub given: Option<Given>,
}

/// What a worker reports while it trains.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// It holds the lock of the job's directory and begins. Comes up to a minute after the start where an orphan of
    /// an earlier server still saves; until then there are no heartbeats.
    Started,
    /// What happened, in order and without gaps: `seq` counts from 1 within the attempt.
    Events(Vec<EventRecord>),
    /// It is alive; comes every 2 seconds.
    Heartbeat {
        /// Steps taken, as far as they were reported.
        step: u64,
        /// What it is busy with; `None`: it has not begun.
        phase: Option<Phase>,
        /// Grows as the work gets on, also within a step.
        pulse: u64,
    },
}

/// How a training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// The class.
    pub exit: Exit,
    /// What is wrong, and what to do.
    pub problems: Vec<Problem>,
    /// The end of what the worker printed, where it died over something.
    pub log_tail: Option<String>,
    /// Whether the result is on disk.
    pub finished: bool,
}

/// A worker that trains. Dropping it kills the worker, which then goes on from its last checkpoint in a later attempt.
#[derive(Debug)]
pub struct Training {
    connection: Connection,
    reports: CrashReports,
    directory: PathBuf,
    attempt: u32,
    /// The number of the last event that was handed out or waits here.
    last_seq: u64,
    waiting: VecDeque<Report>,
    /// Whether the journal was read once more after the last frame.
    is_complete: bool,
}

impl Training {
    pub(super) async fn start(
        program: &Path,
        reports: CrashReports,
        task: TrainTask,
    ) -> Result<Self, ServiceError> {
        let TrainTask { spec, directory, attempt, from, given } = task;
        let log = journal::log_path(&directory, attempt);
        let task = Task::Train { spec: Box::new(spec), directory: directory.clone(), attempt, from, given };
        let connection = Connection::open(program, log, task).await?;
        Ok(Self {
            connection,
            reports,
            directory,
            attempt,
            last_seq: 0,
            waiting: VecDeque::new(),
            is_complete: false,
        })
    }

    /// The worker's process.
    pub fn pid(&self) -> u32 {
        self.connection.process.pid()
    }

    /// The next report; `None`: the worker has ended, and everything that it reported was handed out, also what it
    /// wrote down and could not send any more. May be cancelled and called again.
    pub async fn next(&mut self) -> Option<Report> {
        loop {
            if let Some(report) = self.waiting.pop_front() {
                return Some(report);
            }
            if self.is_complete {
                return None;
            }
            match self.connection.next().await {
                Some(frame) => self.take(frame),
                None => self.complete().await,
            }
            while matches!(self.waiting.back(), Some(Report::Events(events)) if events.len() < MOST_EVENTS) {
                let Some(frame) = self.connection.next_at_once() else { break };
                self.take(frame);
            }
        }
    }

    fn take(&mut self, frame: FromWorker) {
        match frame {
            FromWorker::Hello { .. } => self.waiting.push_back(Report::Started),
            FromWorker::Heartbeat { step, phase, pulse } => {
                self.waiting.push_back(Report::Heartbeat { step, phase, pulse });
            }
            FromWorker::Events(events) => self.events(events),
            // `Connection` has taken note of how it ends.
            FromWorker::Refused { .. } | FromWorker::Stopped { .. } | FromWorker::Finished => {}
            FromWorker::Model(_)
            | FromWorker::CheckProgress(_)
            | FromWorker::Report(_)
            | FromWorker::Rendered(_)
            | FromWorker::Row(_)
            | FromWorker::Plan(_)
            | FromWorker::Verified { .. }
            | FromWorker::Copied { .. }
            | FromWorker::Part { .. }
            | FromWorker::AnswerRefused { .. } => {
                tracing::warn!(pid = self.pid(), "a worker that trains sent the answer to another task");
            }
        }
    }

    fn events(&mut self, events: impl IntoIterator<Item = EventRecord>) {
        for record in events {
            if record.seq <= self.last_seq {
                continue;
            }
            self.last_seq = record.seq;
            match self.waiting.back_mut() {
                Some(Report::Events(waiting)) if waiting.len() < MOST_EVENTS => waiting.push(record),
                Some(_) | None => self.waiting.push_back(Report::Events(vec![record])),
            }
        }
    }

    /// Reads what the worker wrote into its journal and did not send before it died.
    async fn complete(&mut self) {
        // It may still be writing until it is gone.
        self.connection.process.ended().await;
        let (directory, attempt, last_seq) = (self.directory.clone(), self.attempt, self.last_seq);
        let missed = tokio::task::spawn_blocking(move || {
            read_journal(&directory, attempt, last_seq)?.collect::<Result<Vec<_>, _>>()
        });
        match missed.await {
            Ok(Ok(missed)) => self.events(missed),
            Ok(Err(error)) => tracing::warn!(%error, "the journal of an attempt can't be read to its end"),
            Err(error) => tracing::warn!(%error, "the journal of an attempt was not read"),
        }
        self.is_complete = true;
    }

    /// Asks it to save and stop, for a person.
    pub fn stop(&self) {
        self.connection.send(&ToWorker::Stop).expect("a stop is a short frame");
    }

    /// Asks it to save after the step under way and to go on.
    pub fn save(&self) {
        self.connection.send(&ToWorker::Save).expect("a request to save is a short frame");
    }

    /// Asks it to save and end, with SIGTERM.
    pub fn terminate(&self) {
        self.connection.process.signal(libc::SIGTERM);
    }

    /// Whether its process has ended; reports of it may still come.
    pub fn has_ended(&self) -> bool {
        self.connection.process.has_ended()
    }

    /// Whether somebody has paused its process (SIGSTOP, a debugger).
    pub fn is_paused(&self) -> bool {
        self.connection.process.is_paused()
    }

    /// Kills it. What it saved stays.
    pub fn kill(&self) {
        self.connection.process.signal(libc::SIGKILL);
    }

    /// Waits for its end; reports that were not taken are lost, though not from the journal.
    pub async fn wait(self) -> Ending {
        let Self { connection, reports, .. } = self;
        let evidence = connection.wait().await;
        let (exit, problems) = explain(&evidence, &reports);
        let log_tail = match exit {
            Exit::Ok | Exit::Stopped | Exit::Data | Exit::Nan => None,
            Exit::OomGpu
            | Exit::OomHost
            | Exit::Crashed { .. }
            | Exit::SpawnFailed
            | Exit::Lost
            | Exit::Cancelled => evidence.log.as_deref().map(tail),
        };
        Ending { exit, problems, log_tail, finished: exit == Exit::Ok }
    }
}

fn tail(log: &str) -> String {
    log[log.ceil_char_boundary(log.len().saturating_sub(TAIL_BYTES))..].to_owned()
}
