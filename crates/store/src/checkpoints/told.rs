//! What events change of a job's checkpoints; called in the transaction that keeps the event.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::{COMPLETE, DAMAGED, REMOVED};
use crate::fault::Outcome;
use crate::rows::checkpoint::NewCheckpointRow;
use crate::schema::{checkpoints, metrics};

/// What an event tells of a checkpoint that was saved.
pub(crate) struct Saved<'a> {
    pub(crate) path: &'a str,
    pub(crate) seq: i64,
    pub(crate) attempt: i64,
    pub(crate) step: i64,
    pub(crate) bytes: i64,
    pub(crate) created_unix_ms: i64,
}

/// Keeps a checkpoint that is complete, in place of what stood there.
pub(crate) fn saved(connection: &mut SqliteConnection, job: &str, saved: &Saved<'_>) -> Outcome<()> {
    let Saved { path, seq, attempt, step, bytes, created_unix_ms } = *saved;
    // As text: with a parameter SQLite can't know that the index of evaluations has all rows that are wanted.
    let eval_loss_nats: Option<Option<f64>> = metrics::table
        .filter(metrics::job.eq(job))
        .filter(metrics::step.eq(step))
        .filter(sql::<Bool>("kind = 'evaluated'"))
        .order(metrics::seq.desc())
        .select(metrics::loss_nats)
        .first(connection)
        .optional()?;
    let n_pinned: i64 = checkpoints::table
        .filter(checkpoints::job.eq(job))
        .filter(checkpoints::step.eq(step))
        .filter(checkpoints::pinned.eq(1))
        .count()
        .get_result(connection)?;
    let row = NewCheckpointRow {
        job,
        path,
        seq,
        attempt,
        step,
        bytes,
        created_unix_ms,
        state: COMPLETE,
        eval_loss_nats: eval_loss_nats.flatten(),
        pinned: n_pinned.min(1),
    };
    diesel::replace_into(checkpoints::table).values(&row).execute(connection)?;
    Ok(())
}

/// Keeps the held-out loss of the checkpoints after a step.
pub(crate) fn evaluated(
    connection: &mut SqliteConnection,
    job: &str,
    (step, loss_nats): (i64, f64),
) -> Outcome<()> {
    let of_step = checkpoints::table.filter(checkpoints::job.eq(job)).filter(checkpoints::step.eq(step));
    // SQLite makes NULL of NaN, which stands for none here.
    diesel::update(of_step).set(checkpoints::eval_loss_nats.eq(loss_nats)).execute(connection)?;
    Ok(())
}

/// Keeps that a checkpoint is gone; one that nobody told of was never there.
pub(crate) fn removed(connection: &mut SqliteConnection, job: &str, path: &str) -> Outcome<()> {
    diesel::update(checkpoints::table.find((job, path)))
        .set((
            checkpoints::state.eq(REMOVED),
            checkpoints::damage.eq(None::<&str>),
            checkpoints::pinned.eq(0),
        ))
        .execute(connection)?;
    Ok(())
}

/// Keeps that a checkpoint is damaged, and where it lies now.
pub(crate) fn damaged(
    connection: &mut SqliteConnection,
    job: &str,
    (path, kept_at): (&str, &str),
    message: &str,
) -> Outcome<()> {
    if path != kept_at {
        // One of this name that was deleted since.
        diesel::delete(checkpoints::table.find((job, kept_at))).execute(connection)?;
    }
    diesel::update(checkpoints::table.find((job, path)))
        .set((checkpoints::path.eq(kept_at), checkpoints::state.eq(DAMAGED), checkpoints::damage.eq(message)))
        .execute(connection)?;
    Ok(())
}
