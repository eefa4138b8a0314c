//! Datasets: files that stay where they are, what was found in them, and the report on whether they can be trained on.

mod finding;
mod kept;
mod page;
mod report;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::DatasetId;
use crate::spec::resolved::DataFormat;

pub use finding::{Code, Finding, Severity};
pub use kept::{
    CheckPart, CheckProgress, DataCheck, FileOwner, ImportSource, KeptReport, RenderedRow, RenderedText,
    RenderedToken, ReportSummary, SplitBy, Upload,
};
pub use report::{
    Bar, CodeCount, Compression, Container, Cut, DatasetReport, Duplicates, Encoding, FileReport, HeldOut,
    Histogram, Layout, RoleCount, RowCounts, Steps, TokenReport,
};

/// An imported dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Its id; `data.train` and `data.eval.path` take it in place of a path.
    pub id: DatasetId,
    /// What the user calls it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Whose the file is.
    pub owner: FileOwner,
    /// What the file held when it was last checked by itself.
    pub facts: DatasetFacts,
    /// What that check found, without a model and with the settings of the import; `None`: it was imported by a version
    /// that made no reports, and refused files with errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportSummary>,
    /// When it was imported.
    pub created_unix_ms: u64,
}

/// What a data file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// The format of its rows; `auto`: none was recognised.
    pub format: DataFormat,
    /// Rows.
    pub n_rows: u64,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// A row of a data file as its reader sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviewRow {
    /// Counts from 1.
    pub number: u64,
    /// The row as JSON.
    pub json: String,
    /// Why it can't be trained on.
    pub problem: Option<String>,
}
