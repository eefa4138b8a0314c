//! Events on their way in: many calls are committed at once, each whole or not at all, and what was kept before is passed
//! over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use diesel::prelude::*;
use ftl_core::event::Sampled;
use ftl_core::{Event, EventRecord, JobId};

use crate::checkpoints::told;
use crate::error::StoreError;
use crate::events::last_attempt_seq;
use crate::fault::Outcome;
use crate::jobs::{load_standing, save_standing};
use crate::reply::{Answer, Reply};
use crate::rows::event::NewEventRow;
use crate::rows::files::NewArtifactRow;
use crate::rows::metric::NumbersRow;
use crate::rows::prediction::NewPredictionRow;
use crate::rows::value::{count, integer, json, optional_integer};
use crate::schema::{artifacts, job_events, metrics, predictions};
use crate::standing::Standing;
use crate::writer::{Message, Task, Transaction};
use crate::{Store, files};

impl Store {
    /// Keeps what a worker reported, and what follows from it: the job's phase and progress, its checkpoints and its
    /// artifacts. Answers with the job's highest number then.
    ///
    /// A record's `seq` is the attempt's own number; the job's number is given here. Records that were kept before are
    /// passed over, so that whoever is in doubt can send them again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such an attempt, [`StoreError::StateAmongEvents`] with a change of state among
    /// the records. Nothing of them is kept then.
    pub fn append_events(&self, id: &JobId, attempt: u32, records: Vec<EventRecord>) -> Reply<u64> {
        let records: Result<Vec<Prepared>, StoreError> = records.into_iter().map(Prepared::new).collect();
        match records {
            Err(error) => Reply::ready(Err(error)),
            Ok(records) => {
                let (answer, reply) = Reply::channel();
                let append = Append { job: id.clone(), attempt: i64::from(attempt), records, answer };
                self.send(Message::Append(append));
                reply
            }
        }
    }
}

/// A record as its rows will hold it.
struct Prepared {
    attempt_seq: u64,
    attempt_seq_row: i64,
    time_unix_ms: i64,
    event: Event,
    row: Row,
}

enum Row {
    Stepped(NumbersRow),
    Evaluated {
        numbers: NumbersRow,
        step: i64,
        loss_nats: f64,
    },
    Event {
        json: String,
    },
    Saved {
        json: String,
        path: String,
        step: i64,
        bytes: i64,
    },
    Removed {
        json: String,
        path: String,
    },
    Damaged {
        json: String,
        path: String,
        kept_at: String,
        message: String,
    },
    Artifact {
        json: String,
        path: String,
        kind: String,
        bytes: i64,
    },
    /// The rest is the event's.
    Prediction {
        json: String,
        step: i64,
    },
}

impl Prepared {
    /// Everything that can be done before the writer's turn, and everything that can be refused: one call's rows must
    /// not spoil those that are committed with them.
    fn new(record: EventRecord) -> Result<Self, StoreError> {
        let EventRecord { seq, time_unix_ms, event } = record;
        let row = match &event {
            Event::State { .. } => return Err(StoreError::StateAmongEvents(seq)),
            Event::Stepped(stepped) => Row::Stepped(stepped.try_into()?),
            Event::Evaluated(evaluated) => Row::Evaluated {
                numbers: evaluated.try_into()?,
                step: integer("checkpoints.step", evaluated.step)?,
                loss_nats: evaluated.loss_nats,
            },
            Event::Saved { step, path, bytes } => Row::Saved {
                json: json("job_events.event", &event)?,
                path: path.clone(),
                step: integer("checkpoints.step", *step)?,
                bytes: integer("checkpoints.bytes", *bytes)?,
            },
            Event::Removed { step: _, path } => {
                Row::Removed { json: json("job_events.event", &event)?, path: path.clone() }
            }
            Event::Damaged { step: _, path, kept_at, message } => Row::Damaged {
                json: json("job_events.event", &event)?,
                path: path.clone(),
                kept_at: kept_at.clone(),
                message: message.clone(),
            },
            Event::Exported { path, kind } => Row::Artifact {
                json: json("job_events.event", &event)?,
                path: path.clone(),
                kind: kind.clone(),
                bytes: integer("artifacts.bytes", files::bytes_at(Path::new(path)))?,
            },
            Event::Phase { phase: _, done, total, unit: _ } => {
                optional_integer("jobs.step", *done)?;
                optional_integer("jobs.total_steps", *total)?;
                Row::Event { json: json("job_events.event", &event)? }
            }
            Event::Sampled(sampled) => Row::Prediction {
                json: json("job_events.event", &event)?,
                step: integer("predictions.step", sampled.step)?,
            },
            Event::Note { .. } => Row::Event { json: json("job_events.event", &event)? },
        };
        Ok(Self {
            attempt_seq: seq,
            attempt_seq_row: integer("metrics.attempt_seq", seq)?,
            time_unix_ms: integer("metrics.time_unix_ms", time_unix_ms)?,
            event,
            row,
        })
    }
}

