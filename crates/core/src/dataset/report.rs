//! What a dataset holds, what is wrong with it, and what training would make of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::finding::{Code, Finding, Severity};
use crate::spec::resolved::{DataFormat, ExcessLength};

/// The report on a dataset. Without a model `tokens` and `steps` are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// The files, in order; those for training before the one for evaluation.
    pub files: Vec<FileReport>,
    /// Rows of all files.
    pub rows: RowCounts,
    /// How often each thing was found: errors first, then the most frequent.
    pub counts: Vec<CodeCount>,
    /// The first of what was found, one by one, in the order of the files; at most [`DatasetReport::LISTED`].
    pub findings: Vec<Finding>,
    /// Rows that repeat others.
    pub duplicates: Duplicates,
    /// Unicode characters of the text of each accepted row.
    pub characters: Histogram,
    /// Messages of each conversation; all zero where there is none.
    pub turns: Histogram,
    /// Messages by role, most frequent first; empty where there are no conversations.
    pub roles: Vec<RoleCount>,
    /// What the model would see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokenReport>,
    /// What is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
    /// How long training would take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
}

impl DatasetReport {
    /// Findings that are listed one by one; the others are counted.
    pub const LISTED: usize = 1000;

    /// Whether a job may train on it: nothing found is an error, and a row is left.
    pub fn is_fit(&self) -> bool {
        self.rows.accepted > 0 && self.counts.iter().all(|count| count.severity != Severity::Error)
    }
}

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileReport {
    /// Where it is.
    pub path: PathBuf,
    /// Its size on disk.
    pub bytes: u64,
    /// SHA-256 of its bytes on disk, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How rows lie in it; `None`: it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// The format of its rows; `None`: none was recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    /// The share of the rows looked at that show this format, 0 to 1; 1 where the format was named.
    pub confidence: f64,
    /// What was done to read it, one sentence each: another encoding, renamed columns, files of a folder left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its rows.
    pub rows: RowCounts,
}

/// How rows lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// What separates rows.
    pub container: Container,
    /// How the whole is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How text is written.
    pub encoding: Encoding,
}

/// What separates rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// A JSON value in each line.
    JsonLines,
    /// One JSON array.
    JsonArray,
    /// An object of which one key holds the array (`{"data": […]}`).
    JsonObject,
    /// Comma separated values, or separated by semicolons.
    Csv,
    /// Tab separated values.
    Tsv,
    /// Apache Parquet.
    Parquet,
    /// One text.
    Text,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// How text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-8 that begins with a byte order mark.
    Utf8Bom,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
}

/// Rows by what became of them. Blank lines are no rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// All that were read.
    pub read: u64,
    /// Those that can be trained on.
    pub accepted: u64,
    /// Those with an error.
    pub rejected: u64,
    /// Good ones that the strategy for long samples leaves out.
    pub dropped: u64,
}

/// How often something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeCount {
    /// What.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// In how many rows.
    pub rows: u64,
}

/// Rows that repeat others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// Rows that say the same as an earlier one, whatever the order of their keys.
    pub exact: u64,
    /// Rows that say the same but for white space and capitals.
    pub near: u64,
}

/// How many messages a role has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleCount {
    /// `system`, `user`, `assistant`, `tool`, …
    pub role: String,
    /// Messages.
    pub messages: u64,
}

/// How a size is spread over rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// How many rows.
    pub n: u64,
    /// All together.
    pub total: u64,
    /// The smallest.
    pub min: u64,
    /// Half are no larger. Quantiles are exact up to 1,024 and within 1 % beyond.
    pub p50: u64,
    /// 9 of 10 are no larger.
    pub p90: u64,
    /// 99 of 100 are no larger.
    pub p99: u64,
    /// The largest.
    pub max: u64,
    /// Counts between powers of two, from the first that is not empty to the last.
    pub bars: Vec<Bar>,
}

/// A bar of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bar {
    /// From this size on.
    pub from: u64,
    /// Below this one.
    pub below: u64,
    /// How many rows.
    pub rows: u64,
}

/// What the model would see of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenReport {
    /// The limit that rows were held against.
    pub max_length: u64,
    /// Where the chat template is from; `None`: the data need none, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Tokens of each row before anything is cut, also of those that are refused or left out as too long; of a pair those
    /// of the longer answer with its prompt.
    pub per_row: Histogram,
    /// Samples that are trained on, without those held out; more than rows where rows are split.
    pub samples: u64,
    /// Tokens of all samples.
    pub total: u64,
    /// Those that the loss counts.
    pub supervised: u64,
    /// Rows that have no token to learn.
    pub rows_without_supervised: u64,
    /// Rows that learn the token that ends an answer.
    pub rows_with_end: u64,
    /// Rows in whose text control tokens of the model are written out.
    pub rows_with_special_tokens_in_text: u64,
    /// What the limit takes away.
    pub cut: Cut,
}

impl TokenReport {
    /// The share of tokens that the loss counts, 0 to 1.
    pub fn mask_coverage(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.supervised as f64 / self.total as f64 }
    }
}

/// What `data.max_length` takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// What happens to longer rows.
    pub strategy: ExcessLength,
    /// Rows that are longer.
    pub rows: u64,
    /// Tokens that are lost.
    pub tokens: u64,
    /// Those of them that would have been learned.
    pub supervised_tokens: u64,
    /// Rows that lose the token that ends their answer.
    pub ends: u64,
}

/// What is held out for evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Rows that are trained on.
    pub train: u64,
    /// Rows that are held out.
    pub eval: u64,
    /// Rows held out that are trained on too.
    pub overlap: u64,
}

/// How long training would take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    /// Optimizer updates of an epoch.
    pub per_epoch: u64,
    /// Those of the whole run.
    pub total: u64,
    /// Epochs of the whole run.
    pub epochs: f64,
}
