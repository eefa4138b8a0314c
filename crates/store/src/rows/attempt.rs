//! Attempts.

use diesel::prelude::*;
use ftl_core::job::Attempt;

use super::value::{count, from_json, optional_count};
use crate::error::StoreError;
use crate::schema::attempts;

#[derive(Queryable, Selectable)]
#[diesel(table_name = attempts, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct AttemptRow {
    number: i64,
    started_unix_ms: i64,
    ended_unix_ms: Option<i64>,
    exit: Option<String>,
    log_tail: Option<String>,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = StoreError;

    fn try_from(row: AttemptRow) -> Result<Self, StoreError> {
        let AttemptRow { number, started_unix_ms, ended_unix_ms, exit, log_tail } = row;
        Ok(Self {
            number: count("attempts.number", number)?,
            started_unix_ms: count("attempts.started_unix_ms", started_unix_ms)?,
            ended_unix_ms: optional_count("attempts.ended_unix_ms", ended_unix_ms)?,
            exit: exit.map(|exit| from_json("attempts.exit", &exit)).transpose()?,
            log_tail,
        })
    }
}
