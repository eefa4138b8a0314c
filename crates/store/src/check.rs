//! Looks for damage: what SQLite finds by itself, and what must hold between our tables. Reads alone, in one snapshot, so
//! that a service may work on the database meanwhile.
//!
//! SQLite forgets the CHECKs of tables that it opens to read alone; a connection that could write would change the file
//! when it is closed. What they say of states is found out here by other means.

use std::fmt;
use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};
use ftl_core::job::State;
use serde::Serialize;

use crate::connection::Location;
use crate::error::StoreError;
use crate::fault::{Fault, Outcome};
use crate::open::{existing, known_versions};
use crate::rows::value::named;

/// Findings of one sort that are told one by one; a damaged index can have as many as rows.
const MAX_FINDINGS: usize = 100;

/// What was found in a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checkup {
    /// Its newest migration.
    pub version: String,
    /// Whether this program would read it as it is.
    pub standing: Standing,
    /// Rows of some tables, so that a person sees that it is the right one.
    pub n_jobs: u64,
    /// Events and metrics of all jobs.
    pub n_events: u64,
    /// What is wrong; nothing in a database that is whole.
    pub findings: Vec<Finding>,
}

/// A database's version beside this program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The same.
    Current,
    /// An older one, which the next start of the service copies and migrates.
    Older,
}

/// Something that is wrong in a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule is broken.
    pub kind: FindingKind,
    /// Where, and how that shows.
    pub message: String,
}

/// A rule that a whole database keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Pages, indexes and rows are as SQLite writes them, and values are of their columns' types.
    Integrity,
    /// What a row refers to exists.
    ForeignKey,
    /// A job's events are numbered from 1 to its `seq`, each once, and an attempt's own numbers come once.
    Numbering,
    /// A job has the attempts that it counts, and at most the newest is open, while a worker may be at it.
    Attempts,
    /// A job's states follow each other as a job's life allows, and the last one is the job's.
    States,
    /// What was kept of an event beside it (a checkpoint, an artifact, a prediction) has that event.
    Kept,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integrity => "integrity",
            Self::ForeignKey => "foreign key",
            Self::Numbering => "numbering",
            Self::Attempts => "attempts",
            Self::States => "states",
            Self::Kept => "kept",
        })
    }
}

/// Looks through a whole database, which takes a while for a large one; a service may work on it meanwhile.
///
/// # Errors
/// [`StoreError::NotOurs`], [`StoreError::NewerDatabase`], whose tables this program does not know, and what SQLite and
/// the operating system refuse. Damage that SQLite can tell of is no error but a finding.
pub fn check_file(path: &Path) -> Result<Checkup, StoreError> {
    let location = Location::new(path)?;
    let mut connection = match existing(&location) {
        Ok(connection) => connection,
        Err(Fault(error)) => return Err(error),
    };
    // Where the check itself fails, its own error is the cause: diesel's rollback would take its place.
    let mut result = None;
    let ran = connection.transaction(|connection| {
        result = Some(check(connection, &location));
        Ok::<(), diesel::result::Error>(())
    });
    match (result, ran) {
        (Some(result), _) => result.map_err(|Fault(error)| error),
        (None, Err(error)) => Err(Fault::from(error).0),
        (None, Ok(())) => Err(StoreError::Panicked("a transaction ran without its task".to_owned())),
    }
}

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Text)]
    message: String,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Entered {
    #[diesel(sql_type = Text)]
    job: String,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Nullable<Text>)]
    state: Option<String>,
    #[diesel(sql_type = Text)]
    now: String,
}

