//! The queue's order, and why the jobs in it wait.
//!
//! `jobs.queue_order` orders the jobs that are QUEUED, lowest first. Every job keeps its number while it is worked on, so
//! that one that is queued again comes back to its place before younger ones. Numbers are [`GAP`] apart at first: a job
//! that is moved takes one in the middle between its new neighbours, and where there is none left, the whole queue is
//! numbered anew. A place, which people see, is how many queued jobs have lower numbers, and one.

use std::collections::HashMap;

use diesel::dsl::{count_star, max, min};
use diesel::prelude::*;
use ftl_core::event::NoteLevel;
use ftl_core::job::{Job, Move, MoveTo, State, Waiting};
use ftl_core::{Event, JobId};

use crate::clock::now_unix_ms;
use crate::error::StoreError;
use crate::fault::Outcome;
use crate::jobs::{append_own, existing, load_standing};
use crate::rows::job::JobRow;
use crate::rows::value::{count, from_json, id, name};
use crate::schema::{checkpoints, jobs};
use crate::writer::Transaction;
use crate::{Reply, Store};

/// Between the numbers of two jobs that nobody moved. The migration has the same.
const GAP: i64 = 1 << 20;

/// What the queue has to know of a job, without its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The job.
    pub id: JobId,
    /// Where it computes, as `device.kind` of its spec.
    pub device: String,
    /// What it waits for, as it was last written.
    pub waiting: Option<Waiting>,
    /// The largest checkpoint that it has written; 0: none yet.
    pub checkpoint_bytes: u64,
}

impl Store {
    /// The jobs that are QUEUED, in their order.
    pub fn queue(&self) -> Reply<Vec<Queued>> {
        self.read(|connection| {
            let queued = queued_name()?;
            let rows: Vec<(String, String, Option<String>)> = jobs::table
                .filter(jobs::state.eq(&queued))
                .order((jobs::queue_order, jobs::number))
                .select((jobs::id, jobs::device, jobs::waiting))
                .load(connection)?;
            let largest: HashMap<String, Option<i64>> = checkpoints::table
                .filter(checkpoints::job.eq_any(jobs::table.filter(jobs::state.eq(&queued)).select(jobs::id)))
                .group_by(checkpoints::job)
                .select((checkpoints::job, max(checkpoints::bytes)))
                .load(connection)?
                .into_iter()
                .collect();
            let mut all = Vec::with_capacity(rows.len());
            for (job, device, waiting) in rows {
                let bytes = largest.get(&job).copied().flatten();
                all.push(Queued {
                    id: id("jobs.id", job)?,
                    device,
                    waiting: waiting.map(|text| from_json("jobs.waiting", &text)).transpose()?,
                    checkpoint_bytes: count("checkpoints.bytes", bytes.unwrap_or(0))?,
                });
            }
            Ok(all)
        })
    }

    /// Writes why jobs wait, each with an event where that is new. A job that has left the queue meanwhile is passed over.
    pub fn set_waiting(&self, all: Vec<(JobId, Waiting)>) -> Reply<()> {
        self.write(move |transaction| {
            for (id, waiting) in &all {
                let mut standing = match load_standing(transaction.connection, id.as_str()) {
                    Ok(standing) => standing,
                    Err(fault) if matches!(fault.0, StoreError::NotFound) => continue,
                    Err(fault) => return Err(fault),
                };
                if standing.state != State::Queued || standing.waiting.as_ref() == Some(waiting) {
                    continue;
                }
                standing.waiting = Some(waiting.clone());
                let message = format!("waits: {}", waiting.message);
                let event = Event::Note { level: NoteLevel::Info, message };
                append_own(transaction, id, &mut standing, (&event, now_unix_ms()))?;
            }
            Ok(())
        })
    }

    /// Changes the queue's order, and gives the job as it is then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for either job; [`StoreError::NotQueued`] where one of them has left the queue;
    /// [`StoreError::PlaceChanged`] where the job is not where the caller saw it.
    pub fn move_job(&self, change: Move) -> Reply<Job> {
        self.write(move |transaction| {
            let Move { job, to, from_place } = &change;
            let order = order_of(transaction.connection, job)?;
            if let Some(expected) = *from_place {
                let is = place(transaction.connection, order)?;
                if is != expected {
                    return Err(StoreError::PlaceChanged { is, expected }.into());
                }
            }
            let new = match to {
                MoveTo::Before(other) | MoveTo::After(other) if other == job => order,
                MoveTo::First | MoveTo::Last | MoveTo::Before(_) | MoveTo::After(_) => {
                    new_order(transaction, to)?
                }
            };
            diesel::update(jobs::table.filter(jobs::id.eq(job.as_str())))
                .set(jobs::queue_order.eq(new))
                .execute(transaction.connection)?;
            existing(transaction.connection, job)
        })
    }
}

