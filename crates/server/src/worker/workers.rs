//! The way to every worker: what the rest of the service calls.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_stream::try_stream;
use ftl_core::dataset::{CheckPart, DataCheck, PreviewRow, RenderedRow, SplitBy};
use ftl_core::inference::InferencePart;
use ftl_core::model::ModelFacts;
use ftl_core::plan::MemoryPlan;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{JobSpec, Problem, ProblemKind};
use futures_util::Stream;
use tokio::sync::Semaphore;

use super::answers::{Answers, InferTask};
use super::connection::Connection;
use super::exit::{Evidence, explain};
use super::lock;
use super::message::{FromWorker, Task};
use super::spawn::task_log;
use super::training::{TrainTask, Training};
use crate::crash_reports::CrashReports;
use crate::error::ServiceError;
use crate::leases::{Leases, Machine};

/// Small tasks at once; they read whole files, and each has a tokenizer or a table of rows in memory.
const SMALL_TASKS: usize = 2;
/// A small task that takes longer is killed.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Which row to show, as trained on by which model.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderTask {
    /// The data file.
    pub path: PathBuf,
    /// Its format; `auto`: found out.
    pub format: DataFormat,
    /// Which row, from 1.
    pub row: u64,
    /// The model's directory.
    pub model: PathBuf,
    /// A Jinja file that replaces the model's chat template.
    pub chat_template: Option<PathBuf>,
}

/// Which rows to write where.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitTask {
    /// The data file.
    pub path: PathBuf,
    /// Its format; `auto`: found out.
    pub format: DataFormat,
    /// Which row goes where.
    pub by: SplitBy,
    /// The new file for what is trained on.
    pub train: PathBuf,
    /// The new file for what is held out.
    pub eval: PathBuf,
}

/// Starts workers. Cheap to clone; clones share the limits and the loaded weights.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    logs: PathBuf,
    small: Semaphore,
    n_started: AtomicU64,
    answers: Answers,
    leases: Leases,
}

impl Workers {
    /// Workers will be started as `program worker`. `/proc/self/exe` names the program that runs, also after an
    /// update has replaced its file. `logs` is where those keep their logs that train no job; what an earlier
    /// server left there is deleted.
    ///
    /// # Errors
    /// A directory that can't be made or emptied.
    pub fn start(program: PathBuf, logs: PathBuf) -> io::Result<Self> {
        Self::start_on(Machine::here(), program, logs)
    }

