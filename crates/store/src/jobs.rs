//! Jobs: how they are made, how their state changes, and lists of them.

use std::path::PathBuf;

use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};
use ftl_core::job::{Job, Parent, State};
use ftl_core::system::JobCount;
use ftl_core::{Event, JobId, JobSpec, Page, PageRequest, Problem};

use crate::clock::now_unix_ms;
use crate::error::StoreError;
use crate::fault::Outcome;
use crate::page::{Cut, List};
use crate::queue::{behind_all, placed};
use crate::rows::event::NewEventRow;
use crate::rows::job::{JobRow, NewJobRow, StandingRow};
use crate::rows::value::{count, from_json, integer, json, name, named, path_text};
use crate::schema::{job_events, jobs};
use crate::standing::Standing;
use crate::writer::Transaction;
use crate::{Reply, Store};

/// A job to be made.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What the user calls it.
    pub name: String,
    /// What it is asked to do, resolved.
    pub spec: JobSpec,
    /// Where its checkpoints, events and result will be.
    pub directory: PathBuf,
    /// What makes a repeated request the same request.
    pub request_id: Option<String>,
    /// The checkpoint that it begins with, whose copy is in its directory.
    pub parent: Option<Parent>,
}

/// What became of a job to be made.
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// It was made.
    New(Job),
    /// A request with the same id and spec had made it before.
    Existing(Job),
}

/// A change of a job's state.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new state.
    pub to: State,
    /// Why, where it is not obvious.
    pub reason: Option<String>,
    /// What is wrong, where the new state is FAILED or INTERRUPTED.
    pub problems: Vec<Problem>,
}

impl Store {
    /// Makes a job that is QUEUED, behind all others, and its first event. A request id that was used with the same spec
    /// and parent finds the job that it made.
    ///
    /// # Errors
    /// [`StoreError::RequestIdTaken`] where it was used with others, [`StoreError::IdTaken`].
    pub fn create_job(&self, job: NewJob) -> Reply<Created> {
        self.write(move |transaction| create(transaction, &job))
    }

    /// A job.
    pub fn job(&self, id: &JobId) -> Reply<Option<Job>> {
        let id = id.clone();
        self.read(move |connection| load(connection, id.as_str()))
    }

    /// Jobs, newest first; without `states` those in any state.
    ///
    /// # Errors
    /// [`StoreError::BadPageToken`].
    pub fn jobs(&self, page: &PageRequest, states: &[State]) -> Reply<Page<Job>> {
        let (cut, states) = match (Cut::new(List::Jobs, page), names(states)) {
            (Ok(cut), Ok(states)) => (cut, states),
            (Err(error), _) | (_, Err(error)) => return Reply::ready(Err(error)),
        };
        self.read(move |connection| {
            // The numbers come from an index alone, so that jobs in other states cost nothing.
            let numbers: Vec<i64> = if states.is_empty() {
                jobs::table
                    .filter(jobs::number.lt(cut.before))
                    .order(jobs::number.desc())
                    .limit(cut.limit())
                    .select(jobs::number)
                    .load(connection)?
            } else {
                jobs::table
                    .filter(jobs::state.eq_any(&states))
                    .filter(jobs::number.lt(cut.before))
                    .order(jobs::number.desc())
                    .limit(cut.limit())
                    .select(jobs::number)
                    .load(connection)?
            };
            let rows: Vec<JobRow> = jobs::table
                .filter(jobs::number.eq_any(numbers))
                .order(jobs::number.desc())
                .select(JobRow::as_select())
                .load(connection)?;
            let numbers: Vec<i64> = rows.iter().map(JobRow::number).collect();
            Ok(cut.page(numbers.into_iter().zip(placed(connection, rows)?).collect()))
        })
    }

    /// All jobs in one of these states, in the order of the queue.
    pub fn jobs_in(&self, states: &[State]) -> Reply<Vec<Job>> {
        let states = match names(states) {
            Ok(states) => states,
            Err(error) => return Reply::ready(Err(error)),
        };
        self.read(move |connection| {
            let rows: Vec<JobRow> = jobs::table
                .filter(jobs::state.eq_any(&states))
                .order((jobs::queue_order, jobs::number))
                .select(JobRow::as_select())
                .load(connection)?;
            placed(connection, rows)
        })
    }

    /// How many jobs are in each state, in the order of a job's life; only states with jobs.
    pub fn job_counts(&self) -> Reply<Vec<JobCount>> {
        self.read(|connection| {
            let rows: Vec<(String, i64)> =
                jobs::table.group_by(jobs::state).select((jobs::state, count_star())).load(connection)?;
            let mut counts = Vec::with_capacity(rows.len());
            for (state, n_jobs) in rows {
                counts.push(JobCount { state: named("jobs.state", &state)?, n_jobs: count("jobs", n_jobs)? });
            }
            counts.sort_by_key(|count| State::ALL.iter().position(|state| *state == count.state));
            Ok(counts)
        })
    }

    /// Changes a job's state, and appends the event that tells of it. Of two that want the same change one is refused.
    ///
    /// Reason and problems become those of the change. RUNNING keeps when it was first entered, a state at rest keeps
    /// when it was entered last, and the phase ends with the worker.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Illegal`] where the new state may not follow.
    pub fn transition(&self, id: &JobId, change: Change) -> Reply<Job> {
        let id = id.clone();
        self.write(move |transaction| {
            let mut standing = load_standing(transaction.connection, id.as_str())?;
            enter(transaction, &id, &mut standing, &change)?;
            existing(transaction.connection, &id)
        })
    }

