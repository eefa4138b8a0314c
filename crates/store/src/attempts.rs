//! Attempts: their beginning and end, each in one transaction with the job's change of state.

use diesel::prelude::*;
use ftl_core::JobId;
use ftl_core::job::{Attempt, Exit, Job, State};

use crate::clock::now_unix_ms;
use crate::error::StoreError;
use crate::events::must_exist;
use crate::jobs::{Change, enter, existing, load_standing};
use crate::rows::attempt::AttemptRow;
use crate::rows::value::{count, id, integer, json, name};
use crate::schema::{attempts, jobs};
use crate::{Reply, Store};

/// How an attempt ended, and what that means for its job.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    /// How it ended.
    pub exit: Exit,
    /// The end of its log, where that explains the exit.
    pub log_tail: Option<String>,
    /// The job's change of state; `None`: it stays as it is.
    pub change: Option<Change>,
}

impl Store {
    /// Begins the next attempt at a job: QUEUED becomes STARTING.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Illegal`] where the job is not QUEUED.
    pub fn begin_attempt(&self, id: &JobId) -> Reply<Attempt> {
        let id = id.clone();
        self.write(move |transaction| {
            let mut standing = load_standing(transaction.connection, id.as_str())?;
            standing.n_attempts += 1;
            let number = standing.n_attempts;
            let change = Change { to: State::Starting, reason: None, problems: Vec::new() };
            enter(transaction, &id, &mut standing, &change)?;
            let started_unix_ms = now_unix_ms();
            let row = (
                attempts::job.eq(id.as_str()),
                attempts::number.eq(i64::from(number)),
                attempts::started_unix_ms.eq(integer("attempts.started_unix_ms", started_unix_ms)?),
            );
            diesel::insert_into(attempts::table).values(row).execute(transaction.connection)?;
            Ok(Attempt { number, started_unix_ms, ended_unix_ms: None, exit: None, log_tail: None })
        })
    }

    /// Keeps how an attempt ended, and changes the job's state with it. A job that was CANCELLED meanwhile stays that.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such an attempt, [`StoreError::AttemptEnded`], [`StoreError::Illegal`] where the
    /// new state may not follow. Nothing is kept then.
    pub fn end_attempt(&self, id: &JobId, number: u32, end: AttemptEnd) -> Reply<Job> {
        let id = id.clone();
        self.write(move |transaction| {
            let AttemptEnd { exit, log_tail, change } = &end;
            let key = (id.as_str(), i64::from(number));
            let ended: Option<Option<i64>> = attempts::table
                .find(key)
                .select(attempts::ended_unix_ms)
                .first(transaction.connection)
                .optional()?;
            if ended.ok_or(StoreError::NotFound)?.is_some() {
                return Err(StoreError::AttemptEnded(number).into());
            }
            let row = (
                attempts::ended_unix_ms.eq(integer("attempts.ended_unix_ms", now_unix_ms())?),
                attempts::exit.eq(json("attempts.exit", exit)?),
                attempts::log_tail.eq(log_tail),
            );
            diesel::update(attempts::table.find(key)).set(row).execute(transaction.connection)?;
            let mut standing = load_standing(transaction.connection, id.as_str())?;
            match change {
                Some(change) if standing.state != State::Cancelled => {
                    enter(transaction, &id, &mut standing, change)?;
                }
                Some(_) | None => {}
            }
            existing(transaction.connection, &id)
        })
    }

    /// Attempts that have not ended, of jobs in this state.
    pub fn open_attempts(&self, state: State) -> Reply<Vec<(JobId, u32)>> {
        self.read(move |connection| {
            let of_state = jobs::table.filter(jobs::state.eq(name("jobs.state", state)?)).select(jobs::id);
            let rows: Vec<(String, i64)> = attempts::table
                .filter(attempts::ended_unix_ms.is_null())
                .filter(attempts::job.eq_any(of_state))
                .select((attempts::job, attempts::number))
                .load(connection)?;
            let mut open = Vec::with_capacity(rows.len());
            for (job, number) in rows {
                open.push((id("attempts.job", job)?, count("attempts.number", number)?));
            }
            Ok(open)
        })
    }

    /// The attempts at a job, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a job.
    pub fn attempts(&self, id: &JobId) -> Reply<Vec<Attempt>> {
        let job = id.clone();
        self.read(move |connection| {
            must_exist(connection, job.as_str())?;
            let rows = attempts::table
                .filter(attempts::job.eq(job.as_str()))
                .order(attempts::number)
                .select(AttemptRow::as_select())
                .load(connection)?;
            Ok(rows.into_iter().map(Attempt::try_from).collect::<Result<_, _>>()?)
        })
    }
}