    /// [`Workers::start`] on a machine with other devices.
    ///
    /// # Errors
    /// As [`Workers::start`].
    pub fn start_on(machine: Machine, program: PathBuf, logs: PathBuf) -> io::Result<Self> {
        let leases = Leases::new(machine);
        fs::create_dir_all(&logs)?;
        for entry in fs::read_dir(&logs)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self(Arc::new(Inner {
            answers: Answers::new(program.clone(), logs.clone(), leases.clone()),
            leases,
            program,
            logs,
            small: Semaphore::new(SMALL_TASKS),
            n_started: AtomicU64::new(0),
        })))
    }

    /// Who computes where.
    pub fn leases(&self) -> &Leases {
        &self.0.leases
    }

    /// Starts to train. Whoever calls this holds the lease of the place.
    ///
    /// # Errors
    /// A worker that can't be started. Whatever it refuses later shows in [`Training::wait`].
    pub async fn train(&self, task: TrainTask) -> Result<Training, ServiceError> {
        Training::start(&self.0.program, crash_reports(&self.0.logs), task).await
    }

    /// Describes the model in a directory.
    ///
    /// # Errors
    /// Everything that is wrong with its files.
    pub async fn inspect_model(&self, path: PathBuf) -> Result<ModelFacts, ServiceError> {
        let mut facts = None;
        let take = |frame| {
            if let FromWorker::Model(found) = frame {
                facts = Some(found);
            }
        };
        self.small("inspect", Task::InspectModel { path }, take).await?;
        facts.ok_or_else(no_answer)
    }

    /// Judges every row of data: how far it has come, then the report. Dropping the stream ends the worker.
    ///
    /// The stream ends with an error where nothing could be judged.
    pub fn check(
        &self,
        check: DataCheck,
    ) -> impl Stream<Item = Result<CheckPart, ServiceError>> + Send + use<> {
        let inner = Arc::clone(&self.0);
        try_stream! {
            let _permit = inner.small.acquire().await.map_err(|_| ServiceError::ShuttingDown)?;
            let log = inner.task_log("check");
            let task = Task::CheckData { check: Box::new(check) };
            let mut worker = Connection::open(&inner.program, log.clone(), task).await?;
            let mut report = None;
            loop {
                // However large the data are: a worker that reads them says so all the time.
                let next = tokio::time::timeout(DEADLINE, worker.next()).await;
                match next.map_err(|_| no_progress())? {
                    None => break,
                    Some(FromWorker::CheckProgress(progress)) => yield CheckPart::Progress(progress),
                    Some(FromWorker::Report(found)) => report = Some(found),
                    Some(_) => {}
                }
            }
            judge(&worker.wait().await, &inner.logs)?;
            fs::remove_file(log)?;
            yield CheckPart::Report(report.ok_or_else(no_answer)?);
        }
    }

    /// A row of a data file as a model is trained on it.
    ///
    /// # Errors
    /// A row, file or model that can't be used.
    pub async fn render(&self, task: RenderTask) -> Result<RenderedRow, ServiceError> {
        let RenderTask { path, format, row, model, chat_template } = task;
        let mut rendered = None;
        let take = |frame| {
            if let FromWorker::Rendered(row) = frame {
                rendered = Some(row);
            }
        };
        self.small("render", Task::RenderSample { path, format, row, model, chat_template }, take).await?;
        rendered.ok_or_else(no_answer)
    }

    /// Writes the rows of a data file into two new ones.
    ///
    /// # Errors
    /// A file that can't be read or written, and a side that would be empty.
    pub async fn split(&self, task: SplitTask) -> Result<(), ServiceError> {
        let SplitTask { path, format, by, train, eval } = task;
        self.small("split", Task::SplitData { path, format, by, train, eval }, |_| {}).await
    }

    /// At most `n_rows` rows of a data file after the one with number `after_row`, each with what is wrong with it.
    ///
    /// # Errors
    /// A file that can't be read.
    pub async fn preview(
        &self,
        path: PathBuf,
        format: DataFormat,
        after_row: u64,
        n_rows: u32,
    ) -> Result<Vec<PreviewRow>, ServiceError> {
        let mut rows = Vec::new();
        let take = |frame| {
            if let FromWorker::Row(row) = frame {
                rows.push(row);
            }
        };
        self.small("preview", Task::Preview { path, format, after_row, n_rows }, take).await?;
        Ok(rows)
    }

    /// How much memory a job would take; `spec` has absolute paths.
    ///
    /// # Errors
    /// What is wrong with the spec, the model or the device.
    pub async fn plan_memory(&self, spec: JobSpec) -> Result<MemoryPlan, ServiceError> {
        let mut plan = None;
        let take = |frame| {
            if let FromWorker::Plan(found) = frame {
                plan = Some(found);
            }
        };
        self.small("plan", Task::PlanMemory { spec: Box::new(spec) }, take).await?;
        plan.ok_or_else(no_answer)
    }

    /// Compares a checkpoint with what was written; gives what is wrong with it.
    ///
    /// # Errors
    /// A worker that died over it.
    pub async fn verify_checkpoint(&self, path: PathBuf) -> Result<Option<Problem>, ServiceError> {
        let mut answer = None;
        let take = |frame| {
            if let FromWorker::Verified { problem } = frame {
                answer = Some(problem);
            }
        };
        self.small("verify", Task::VerifyCheckpoint { path }, take).await?;
        answer.ok_or_else(no_answer)
    }

    /// Copies of a checkpoint what other programs load into the new directory `to`; gives the size of its files.
    ///
    /// # Errors
    /// A damaged checkpoint, and a directory that can't be written.
    pub async fn export_checkpoint(&self, path: PathBuf, to: PathBuf) -> Result<u64, ServiceError> {
        let mut n_bytes = None;
        let take = |frame| {
            if let FromWorker::Copied { bytes } = frame {
                n_bytes = Some(bytes);
            }
        };
        self.small("export", Task::ExportCheckpoint { path, to }, take).await?;
        n_bytes.ok_or_else(no_answer)
    }

    /// Answers a prompt. A worker that has the same weights loaded is used again; one that has others is ended when
    /// it has given the answer that it is at. Dropping the stream stops the answer.
    ///
    /// # Errors
    /// A device that does not exist, or whose GPU is taken. Whatever the worker refuses comes as the stream's last item.
    pub async fn infer(
        &self,
        task: InferTask,
    ) -> Result<impl Stream<Item = Result<InferencePart, ServiceError>> + Send + use<>, ServiceError> {
        self.0.answers.ask(task).await
    }

    /// Whether no worker, also none of an earlier server, trains in this directory.
    ///
    /// # Errors
    /// A lock that can't be read.
    pub async fn lock_is_free(directory: &Path) -> Result<bool, ServiceError> {
        let directory = directory.to_owned();
        let is_free = tokio::task::spawn_blocking(move || lock::is_free(&directory)).await;
        Ok(is_free.map_err(|error| ServiceError::Internal(Box::new(error)))??)
    }

    /// Has a small task done; `take` is given its results.
    async fn small(
        &self,
        name: &str,
        task: Task,
        mut take: impl FnMut(FromWorker),
    ) -> Result<(), ServiceError> {
        let inner = &self.0;
        let _permit = inner.small.acquire().await.map_err(|_| ServiceError::ShuttingDown)?;
        let log = inner.task_log(name);
        let mut worker = Connection::open(&inner.program, log.clone(), task).await?;
        let work = async {
            while let Some(frame) = worker.next().await {
                take(frame);
            }
        };
        if tokio::time::timeout(DEADLINE, work).await.is_err() {
            return Err(no_progress());
        }
        let evidence = worker.wait().await;
        judge(&evidence, &inner.logs)?;
        // Only what explains a death is kept.
        fs::remove_file(log)?;
        Ok(())
    }
}

