//! Datasets: files that stay where they are, what was found in them, and the report on whether they can be trained on.

mod finding;
mod page;
mod report;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::id::DatasetId;
use crate::spec::resolved::DataFormat;

pub use finding::{Code, Finding, Severity};
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
    /// The file, which is referred to and not copied.
    pub path: PathBuf,
    /// What the file held when it was imported.
    pub facts: DatasetFacts,
    /// When it was imported.
    pub created_unix_ms: u64,
}

/// What a data file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// The format of its rows.
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
