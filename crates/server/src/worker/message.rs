//! What server and worker say to each other, one message in a [`frame`](super::frame).

use std::path::PathBuf;

use ftl_core::dataset::{CheckProgress, DataCheck, DatasetReport, PreviewRow, RenderedRow, SplitBy};
use ftl_core::inference::{InferencePart, Prompt, SamplingSpec};
use ftl_core::job::Phase;
use ftl_core::model::ModelFacts;
use ftl_core::plan::MemoryPlan;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{EventRecord, JobSpec, Problem};
use serde::{Deserialize, Serialize};

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// The first frame, once.
    Task {
        /// Comes back in [`FromWorker::Hello`].
        nonce: String,
        /// What to do.
        task: Task,
    },
    /// A person asks the training to save and stop.
    Stop,
    /// A person asks the training to save after the step under way and to go on.
    Save,
    /// Answer a prompt; only for [`Task::Infer`].
    Ask {
        /// Comes back with each part of the answer.
        id: u64,
        /// What is gone on from.
        prompt: Prompt,
        /// How tokens are chosen.
        sampling: SamplingSpec,
    },
    /// Nobody wants this answer any more.
    Abort {
        /// Its id.
        id: u64,
    },
}

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Train a job.
    Train {
        /// What it is asked to do, with every default and absolute paths.
        spec: Box<JobSpec>,
        /// The job's directory.
        directory: PathBuf,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// The checkpoint of another job that the run starts from.
        #[serde(default)]
        from: Option<PathBuf>,
        /// Where to compute, whatever the spec says.
        #[serde(default)]
        given: Option<Given>,
    },
    /// Describe a model directory.
    InspectModel {
        /// The directory.
        path: PathBuf,
    },
    /// Judge every row of data.
    CheckData {
        /// Which, and what they are held against, with absolute paths.
        check: Box<DataCheck>,
    },
    /// Show a row of a data file as a model is trained on it.
    RenderSample {
        /// The file.
        path: PathBuf,
        /// Its format; `auto`: find out.
        format: DataFormat,
        /// Which row, from 1.
        row: u64,
        /// The model's directory.
        model: PathBuf,
        /// A Jinja file that replaces the model's chat template.
        chat_template: Option<PathBuf>,
    },
    /// Write the rows of a data file into two new ones.
    SplitData {
        /// The file.
        path: PathBuf,
        /// Its format; `auto`: find out.
        format: DataFormat,
        /// Which row goes where.
        by: SplitBy,
        /// The file for what is trained on.
        train: PathBuf,
        /// The file for what is held out.
        eval: PathBuf,
    },
    /// Show some rows of a data file.
    Preview {
        /// The file.
        path: PathBuf,
        /// Its format; `auto`: find out.
        format: DataFormat,
        /// The rows after the one with this number.
        after_row: u64,
        /// At most this many.
        n_rows: u32,
    },
    /// Say how much memory a job would take.
    PlanMemory {
        /// What it is asked to do, with absolute paths.
        spec: Box<JobSpec>,
    },
    /// Compare a checkpoint with what was written.
    VerifyCheckpoint {
        /// Its directory.
        path: PathBuf,
    },
    /// Copy of a checkpoint what other programs load.
    ExportCheckpoint {
        /// Its directory.
        path: PathBuf,
        /// The new directory.
        to: PathBuf,
    },
    /// Load weights, then answer one [`ToWorker::Ask`] after another.
    Infer {
        /// The model's directory.
        model: PathBuf,
        /// A PEFT adapter directory.
        adapter: Option<PathBuf>,
        /// Where to compute, as in `device.kind`.
        device: String,
    },
}

/// Where a worker is to compute: the place that the service holds for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// As in `device.kind`.
    pub device: String,
    /// One sentence on the choice for the user, where it was the service's.
    pub why: Option<String>,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// The task was read, and where it trains, the job's directory is locked.
    Hello {
        /// As it came with the task.
        nonce: String,
        /// The worker's process.
        pid: u32,
    },
    /// What happened, in order. Each is in the attempt's journal already, under the same number.
    Events(Vec<EventRecord>),
    /// It is alive; sent every 2 seconds by a thread that does nothing else.
    Heartbeat {
        /// Steps taken, as far as they were reported.
        step: u64,
        /// What it is busy with; `None`: it has not begun.
        phase: Option<Phase>,
        /// Grows as the work gets on, also within a step.
        pulse: u64,
    },
    /// The description of a model.
    Model(ModelFacts),
    /// How far a check has come.
    CheckProgress(CheckProgress),
    /// What was found in data.
    Report(Box<DatasetReport>),
    /// A row as a model is trained on it.
    Rendered(RenderedRow),
    /// One row of a preview.
    Row(PreviewRow),
    /// How much memory a job would take.
    Plan(MemoryPlan),
    /// What a comparison came to.
    Verified {
        /// The difference, where there is one.
        problem: Option<Problem>,
    },
    /// A copy is complete.
    Copied {
        /// The size of its files together.
        bytes: u64,
    },
    /// A part of an answer.
    Part {
        /// Which answer.
        id: u64,
        /// The part.
        part: InferencePart,
    },
    /// There is no answer to this; the next question may be asked.
    AnswerRefused {
        /// Which question.
        id: u64,
        /// Why.
        problems: Vec<Problem>,
    },
    /// The task ended early, for these reasons; the exit code says of which sort they are. The last frame.
    Refused {
        /// The reasons.
        problems: Vec<Problem>,
    },
    /// The training saved and stopped, as it was asked to. The last frame.
    Stopped {
        /// Steps taken.
        step: u64,
    },
    /// The task is done. The last frame.
    Finished,
}

impl FromWorker {
    /// Whether nothing follows.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Stopped { .. } | Self::Finished => true,
            Self::Hello { .. }
            | Self::Events(_)
            | Self::Heartbeat { .. }
            | Self::Model(_)
            | Self::CheckProgress(_)
            | Self::Report(_)
            | Self::Rendered(_)
            | Self::Row(_)
            | Self::Plan(_)
            | Self::Verified { .. }
            | Self::Copied { .. }
            | Self::Part { .. }
            | Self::AnswerRefused { .. } => false,
        }
    }
}
