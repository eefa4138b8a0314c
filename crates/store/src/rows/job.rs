//! Jobs.

use diesel::prelude::*;
use ftl_core::JobSpec;
use ftl_core::job::{Job, Parent, Phase, Progress, State, Waiting};

use super::value::{
    count, from_json, id, integer, json, loss, loss_text, name, named, optional_count, optional_integer, path,
};
use crate::error::StoreError;
use crate::schema::jobs;
use crate::standing::Standing;

/// A whole job, as it is read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = jobs, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct JobRow {
    number: i64,
    id: String,
    name: String,
    spec: String,
    directory: String,
    created_unix_ms: i64,
    queue_order: i64,
    parent_job: Option<String>,
    parent_step: Option<i64>,
    #[diesel(embed)]
    standing: StandingRow,
}

/// The part of a job that changes.
#[derive(Queryable, Selectable, AsChangeset, Insertable)]
#[diesel(table_name = jobs, check_for_backend(diesel::sqlite::Sqlite), treat_none_as_null = true)]
pub(crate) struct StandingRow {
    state: String,
    reason: Option<String>,
    problems: String,
    phase: Option<String>,
    step: i64,
    total_steps: Option<i64>,
    loss_nats: Option<String>,
    eval_loss_before_nats: Option<String>,
    eval_loss_nats: Option<String>,
    n_attempts: i64,
    seq: i64,
    started_unix_ms: Option<i64>,
    ended_unix_ms: Option<i64>,
    waiting: Option<String>,
}

/// A job as it is made.
#[derive(Insertable)]
#[diesel(table_name = jobs)]
pub(crate) struct NewJobRow<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) spec: &'a str,
    pub(crate) directory: &'a str,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) created_unix_ms: i64,
    pub(crate) queue_order: i64,
    pub(crate) device: &'a str,
    pub(crate) parent_job: Option<&'a str>,
    pub(crate) parent_step: Option<i64>,
    #[diesel(embed)]
    pub(crate) standing: StandingRow,
}

impl JobRow {
    /// The job's place in lists.
    pub(crate) fn number(&self) -> i64 {
        self.number
    }

    /// What orders the queue; `None`: the job is not in it.
    pub(crate) fn queue_order(&self) -> Result<Option<i64>, StoreError> {
        let state: State = named("jobs.state", &self.standing.state)?;
        Ok((state == State::Queued).then_some(self.queue_order))
    }

    /// The job, which has this place in the queue.
    pub(crate) fn placed(self, queue_place: Option<u64>) -> Result<Job, StoreError> {
        let Self {
            number: _,
            id: text,
            name,
            spec,
            directory,
            created_unix_ms,
            queue_order: _,
            parent_job,
            parent_step,
            standing,
        } = self;
        let Standing {
            state,
            reason,
            problems,
            waiting,
            phase,
            progress,
            n_attempts,
            seq,
            started_unix_ms,
            ended_unix_ms,
        } = standing.try_into()?;
        let parent = match (parent_job, parent_step) {
            (Some(job), Some(step)) => {
                Some(Parent { job: id("jobs.parent_job", job)?, step: count("jobs.parent_step", step)? })
            }
            (Some(_) | None, _) => None,
        };
        Ok(Job {
            id: id("jobs.id", text)?,
            name,
            spec: from_json::<JobSpec>("jobs.spec", &spec)?,
            state,
            reason,
            problems,
            waiting,
            queue_place,
            parent,
            phase,
            progress,
            n_attempts,
            seq,
            directory: path(directory),
            created_unix_ms: count("jobs.created_unix_ms", created_unix_ms)?,
            started_unix_ms,
            ended_unix_ms,
        })
    }
}

impl TryFrom<StandingRow> for Standing {
    type Error = StoreError;

    fn try_from(row: StandingRow) -> Result<Self, StoreError> {
        let StandingRow {
            state,
            reason,
            problems,
            phase,
            step,
            total_steps,
            loss_nats,
            eval_loss_before_nats,
            eval_loss_nats,
            n_attempts,
            seq,
            started_unix_ms,
            ended_unix_ms,
            waiting,
        } = row;
        Ok(Self {
            state: named::<State>("jobs.state", &state)?,
            reason,
            problems: from_json("jobs.problems", &problems)?,
            waiting: waiting.map(|waiting| from_json::<Waiting>("jobs.waiting", &waiting)).transpose()?,
            phase: phase.map(|phase| named::<Phase>("jobs.phase", &phase)).transpose()?,
            progress: Progress {
                step: count("jobs.step", step)?,
                total_steps: optional_count("jobs.total_steps", total_steps)?,
                loss_nats: loss("jobs.loss_nats", loss_nats)?,
                eval_loss_before_nats: loss("jobs.eval_loss_before_nats", eval_loss_before_nats)?,
                eval_loss_nats: loss("jobs.eval_loss_nats", eval_loss_nats)?,
            },
            n_attempts: count("jobs.n_attempts", n_attempts)?,
            seq: count("jobs.seq", seq)?,
            started_unix_ms: optional_count("jobs.started_unix_ms", started_unix_ms)?,
            ended_unix_ms: optional_count("jobs.ended_unix_ms", ended_unix_ms)?,
        })
    }
}

impl TryFrom<&Standing> for StandingRow {
    type Error = StoreError;

    fn try_from(standing: &Standing) -> Result<Self, StoreError> {
        let Standing {
            state,
            reason,
            problems,
            waiting,
            phase,
            progress: Progress { step, total_steps, loss_nats, eval_loss_before_nats, eval_loss_nats },
            n_attempts,
            seq,
            started_unix_ms,
            ended_unix_ms,
        } = standing;
        Ok(Self {
            state: name("jobs.state", state)?,
            reason: reason.clone(),
            problems: json("jobs.problems", problems)?,
            phase: phase.map(|phase| name("jobs.phase", phase)).transpose()?,
            step: integer("jobs.step", *step)?,
            total_steps: optional_integer("jobs.total_steps", *total_steps)?,
            loss_nats: loss_text(*loss_nats),
            eval_loss_before_nats: loss_text(*eval_loss_before_nats),
            eval_loss_nats: loss_text(*eval_loss_nats),
            n_attempts: i64::from(*n_attempts),
            seq: integer("jobs.seq", *seq)?,
            started_unix_ms: optional_integer("jobs.started_unix_ms", *started_unix_ms)?,
            ended_unix_ms: optional_integer("jobs.ended_unix_ms", *ended_unix_ms)?,
            waiting: waiting.as_ref().map(|waiting| json("jobs.waiting", waiting)).transpose()?,
        })
    }
}