    /// Removes a job at rest with everything that is kept of it, and gives it back as it was. Its files stay.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAtRest`].
    pub fn delete_job(&self, id: &JobId) -> Reply<Job> {
        let id = id.clone();
        self.write(move |transaction| {
            let job = existing(transaction.connection, &id)?;
            if !job.state.is_at_rest() {
                return Err(StoreError::NotAtRest(job.state).into());
            }
            diesel::delete(jobs::table.filter(jobs::id.eq(id.as_str()))).execute(transaction.connection)?;
            Ok(job)
        })
    }
}

fn names(states: &[State]) -> Result<Vec<String>, StoreError> {
    states.iter().map(|state| name("jobs.state", state)).collect()
}

fn create(transaction: &mut Transaction<'_>, job: &NewJob) -> Outcome<Created> {
    let NewJob { id, name, spec, directory, request_id, parent } = job;
    let spec_text = json("jobs.spec", spec)?;
    if let Some(request_id) = request_id {
        let made: Option<(String, String)> = jobs::table
            .filter(jobs::request_id.eq(request_id))
            .select((jobs::id, jobs::spec))
            .first(transaction.connection)
            .optional()?;
        if let Some((made, made_spec)) = made {
            let job = load(transaction.connection, &made)?.ok_or(StoreError::NotFound)?;
            let is_same_spec =
                made_spec == spec_text || from_json::<JobSpec>("jobs.spec", &made_spec)? == *spec;
            if !is_same_spec || job.parent != *parent {
                return Err(StoreError::RequestIdTaken.into());
            }
            return Ok(Created::Existing(job));
        }
    }
    let mut standing = Standing::queued();
    let now = now_unix_ms();
    let row = NewJobRow {
        id: id.as_str(),
        name,
        spec: &spec_text,
        directory: &path_text("jobs.directory", directory)?,
        request_id: request_id.as_deref(),
        created_unix_ms: integer("jobs.created_unix_ms", now)?,
        queue_order: behind_all(transaction.connection)?,
        device: spec.device.kind.as_deref().unwrap_or("auto"),
        parent_job: parent.as_ref().map(|parent| parent.job.as_str()),
        parent_step: parent.as_ref().map(|parent| integer("jobs.parent_step", parent.step)).transpose()?,
        standing: (&standing).try_into()?,
    };
    let inserted = diesel::insert_into(jobs::table).values(row).execute(transaction.connection);
    inserted.map_err(|error| taken(error, StoreError::IdTaken))?;
    append_state(transaction, id, &mut standing, now)?;
    existing(transaction.connection, id).map(Created::New)
}

/// Changes the state of a job whose standing was read in the same transaction, and appends the event that tells of it.
pub(crate) fn enter(
    transaction: &mut Transaction<'_>,
    id: &JobId,
    standing: &mut Standing,
    change: &Change,
) -> Outcome<()> {
    let now = now_unix_ms();
    standing.enter(change, now)?;
    append_state(transaction, id, standing, now)
}

/// Appends the event that tells of the job's state, and writes its standing.
fn append_state(
    transaction: &mut Transaction<'_>,
    id: &JobId,
    standing: &mut Standing,
    now_unix_ms: u64,
) -> Outcome<()> {
    let event = Event::State { state: standing.state, reason: standing.reason.clone() };
    append_own(transaction, id, standing, (&event, now_unix_ms)).map(|_| ())
}

/// Appends an event that no worker reported, writes the job's standing, and gives the event's number.
pub(crate) fn append_own(
    transaction: &mut Transaction<'_>,
    id: &JobId,
    standing: &mut Standing,
    (event, now_unix_ms): (&Event, u64),
) -> Outcome<u64> {
    let seq = standing.next_seq();
    let row = NewEventRow {
        job: id.as_str(),
        seq: integer("job_events.seq", seq)?,
        attempt: i64::from(standing.n_attempts),
        attempt_seq: None,
        time_unix_ms: integer("job_events.time_unix_ms", now_unix_ms)?,
        event: &json("job_events.event", event)?,
    };
    diesel::insert_into(job_events::table).values(&row).execute(transaction.connection)?;
    save_standing(transaction.connection, id.as_str(), standing)?;
    transaction.touch(id, seq);
    Ok(seq)
}

/// The part of a job that changes.
pub(crate) fn load_standing(connection: &mut SqliteConnection, id: &str) -> Outcome<Standing> {
    let row: Option<StandingRow> =
        jobs::table.filter(jobs::id.eq(id)).select(StandingRow::as_select()).first(connection).optional()?;
    Ok(row.ok_or(StoreError::NotFound)?.try_into()?)
}

/// Writes the part of a job that changes.
pub(crate) fn save_standing(connection: &mut SqliteConnection, id: &str, standing: &Standing) -> Outcome<()> {
    let row = StandingRow::try_from(standing)?;
    diesel::update(jobs::table.filter(jobs::id.eq(id))).set(row).execute(connection)?;
    Ok(())
}

fn load(connection: &mut SqliteConnection, id: &str) -> Outcome<Option<Job>> {
    let row: Option<JobRow> =
        jobs::table.filter(jobs::id.eq(id)).select(JobRow::as_select()).first(connection).optional()?;
    Ok(placed(connection, row.into_iter().collect())?.pop())
}

/// A job that must be there.
pub(crate) fn existing(connection: &mut SqliteConnection, id: &JobId) -> Outcome<Job> {
    load(connection, id.as_str())?.ok_or_else(|| StoreError::NotFound.into())
}

/// A unique column's refusal as the error that says which it is.
pub(crate) fn taken(error: Error, meaning: StoreError) -> crate::fault::Fault {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => meaning.into(),
        other => other.into(),
    }
}
