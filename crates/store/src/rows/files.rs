//! Artifacts.

use diesel::prelude::*;
use ftl_core::job::Artifact;

use super::value::{count, path};
use crate::error::StoreError;
use crate::schema::artifacts;

#[derive(Queryable, Selectable)]
#[diesel(table_name = artifacts, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct ArtifactRow {
    kind: String,
    path: String,
    bytes: i64,
    created_unix_ms: i64,
}

#[derive(Insertable)]
#[diesel(table_name = artifacts)]
pub(crate) struct NewArtifactRow<'a> {
    pub(crate) job: &'a str,
    pub(crate) path: &'a str,
    pub(crate) seq: i64,
    pub(crate) kind: &'a str,
    pub(crate) bytes: i64,
    pub(crate) created_unix_ms: i64,
}

impl TryFrom<ArtifactRow> for Artifact {
    type Error = StoreError;

    fn try_from(row: ArtifactRow) -> Result<Self, StoreError> {
        let ArtifactRow { kind, path: text, bytes, created_unix_ms } = row;
        Ok(Self {
            kind,
            path: path(text),
            bytes: count("artifacts.bytes", bytes)?,
            created_unix_ms: count("artifacts.created_unix_ms", created_unix_ms)?,
        })
    }
}