impl Inner {
    /// Where the next worker of a task writes.
    fn task_log(&self, name: &str) -> PathBuf {
        task_log(&self.logs, name, self.n_started.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where crashes are written down: the logs of workers are in a directory of the data directory.
fn crash_reports(logs: &Path) -> CrashReports {
    CrashReports::of(logs.parent().unwrap_or(logs))
}

/// Whether a task came to its end; its log was in the directory `logs`.
pub(super) fn judge(evidence: &Evidence, logs: &Path) -> Result<(), ServiceError> {
    use ftl_core::job::Exit;

    let (exit, problems) = explain(evidence, &crash_reports(logs));
    match exit {
        Exit::Ok => Ok(()),
        Exit::Data => Err(ServiceError::Invalid(problems)),
        Exit::Stopped
        | Exit::Nan
        | Exit::OomGpu
        | Exit::OomHost
        | Exit::Crashed { .. }
        | Exit::SpawnFailed
        | Exit::Lost
        | Exit::Cancelled => {
            tracing::warn!(?exit, log = evidence.log.as_deref().unwrap_or_default(), "a worker died");
            Err(ServiceError::Worker(problems.into_iter().next().unwrap_or_else(ended_early)))
        }
    }
}

fn ended_early() -> Problem {
    Problem::new(ProblemKind::Worker, "the worker process ended early").hint("try again")
}

fn no_progress() -> ServiceError {
    let minutes = DEADLINE.as_secs() / 60;
    let message = format!("the worker process was ended after {minutes} minutes without a result");
    let problem = Problem::new(ProblemKind::Worker, message);
    ServiceError::Worker(problem.hint("look whether the disk answers, or use a smaller file"))
}

fn no_answer() -> ServiceError {
    let message = "the worker process ended without an answer";
    ServiceError::Worker(Problem::new(ProblemKind::Worker, message).hint("try again"))
}
