//! What happened in a job, in order of the events' numbers.
//!
//! Steps and evaluations are rows of `metrics`, everything else of `job_events`; both share one count for each job,
//! which has no gaps. How they get there is [`append`](crate::append)'s business.

use diesel::prelude::*;
use ftl_core::JobId;
use ftl_core::job::JobEvent;

use crate::Store;
use crate::error::StoreError;
use crate::fault::Outcome;
use crate::reply::Reply;
use crate::rows::event::EventRow;
use crate::rows::metric::MetricRow;
use crate::rows::value::count;
use crate::schema::{attempts, job_events, jobs, metrics};

impl Store {
    /// The highest number of the attempt's own that is kept; 0: none.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such an attempt.
    pub fn last_attempt_seq(&self, id: &JobId, attempt: u32) -> Reply<u64> {
        let job = id.clone();
        self.read(move |connection| {
            let last = last_attempt_seq(connection, job.as_str(), i64::from(attempt))?;
            Ok(count("metrics.attempt_seq", last)?)
        })
    }

    /// What happened after the event with this number, in order: at most `limit` events. Fewer mean that there are no
    /// more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a job.
    pub fn events_after(&self, id: &JobId, after_seq: u64, limit: u32) -> Reply<Vec<JobEvent>> {
        let job = id.clone();
        self.read(move |connection| {
            let job = job.as_str();
            // No number is beyond what a column holds. Numbers have no gaps, so those that are wanted are known.
            let after = i64::try_from(after_seq).unwrap_or(i64::MAX);
            let until = after.saturating_add(i64::from(limit));
            let events = job_events::table
                .filter(job_events::job.eq(job))
                .filter(job_events::seq.gt(after))
                .filter(job_events::seq.le(until))
                .order(job_events::seq)
                .select(EventRow::as_select())
                .load(connection)?;
            let numbers = metrics::table
                .filter(metrics::job.eq(job))
                .filter(metrics::seq.gt(after))
                .filter(metrics::seq.le(until))
                .order(metrics::seq)
                .select(MetricRow::as_select())
                .load(connection)?;
            if events.is_empty() && numbers.is_empty() {
                must_exist(connection, job)?;
            }
            let mut merged: Vec<JobEvent> = Vec::with_capacity(events.len() + numbers.len());
            for row in events {
                merged.push(row.try_into()?);
            }
            for row in numbers {
                merged.push(row.try_into()?);
            }
            // Two runs that are sorted: the sort merges them.
            merged.sort_by_key(|event| event.record.seq);
            Ok(merged)
        })
    }

    /// The steps and evaluations after the event with this number, in order: at most `limit`. Fewer mean that there are
    /// no more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a job.
    pub fn metrics_after(&self, id: &JobId, after_seq: u64, limit: u32) -> Reply<Vec<JobEvent>> {
        let job = id.clone();
        self.read(move |connection| {
            let job = job.as_str();
            let rows = metrics::table
                .filter(metrics::job.eq(job))
                .filter(metrics::seq.gt(i64::try_from(after_seq).unwrap_or(i64::MAX)))
                .order(metrics::seq)
                .limit(i64::from(limit))
                .select(MetricRow::as_select())
                .load(connection)?;
            if rows.is_empty() {
                must_exist(connection, job)?;
            }
            Ok(rows.into_iter().map(JobEvent::try_from).collect::<Result<_, _>>()?)
        })
    }
}

/// Refuses an id that no job has.
pub(crate) fn must_exist(connection: &mut SqliteConnection, job: &str) -> Outcome<()> {
    let found: Option<i64> =
        jobs::table.filter(jobs::id.eq(job)).select(jobs::number).first(connection).optional()?;
    found.map(drop).ok_or_else(|| StoreError::NotFound.into())
}

/// The highest number of the attempt's own; 0: none.
pub(crate) fn last_attempt_seq(connection: &mut SqliteConnection, job: &str, attempt: i64) -> Outcome<i64> {
    let found: Option<i64> =
        attempts::table.find((job, attempt)).select(attempts::number).first(connection).optional()?;
    if found.is_none() {
        return Err(StoreError::NotFound.into());
    }
    let of_events: Option<Option<i64>> = job_events::table
        .filter(job_events::job.eq(job))
        .filter(job_events::attempt.eq(attempt))
        .order(job_events::attempt_seq.desc())
        .select(job_events::attempt_seq)
        .first(connection)
        .optional()?;
    let of_metrics: Option<i64> = metrics::table
        .filter(metrics::job.eq(job))
        .filter(metrics::attempt.eq(attempt))
        .order(metrics::attempt_seq.desc())
        .select(metrics::attempt_seq)
        .first(connection)
        .optional()?;
    Ok(of_events.flatten().max(of_metrics).unwrap_or(0))
}
