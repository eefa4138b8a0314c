//! Checkpoints.

use diesel::prelude::*;
use ftl_core::job::Checkpoint;

use super::value::{count, named, optional_count, path, unreadable};
use crate::error::StoreError;
use crate::schema::checkpoints;

#[derive(Queryable, Selectable)]
#[diesel(table_name = checkpoints, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct CheckpointRow {
    seq: i64,
    attempt: i64,
    step: i64,
    path: String,
    bytes: i64,
    created_unix_ms: i64,
    state: String,
    damage: Option<String>,
    verified_unix_ms: Option<i64>,
    eval_loss_nats: Option<f64>,
    pinned: i64,
}

#[derive(Insertable)]
#[diesel(table_name = checkpoints)]
pub(crate) struct NewCheckpointRow<'a> {
    pub(crate) job: &'a str,
    pub(crate) path: &'a str,
    pub(crate) seq: i64,
    pub(crate) attempt: i64,
    pub(crate) step: i64,
    pub(crate) bytes: i64,
    pub(crate) created_unix_ms: i64,
    pub(crate) state: &'static str,
    pub(crate) eval_loss_nats: Option<f64>,
    pub(crate) pinned: i64,
}

impl CheckpointRow {
    /// The checkpoint, with its number in lists. Whether it is the last or the best of its job is not in its row.
    pub(crate) fn numbered(self) -> Result<(i64, Checkpoint), StoreError> {
        let Self {
            seq,
            attempt,
            step,
            path: text,
            bytes,
            created_unix_ms,
            state,
            damage,
            verified_unix_ms,
            eval_loss_nats,
            pinned,
        } = self;
        let checkpoint = Checkpoint {
            step: count("checkpoints.step", step)?,
            attempt: count("checkpoints.attempt", attempt)?,
            seq: count("checkpoints.seq", seq)?,
            path: path(text),
            bytes: count("checkpoints.bytes", bytes)?,
            created_unix_ms: count("checkpoints.created_unix_ms", created_unix_ms)?,
            state: named("checkpoints.state", &state)?,
            damage,
            verified_unix_ms: optional_count("checkpoints.verified_unix_ms", verified_unix_ms)?,
            eval_loss_nats,
            pinned: match pinned {
                0 => false,
                1 => true,
                other => return Err(unreadable("checkpoints.pinned", format!("{other} is neither 0 nor 1"))),
            },
            last: false,
            best: false,
        };
        Ok((seq, checkpoint))
    }
}