/// Jobs with their places in the queue.
pub(crate) fn placed(connection: &mut SqliteConnection, rows: Vec<JobRow>) -> Outcome<Vec<Job>> {
    let mut orders: Vec<i64> = Vec::new();
    for row in &rows {
        orders.extend(row.queue_order()?);
    }
    orders.sort_unstable();
    // Each count begins where the last one ended, so that a page costs one pass over the index and not one for each job.
    let mut places: Vec<(i64, u64)> = Vec::with_capacity(orders.len());
    for order in orders {
        let (after, so_far) = places.last().copied().unwrap_or((i64::MIN, 0));
        places.push((order, so_far + n_between(connection, after, order)?));
    }
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let found = row.queue_order()?.and_then(|order| {
            places.binary_search_by_key(&order, |(order, _)| *order).ok().map(|index| places[index].1)
        });
        all.push(row.placed(found)?);
    }
    Ok(all)
}

/// A number behind those of all jobs, queued or not.
pub(crate) fn behind_all(connection: &mut SqliteConnection) -> Outcome<i64> {
    let last: Option<i64> = jobs::table.select(max(jobs::queue_order)).first(connection)?;
    Ok(last.unwrap_or(0) + GAP)
}

fn queued_name() -> Result<String, StoreError> {
    name("jobs.state", State::Queued)
}

/// The number of a job that must be in the queue.
fn order_of(connection: &mut SqliteConnection, job: &JobId) -> Outcome<i64> {
    let row: Option<JobRow> = jobs::table
        .filter(jobs::id.eq(job.as_str()))
        .select(JobRow::as_select())
        .first(connection)
        .optional()?;
    let row = row.ok_or(StoreError::NotFound)?;
    match row.queue_order()? {
        Some(order) => Ok(order),
        None => Err(StoreError::NotQueued(row.placed(None)?.state).into()),
    }
}

/// How many queued jobs come up to this number.
fn place(connection: &mut SqliteConnection, order: i64) -> Outcome<u64> {
    n_between(connection, i64::MIN, order)
}

/// Queued jobs with numbers above `after` and up to `until`.
fn n_between(connection: &mut SqliteConnection, after: i64, until: i64) -> Outcome<u64> {
    let n_jobs: i64 = jobs::table
        .filter(jobs::state.eq(queued_name()?))
        .filter(jobs::queue_order.gt(after))
        .filter(jobs::queue_order.le(until))
        .select(count_star())
        .first(connection)?;
    Ok(count("jobs", n_jobs)?)
}

fn new_order(transaction: &mut Transaction<'_>, to: &MoveTo) -> Outcome<i64> {
    match to {
        MoveTo::First => {
            let first: Option<i64> =
                jobs::table.select(min(jobs::queue_order)).first(transaction.connection)?;
            Ok(first.unwrap_or(0) - GAP)
        }
        MoveTo::Last => behind_all(transaction.connection),
        MoveTo::Before(other) | MoveTo::After(other) => match between(transaction.connection, to, other)? {
            Some(order) => Ok(order),
            None => {
                number_anew(transaction.connection)?;
                let found = between(transaction.connection, to, other)?;
                Ok(found.expect("numbers that were just given are a gap apart"))
            }
        },
    }
}

/// A number right before or behind that of `other`; `None`: there is none between it and its neighbour, whichever state
/// that is in.
fn between(connection: &mut SqliteConnection, to: &MoveTo, other: &JobId) -> Outcome<Option<i64>> {
    let order = order_of(connection, other)?;
    let (low, high) = match to {
        MoveTo::Before(_) | MoveTo::First => {
            let before: Option<i64> = jobs::table
                .filter(jobs::queue_order.lt(order))
                .select(max(jobs::queue_order))
                .first(connection)?;
            (before.unwrap_or(order - 2 * GAP), order)
        }
        MoveTo::After(_) | MoveTo::Last => {
            let behind: Option<i64> = jobs::table
                .filter(jobs::queue_order.gt(order))
                .select(min(jobs::queue_order))
                .first(connection)?;
            (order, behind.unwrap_or(order + 2 * GAP))
        }
    };
    Ok((high - low > 1).then(|| low + (high - low) / 2))
}

/// Gives all jobs new numbers in the order of their old ones. Once in so many moves to one place that a gap is used up,
/// which are twenty.
fn number_anew(connection: &mut SqliteConnection) -> Outcome<()> {
    diesel::sql_query(
        "UPDATE jobs SET queue_order = anew.place * 1048576 \
         FROM (SELECT number, row_number() OVER (ORDER BY queue_order, number) AS place FROM jobs) AS anew \
         WHERE jobs.number = anew.number",
    )
    .execute(connection)?;
    Ok(())
}
