//! Events that are no metrics.

use diesel::prelude::*;
use ftl_core::EventRecord;
use ftl_core::job::JobEvent;

use super::value::{count, from_json};
use crate::error::StoreError;
use crate::schema::job_events;

#[derive(Queryable, Selectable)]
#[diesel(table_name = job_events, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct EventRow {
    seq: i64,
    attempt: i64,
    time_unix_ms: i64,
    event: String,
}

#[derive(Insertable)]
#[diesel(table_name = job_events)]
pub(crate) struct NewEventRow<'a> {
    pub(crate) job: &'a str,
    pub(crate) seq: i64,
    pub(crate) attempt: i64,
    pub(crate) attempt_seq: Option<i64>,
    pub(crate) time_unix_ms: i64,
    pub(crate) event: &'a str,
}

impl TryFrom<EventRow> for JobEvent {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let EventRow { seq, attempt, time_unix_ms, event } = row;
        Ok(Self {
            attempt: count("job_events.attempt", attempt)?,
            record: EventRecord {
                seq: count("job_events.seq", seq)?,
                time_unix_ms: count("job_events.time_unix_ms", time_unix_ms)?,
                event: from_json("job_events.event", &event)?,
            },
        })
    }
}
