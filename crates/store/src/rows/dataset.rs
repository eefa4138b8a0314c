//! Datasets.

use diesel::prelude::*;
use ftl_core::dataset::{Dataset, DatasetFacts};

use super::value::{count, from_json, id, integer, json, name as name_of, named, path, path_text};
use crate::error::StoreError;
use crate::schema::datasets;

#[derive(Queryable, Selectable)]
#[diesel(table_name = datasets, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct DatasetRow {
    number: i64,
    #[diesel(embed)]
    content: DatasetContent,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = datasets, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct DatasetContent {
    id: String,
    name: String,
    path: String,
    format: String,
    n_rows: i64,
    bytes: i64,
    sha256: String,
    created_unix_ms: i64,
    owner: String,
    report: Option<String>,
}

impl DatasetRow {
    /// The dataset with its place in lists.
    pub(crate) fn numbered(self) -> Result<(i64, Dataset), StoreError> {
        Ok((self.number, self.content.try_into()?))
    }
}

impl TryFrom<DatasetContent> for Dataset {
    type Error = StoreError;

    fn try_from(row: DatasetContent) -> Result<Self, StoreError> {
        let DatasetContent {
            id: text,
            name,
            path: place,
            format,
            n_rows,
            bytes,
            sha256,
            created_unix_ms,
            owner,
            report,
        } = row;
        Ok(Self {
            id: id("datasets.id", text)?,
            name,
            path: path(place),
            owner: named("datasets.owner", &owner)?,
            facts: DatasetFacts {
                format: named("datasets.format", &format)?,
                n_rows: count("datasets.n_rows", n_rows)?,
                bytes: count("datasets.bytes", bytes)?,
                sha256,
            },
            report: report.map(|report| from_json("datasets.report", &report)).transpose()?,
            created_unix_ms: count("datasets.created_unix_ms", created_unix_ms)?,
        })
    }
}

impl TryFrom<&Dataset> for DatasetContent {
    type Error = StoreError;

    fn try_from(dataset: &Dataset) -> Result<Self, StoreError> {
        let Dataset {
            id,
            name,
            path,
            owner,
            facts: DatasetFacts { format, n_rows, bytes, sha256 },
            report,
            created_unix_ms,
        } = dataset;
        Ok(Self {
            id: id.to_string(),
            name: name.clone(),
            path: path_text("datasets.path", path)?,
            format: name_of("datasets.format", format)?,
            n_rows: integer("datasets.n_rows", *n_rows)?,
            bytes: integer("datasets.bytes", *bytes)?,
            sha256: sha256.clone(),
            created_unix_ms: integer("datasets.created_unix_ms", *created_unix_ms)?,
            owner: name_of("datasets.owner", owner)?,
            report: report.as_ref().map(|report| json("datasets.report", report)).transpose()?,
        })
    }
}