fn check(connection: &mut SqliteConnection, location: &Location) -> Outcome<Checkup> {
    let known = known_versions();
    let applied: Vec<Told> =
        diesel::sql_query("SELECT version AS message FROM __diesel_schema_migrations ORDER BY version")
            .load(connection)?;
    let version = applied.last().map(|row| row.message.clone()).unwrap_or_default();
    if let Some(strange) = applied.iter().rev().find(|row| !known.contains(&row.message)) {
        let (path, version) = (location.path().to_owned(), strange.message.clone());
        let newest_known = known.into_iter().max().expect("migrations are compiled in");
        return Err(StoreError::NewerDatabase { path, version, newest_known }.into());
    }
    let standing = if applied.len() == known.len() { Standing::Current } else { Standing::Older };
    let mut findings = Vec::new();
    for (kind, sql) in RULES {
        // Databases from before this table are checked too.
        if sql.contains("FROM predictions") && !has_predictions(connection)? {
            continue;
        }
        add(&mut findings, *kind, told(connection, sql))?;
    }
    add(&mut findings, FindingKind::States, states(connection))?;
    let counted =
        |connection: &mut SqliteConnection, sql: &str| match diesel::sql_query(sql).get_result(connection) {
            Ok(Counted { n }) => u64::try_from(n).unwrap_or(0),
            // What is damaged is told above.
            Err(_) => 0,
        };
    Ok(Checkup {
        version,
        standing,
        n_jobs: counted(connection, "SELECT count(*) AS n FROM jobs"),
        n_events: counted(
            connection,
            "SELECT (SELECT count(*) FROM job_events) + (SELECT count(*) FROM metrics) AS n",
        ),
        findings,
    })
}

fn has_predictions(connection: &mut SqliteConnection) -> Outcome<bool> {
    let sql = "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table' AND name = 'predictions'";
    let found: Counted = diesel::sql_query(sql).get_result(connection)?;
    Ok(found.n > 0)
}