/// A call of [`Store::append_events`].
pub(crate) struct Append {
    job: JobId,
    attempt: i64,
    records: Vec<Prepared>,
    answer: Answer<u64>,
}

/// Calls that are committed together.
pub(crate) struct Batch {
    appends: Vec<Append>,
    n_rows: usize,
    results: Vec<Result<u64, StoreError>>,
}

impl Batch {
    pub(crate) fn new(first: Append) -> Self {
        let mut batch = Self { appends: Vec::new(), n_rows: 0, results: Vec::new() };
        batch.push(first);
        batch
    }

    pub(crate) fn push(&mut self, append: Append) {
        self.n_rows += append.records.len();
        self.appends.push(append);
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }
}

impl Task for Batch {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Outcome<()> {
        let mut standings = HashMap::new();
        let mut last_seqs = HashMap::new();
        self.results.clear();
        for append in &self.appends {
            let known = Known { standings: &mut standings, last_seqs: &mut last_seqs };
            match write(transaction.connection, append, known) {
                Ok(seq) => self.results.push(Ok(seq)),
                // Of a job that is gone; the others' rows are as good as before.
                Err(fault) if !fault.0.is_of_sqlite() => self.results.push(Err(fault.0)),
                Err(fault) => return Err(fault),
            }
        }
        for (job, standing) in standings {
            save_standing(transaction.connection, job.as_str(), &standing)?;
            transaction.touch(job, standing.seq);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { appends, n_rows: _, results } = *self;
        match committed {
            Ok(()) => {
                for (append, result) in appends.into_iter().zip(results) {
                    let _ = append.answer.send(result);
                }
            }
            Err(error) => {
                for append in appends {
                    let _ = append.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// What the calls of a batch before this one have read and changed.
struct Known<'batch, 'task> {
    standings: &'batch mut HashMap<&'task JobId, Standing>,
    last_seqs: &'batch mut HashMap<(&'task JobId, i64), u64>,
}

fn write<'task>(
    connection: &mut SqliteConnection,
    append: &'task Append,
    known: Known<'_, 'task>,
) -> Outcome<u64> {
    let Append { job, attempt, records, answer: _ } = append;
    let Known { standings, last_seqs } = known;
    let last_seq = match last_seqs.entry((job, *attempt)) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let last = last_attempt_seq(connection, job.as_str(), *attempt)?;
            entry.insert(count("metrics.attempt_seq", last)?)
        }
    };
    let standing = match standings.entry(job) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(load_standing(connection, job.as_str())?),
    };
    for record in records {
        // The usual record is the newest. An older one is looked for: it may have been kept, or have been late.
        if record.attempt_seq <= *last_seq && is_kept(connection, job.as_str(), *attempt, record)? {
            continue;
        }
        let seq = integer("jobs.seq", standing.next_seq())?;
        let place = Place { job: job.as_str(), attempt: *attempt, seq };
        insert(connection, &place, record)?;
        standing.follow(&record.event);
        *last_seq = record.attempt_seq.max(*last_seq);
    }
    Ok(standing.seq)
}

/// Where an event belongs.
struct Place<'a> {
    job: &'a str,
    attempt: i64,
    seq: i64,
}

