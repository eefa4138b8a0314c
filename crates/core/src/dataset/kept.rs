//! What a service keeps and says of datasets, besides the report itself.

use serde::{Deserialize, Serialize};

use super::finding::Severity;
use super::report::{DatasetReport, RowCounts};
use crate::job::Phase;
use crate::spec::DataSpec;

/// Whose the file of a dataset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOwner {
    /// The user's: it is referred to, and stays when the dataset is forgotten.
    User,
    /// The service's: it was uploaded or made by a split, and goes with the dataset.
    Service,
}

/// What data are held against.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataCheck {
    /// The files, and how they are to be read. In a request, ids of datasets may stand in place of paths.
    pub data: DataSpec,
    /// A model: a directory, or another name that the service knows; `None`: what needs a tokenizer is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A report that a service keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    /// What it comes to.
    pub summary: ReportSummary,
    /// What the data were held against.
    pub check: DataCheck,
    /// The report.
    pub report: DatasetReport,
}

/// What a report comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportSummary {
    /// Counts the reports of a dataset from 1.
    pub number: u64,
    /// When it was made.
    pub created_unix_ms: u64,
    /// The model that the data were held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether a job may train on the data.
    pub is_fit: bool,
    /// Their rows.
    pub rows: RowCounts,
    /// How often an error was found.
    pub n_errors: u64,
    /// How often something was found that most people would not want.
    pub n_warnings: u64,
}

impl ReportSummary {
    /// Of a report that is the dataset's `number`th.
    pub fn new(number: u64, created_unix_ms: u64, check: &DataCheck, report: &DatasetReport) -> Self {
        let found = |severity| {
            report.counts.iter().filter(|count| count.severity == severity).map(|count| count.rows).sum()
        };
        Self {
            number,
            created_unix_ms,
            model: check.model.clone(),
            is_fit: report.is_fit(),
            rows: report.rows,
            n_errors: found(Severity::Error),
            n_warnings: found(Severity::Warning),
        }
    }
}

/// How far a check has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckProgress {
    /// What it is busy with.
    pub phase: Phase,
    /// How much of it is done.
    pub done: Option<u64>,
    /// How much there is.
    pub total: Option<u64>,
    /// What both count: `bytes`, `rows`.
    pub unit: Option<String>,
}

/// What comes of a check, in order: any number of the first, then one of the second.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckPart {
    /// How far it has come.
    Progress(CheckProgress),
    /// What was found; the last part.
    Report(Box<DatasetReport>),
}

/// A file that is, or was, sent to a service. Its content names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// How many bytes the service has; the next one to send is at this offset.
    pub received_bytes: u64,
    /// Whether that is all, and it has this hash.
    pub is_complete: bool,
}

/// Where a dataset is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportSource {
    /// A file or folder on the machine of the service, absolute.
    Path(std::path::PathBuf),
    /// A complete upload.
    Upload {
        /// Which.
        sha256: String,
        /// What the file is called; its ending may tell how it is to be read.
        file_name: String,
    },
}

/// How a dataset is divided into two. Rows that are the same but for spaces and capitals stay together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitBy {
    /// By the content of each row: a row goes to the same side whatever else the file holds.
    Fraction {
        /// The share of rows that is held out, more than 0 and less than 1.
        eval: f64,
        /// Another seed chooses other rows.
        seed: u64,
    },
    /// By place: the last rows are held out.
    LastRows {
        /// How many.
        eval: u64,
    },
}

/// A row as a model is trained on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedRow {
    /// Counts from 1.
    pub number: u64,
    /// One text; of a preference pair the chosen one, then the rejected one.
    pub texts: Vec<RenderedText>,
}

/// A text as a model is trained on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedText {
    /// `text`, `chosen` or `rejected`.
    pub role: String,
    /// All of it, control tokens included.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<RenderedToken>,
}

/// A token of a rendered text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedToken {
    /// Its id.
    pub id: u32,
    /// What it stands for, as far as a token by itself stands for text.
    pub text: String,
    /// Whether the loss counts it.
    pub is_trained: bool,
}