/// Each statement gives a message for each row that breaks the rule.
const RULES: &[(FindingKind, &str)] = &[
    (
        FindingKind::Integrity,
        "SELECT integrity_check AS message FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    ),
    (
        FindingKind::ForeignKey,
        "SELECT format('a row of %s refers to a row of %s that is not there', \"table\", parent) AS message \
         FROM pragma_foreign_key_check",
    ),
    // As many as the last number says, from 1, and none twice (each table has a number once): then none is missing.
    (
        FindingKind::Numbering,
        "SELECT format('%s has %d events numbered from %s to %s, and its seq is %d', id, n, first, last, jobs.seq) AS message \
         FROM jobs JOIN (SELECT jobs.id AS job, count(e.seq) AS n, min(e.seq) AS first, max(e.seq) AS last FROM jobs \
           LEFT JOIN (SELECT job, seq FROM job_events UNION ALL SELECT job, seq FROM metrics) AS e ON e.job = jobs.id \
           GROUP BY jobs.id) ON job = id \
         WHERE n <> jobs.seq OR coalesce(first, 1) <> 1 OR coalesce(last, 0) <> jobs.seq",
    ),
    (
        FindingKind::Numbering,
        "SELECT format('event %d of %s is there as an event and as a metric', seq, job) AS message \
         FROM job_events JOIN metrics USING (job, seq)",
    ),
    (
        FindingKind::Numbering,
        "SELECT format('number %d of attempt %d of %s is there twice', attempt_seq, attempt, job) AS message \
         FROM job_events JOIN metrics USING (job, attempt, attempt_seq)",
    ),
    (
        FindingKind::Attempts,
        "SELECT format('%s counts %d attempts, and has %d up to number %d', id, n_attempts, n, last) AS message \
         FROM jobs JOIN (SELECT jobs.id AS job, count(attempts.number) AS n, coalesce(max(attempts.number), 0) AS last FROM jobs \
           LEFT JOIN attempts ON attempts.job = jobs.id GROUP BY jobs.id) ON job = id \
         WHERE n <> n_attempts OR last <> n_attempts",
    ),
    (
        FindingKind::Attempts,
        "SELECT format('attempt %d of %s has no end, and a later one began', attempts.number, job) AS message \
         FROM attempts JOIN jobs ON id = job WHERE attempts.ended_unix_ms IS NULL AND attempts.number < n_attempts",
    ),
    // A cancelled job's worker is killed, and its end kept, after the job is cancelled.
    (
        FindingKind::Attempts,
        "SELECT format('attempt %d of %s has no end, and the job is %s', attempts.number, job, state) AS message \
         FROM attempts JOIN jobs ON id = job WHERE attempts.ended_unix_ms IS NULL \
           AND state NOT IN ('STARTING', 'RUNNING', 'STOPPING', 'CANCELLED')",
    ),
    (
        FindingKind::Attempts,
        "SELECT format('%s is %s without an attempt that goes on', id, state) AS message FROM jobs \
         WHERE state IN ('STARTING', 'RUNNING', 'STOPPING') \
           AND NOT EXISTS (SELECT 1 FROM attempts WHERE job = id AND attempts.ended_unix_ms IS NULL)",
    ),
    (
        FindingKind::Kept,
        "SELECT format('%s of %s has no event %d', path, job, seq) AS message FROM \
           (SELECT job, seq, path, 'saved' AS type FROM checkpoints UNION ALL \
            SELECT job, seq, path, 'exported' FROM artifacts) AS kept \
         WHERE NOT EXISTS (SELECT 1 FROM job_events AS e \
           WHERE e.job = kept.job AND e.seq = kept.seq AND e.event ->> '$.type' = kept.type)",
    ),
    (
        FindingKind::Kept,
        "SELECT format('a prediction of %s has no event %d', job, seq) AS message FROM predictions AS kept \
         WHERE NOT EXISTS (SELECT 1 FROM job_events AS e \
           WHERE e.job = kept.job AND e.seq = kept.seq AND e.event ->> '$.type' = 'sampled')",
    ),
    (
        FindingKind::Integrity,
        "SELECT 'the mark of the last write is missing' AS message WHERE NOT EXISTS (SELECT 1 FROM last_write)",
    ),
];

fn told(connection: &mut SqliteConnection, sql: &str) -> Outcome<Vec<String>> {
    let limited = format!("{sql} LIMIT {}", MAX_FINDINGS + 1);
    let rows: Vec<Told> = diesel::sql_query(limited).load(connection)?;
    Ok(rows.into_iter().map(|row| row.message).collect())
}

/// Adds what a rule told. A page that can't be read is a finding: it breaks off what reads it, and nothing else.
fn add(findings: &mut Vec<Finding>, kind: FindingKind, told: Outcome<Vec<String>>) -> Outcome<()> {
    match told {
        Ok(mut messages) => {
            let has_more = messages.len() > MAX_FINDINGS;
            messages.truncate(MAX_FINDINGS);
            findings.extend(messages.into_iter().map(|message| Finding { kind, message }));
            if has_more {
                let message = format!("and more than {MAX_FINDINGS} of this kind");
                findings.push(Finding { kind, message });
            }
            Ok(())
        }
        Err(Fault(error @ StoreError::Damaged(_))) => {
            findings.push(Finding { kind: FindingKind::Integrity, message: error.to_string() });
            Ok(())
        }
        Err(fault) => Err(fault),
    }
}

/// Replays the states of every job.
fn states(connection: &mut SqliteConnection) -> Outcome<Vec<String>> {
    let sql = "SELECT job, job_events.seq, event ->> '$.state' AS state, jobs.state AS now FROM job_events \
               JOIN jobs ON jobs.id = job WHERE event ->> '$.type' = 'state' ORDER BY job, job_events.seq";
    let rows: Vec<Entered> = diesel::sql_query(sql).load(connection)?;
    let mut messages = Vec::new();
    for states in rows.chunk_by(|one, next| one.job == next.job) {
        let mut standing: Option<State> = None;
        for Entered { job, seq, state, now: _ } in states {
            let Ok(state) = named::<State>("job_events.event", state.as_deref().unwrap_or_default()) else {
                messages.push(format!("event {seq} of {job} is a state that this version does not know"));
                continue;
            };
            match standing.map(|standing| standing.transition(state)) {
                None if state != State::Queued => {
                    messages.push(format!("{job} begins as {state}, not as {}", State::Queued));
                }
                Some(Err(illegal)) => {
                    messages.push(format!(
                        "event {seq} of {job}: {} is followed by {}",
                        illegal.from, illegal.to
                    ));
                }
                None | Some(Ok(_)) => {}
            }
            standing = Some(state);
        }
        if let (Some(last), Some(Entered { job, now, .. })) = (standing, states.last())
            && last.to_string() != *now
        {
            messages.push(format!("{job} is {now}, and its last event says {last}"));
        }
    }
    messages.truncate(MAX_FINDINGS + 1);
    Ok(messages)
}