fn insert(connection: &mut SqliteConnection, place: &Place<'_>, record: &Prepared) -> Outcome<()> {
    let Place { job, attempt, seq } = place;
    let Prepared { attempt_seq: _, attempt_seq_row, time_unix_ms, event: told, row } = record;
    let event = |json| NewEventRow {
        job,
        seq: *seq,
        attempt: *attempt,
        attempt_seq: Some(*attempt_seq_row),
        time_unix_ms: *time_unix_ms,
        event: json,
    };
    let metric = |connection: &mut SqliteConnection, numbers: &NumbersRow| -> Outcome<()> {
        let key = (
            metrics::job.eq(job),
            metrics::seq.eq(seq),
            metrics::attempt.eq(attempt),
            metrics::attempt_seq.eq(attempt_seq_row),
            metrics::time_unix_ms.eq(time_unix_ms),
        );
        diesel::insert_into(metrics::table).values((key, numbers)).execute(connection)?;
        Ok(())
    };
    match row {
        Row::Stepped(numbers) => metric(connection, numbers)?,
        Row::Evaluated { numbers, step, loss_nats } => {
            metric(connection, numbers)?;
            // Usually the checkpoint comes after it; where the run was stopped in between, before.
            told::evaluated(connection, job, (*step, *loss_nats))?;
        }
        Row::Event { json } => {
            diesel::insert_into(job_events::table).values(&event(json)).execute(connection)?;
        }
        Row::Saved { json, path, step, bytes } => {
            diesel::insert_into(job_events::table).values(&event(json)).execute(connection)?;
            let saved = told::Saved {
                path,
                seq: *seq,
                attempt: *attempt,
                step: *step,
                bytes: *bytes,
                created_unix_ms: *time_unix_ms,
            };
            told::saved(connection, job, &saved)?;
        }
        Row::Removed { json, path } => {
            diesel::insert_into(job_events::table).values(&event(json)).execute(connection)?;
            told::removed(connection, job, path)?;
        }
        Row::Damaged { json, path, kept_at, message } => {
            diesel::insert_into(job_events::table).values(&event(json)).execute(connection)?;
            told::damaged(connection, job, (path, kept_at), message)?;
        }
        Row::Artifact { json, path, kind, bytes } => {
            diesel::insert_into(job_events::table).values(&event(json)).execute(connection)?;
            let (job, seq, bytes, created_unix_ms) = (*job, *seq, *bytes, *time_unix_ms);
            let row = NewArtifactRow { job, path, seq, kind, bytes, created_unix_ms };
            diesel::replace_into(artifacts::table).values(&row).execute(connection)?;
        }
        Row::Prediction { json, step } => {
            diesel::insert_into(job_events::table).values(&event(json)).execute(connection)?;
            let Event::Sampled(Sampled { step: _, prompt, text, reference }) = told else {
                unreachable!("the row was made of such an event")
            };
            let row = NewPredictionRow {
                job,
                seq: *seq,
                attempt: *attempt,
                step: *step,
                time_unix_ms: *time_unix_ms,
                prompt,
                text,
                reference: reference.as_deref(),
            };
            diesel::insert_into(predictions::table).values(&row).execute(connection)?;
        }
    }
    Ok(())
}

fn is_kept(connection: &mut SqliteConnection, job: &str, attempt: i64, record: &Prepared) -> Outcome<bool> {
    let number = record.attempt_seq_row;
    let of_events: Option<i64> = job_events::table
        .filter(job_events::job.eq(job))
        .filter(job_events::attempt.eq(attempt))
        .filter(job_events::attempt_seq.eq(number))
        .select(job_events::seq)
        .first(connection)
        .optional()?;
    if of_events.is_some() {
        return Ok(true);
    }
    let of_metrics: Option<i64> = metrics::table
        .filter(metrics::job.eq(job))
        .filter(metrics::attempt.eq(attempt))
        .filter(metrics::attempt_seq.eq(number))
        .select(metrics::seq)
        .first(connection)
        .optional()?;
    Ok(of_metrics.is_some())
}
