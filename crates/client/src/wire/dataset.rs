//! Datasets and their rows.

use std::path::PathBuf;

use ftl_core::dataset::{Dataset, DatasetFacts, PreviewRow};
use ftl_core::spec::resolved::DataFormat;

use super::error::id;
use super::time::{timestamp, unix_ms};
use super::{Numbered as _, WireError, text, v1};

impl From<Dataset> for v1::Dataset {
    fn from(dataset: Dataset) -> Self {
        let Dataset { id, name, path, facts, created_unix_ms } = dataset;
        let DatasetFacts { format, n_rows, bytes, sha256 } = facts;
        Self {
            id: id.into(),
            name,
            path: text(path),
            format: format.number(),
            row_count: n_rows,
            bytes,
            sha256,
            create_time: Some(timestamp(created_unix_ms)),
        }
    }
}

impl TryFrom<v1::Dataset> for Dataset {
    type Error = WireError;

    fn try_from(dataset: v1::Dataset) -> Result<Self, WireError> {
        const NAME: &str = "Dataset";
        let v1::Dataset { id: text, name, path, format, row_count, bytes, sha256, create_time } = dataset;
        let format = DataFormat::required(NAME, "format", format)?;
        Ok(Self {
            id: id(NAME, "id", text)?,
            name,
            path: PathBuf::from(path),
            facts: DatasetFacts { format, n_rows: row_count, bytes, sha256 },
            created_unix_ms: unix_ms(NAME, "create_time", create_time)?,
        })
    }
}

impl From<PreviewRow> for v1::PreviewRow {
    fn from(row: PreviewRow) -> Self {
        let PreviewRow { number, json, problem } = row;
        Self { number, json, problem }
    }
}

impl From<v1::PreviewRow> for PreviewRow {
    fn from(row: v1::PreviewRow) -> Self {
        let v1::PreviewRow { number, json, problem } = row;
        Self { number, json, problem }
    }
}
