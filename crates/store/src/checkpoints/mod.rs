//! Checkpoints: what their workers reported of them, and what people and the service did to them since.
//!
//! A row says where a checkpoint lies and what became of it, so that nobody has to look at the disk to list them. What
//! no event could tell, since a worker or the service died in between, is put right by [`Store::found_on_disk`].

pub(crate) mod told;

use std::path::{Path, PathBuf};

use diesel::prelude::*;
use ftl_core::job::{Checkpoint, CheckpointState};
use ftl_core::{Event, JobId, Page, PageRequest};

use crate::clock::now_unix_ms;
use crate::error::StoreError;
use crate::events::must_exist;
use crate::fault::Outcome;
use crate::files::bytes_at;
use crate::jobs::{append_own, load_standing};
use crate::page::{Cut, List};
use crate::rows::checkpoint::CheckpointRow;
use crate::rows::value::{integer, path_text};
use crate::schema::checkpoints;
use crate::standing::Standing;
use crate::writer::Transaction;
use crate::{Reply, Store};

const COMPLETE: &str = "COMPLETE";
const DAMAGED: &str = "DAMAGED";
const REMOVED: &str = "REMOVED";

/// Which checkpoints a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Those that are on disk, damaged or not.
    OnDisk,
    /// Also those that are not any more.
    All,
}

/// A checkpoint's directory that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// The step in its name.
    pub step: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether a job can go on from it; one that was set aside is damaged.
    pub usable: bool,
}

impl Store {
    /// All checkpoints that a job ever had, oldest first. One that was written again to the same place is listed once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a job.
    pub fn checkpoints(&self, id: &JobId) -> Reply<Vec<Checkpoint>> {
        let job = id.clone();
        self.read(move |connection| all(connection, job.as_str()))
    }

    /// A job's checkpoints, newest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a job, [`StoreError::BadPageToken`].
    pub fn list_checkpoints(
        &self,
        id: &JobId,
        page: &PageRequest,
        listed: Listed,
    ) -> Reply<Page<Checkpoint>> {
        let job = id.clone();
        let cut = match Cut::new(List::Checkpoints, page) {
            Ok(cut) => cut,
            Err(error) => return Reply::ready(Err(error)),
        };
        self.read(move |connection| {
            must_exist(connection, job.as_str())?;
            let mut query = checkpoints::table
                .filter(checkpoints::job.eq(job.as_str()))
                .filter(checkpoints::seq.lt(cut.before))
                .order(checkpoints::seq.desc())
                .limit(cut.limit())
                .select(CheckpointRow::as_select())
                .into_boxed();
            match listed {
                Listed::OnDisk => query = query.filter(checkpoints::state.ne(REMOVED)),
                Listed::All => {}
            }
            let rows: Vec<CheckpointRow> = query.load(connection)?;
            let roles = Roles::of(connection, job.as_str())?;
            let numbered = |row: CheckpointRow| row.numbered().map(|(number, it)| (number, roles.with(it)));
            Ok(cut.page(rows.into_iter().map(numbered).collect::<Result<_, _>>()?))
        })
    }

    /// The checkpoint that lies, or lay, in this directory.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a job.
    pub fn checkpoint(&self, id: &JobId, path: &Path) -> Reply<Option<Checkpoint>> {
        let (job, path) = (id.clone(), path.to_owned());
        self.read(move |connection| {
            must_exist(connection, job.as_str())?;
            one(connection, job.as_str(), &path_text("checkpoints.path", &path)?)
        })
    }

    /// The first checkpoint that an event after the one with this number told of.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a job.
    pub fn checkpoint_after(&self, id: &JobId, seq: u64) -> Reply<Option<Checkpoint>> {
        let job = id.clone();
        self.read(move |connection| {
            must_exist(connection, job.as_str())?;
            let row: Option<CheckpointRow> = checkpoints::table
                .filter(checkpoints::job.eq(job.as_str()))
                .filter(checkpoints::seq.gt(i64::try_from(seq).unwrap_or(i64::MAX)))
                .order(checkpoints::seq)
                .select(CheckpointRow::as_select())
                .first(connection)
                .optional()?;
            let roles = Roles::of(connection, job.as_str())?;
            Ok(row.map(CheckpointRow::numbered).transpose()?.map(|(_, checkpoint)| roles.with(checkpoint)))
        })
    }

    /// Keeps that a checkpoint is pinned on disk. A pin is of a step: whatever is saved there again is pinned, too.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a checkpoint.
    pub fn checkpoint_pinned(&self, id: &JobId, path: &Path) -> Reply<Checkpoint> {
        self.pin(id, path, 1)
    }

    /// Keeps that a checkpoint is pinned no more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a checkpoint.
    pub fn checkpoint_unpinned(&self, id: &JobId, path: &Path) -> Reply<Checkpoint> {
        self.pin(id, path, 0)
    }

    fn pin(&self, id: &JobId, path: &Path, pinned: i64) -> Reply<Checkpoint> {
        let (job, path) = (id.clone(), path.to_owned());
        self.write(move |transaction| {
            let (connection, job) = (&mut *transaction.connection, job.as_str());
            let path = path_text("checkpoints.path", &path)?;
            let checkpoint = one(connection, job, &path)?.ok_or(StoreError::NotFound)?;
            let of_step = checkpoints::step.eq(integer("checkpoints.step", checkpoint.step)?);
            diesel::update(checkpoints::table.filter(checkpoints::job.eq(job)).filter(of_step))
                .set(checkpoints::pinned.eq(pinned))
                .execute(connection)?;
            Ok(one(connection, job, &path)?.ok_or(StoreError::NotFound)?)
        })
    }

    /// Keeps that a checkpoint is on disk no more, and tells so in an event of the job. What is kept already is not told
    /// again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a checkpoint.
    pub fn checkpoint_removed(&self, id: &JobId, path: &Path) -> Reply<()> {
        let (id, path) = (id.clone(), path.to_owned());
        self.write(move |transaction| {
            let path = path_text("checkpoints.path", &path)?;
            let found = one(transaction.connection, id.as_str(), &path)?.ok_or(StoreError::NotFound)?;
            let mut standing = load_standing(transaction.connection, id.as_str())?;
            tell_removed(transaction, (&id, &mut standing), &found)
        })
    }

    /// Keeps what a comparison of `checkpoint` with what was written came to: `None`, or what is wrong. A damage that was
    /// not known is told in an event of the job. Where the checkpoint was deleted or written again since it was read,
    /// nothing changes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a checkpoint.
    pub fn checkpoint_verified(
        &self,
        id: &JobId,
        checkpoint: &Checkpoint,
        damage: Option<String>,
    ) -> Reply<Checkpoint> {
        let (id, path, seq) = (id.clone(), checkpoint.path.clone(), checkpoint.seq);
        self.write(move |transaction| {
            let path = path_text("checkpoints.path", &path)?;
            let job = id.as_str();
            let found = one(transaction.connection, job, &path)?.ok_or(StoreError::NotFound)?;
            if found.seq != seq || found.state == CheckpointState::Removed {
                return Ok(found);
            }
            let now = now_unix_ms();
            let state = if damage.is_some() { DAMAGED } else { COMPLETE };
            diesel::update(checkpoints::table.find((job, &path)))
                .set((
                    checkpoints::state.eq(state),
                    checkpoints::damage.eq(damage.as_deref()),
                    checkpoints::verified_unix_ms.eq(integer("checkpoints.verified_unix_ms", now)?),
                ))
                .execute(transaction.connection)?;
            if let (CheckpointState::Complete, Some(message)) = (found.state, &damage) {
                let mut standing = load_standing(transaction.connection, job)?;
                let event = Event::Damaged {
                    step: found.step,
                    path: path.clone(),
                    kept_at: path.clone(),
                    message: message.clone(),
                };
                append_own(transaction, &id, &mut standing, (&event, now))?;
            }
            Ok(one(transaction.connection, job, &path)?.ok_or(StoreError::NotFound)?)
        })
    }

    /// Puts right what no event told, since who would have reported it died: checkpoints that are gone, that are there,
    /// and that are pinned. `on_disk` is everything in the job's directory, at a time when nobody works there; `attempt`
    /// is the last that did.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such an attempt.
    pub fn found_on_disk(&self, id: &JobId, attempt: u32, on_disk: Vec<OnDisk>) -> Reply<()> {
        let id = id.clone();
        self.write(move |transaction| {
            let mut standing = load_standing(transaction.connection, id.as_str())?;
            let known = all(transaction.connection, id.as_str())?;
            for checkpoint in &known {
                if !on_disk.iter().any(|found| found.path == checkpoint.path) {
                    tell_removed(transaction, (&id, &mut standing), checkpoint)?;
                }
            }
            for found in &on_disk {
                let kept = known.iter().find(|checkpoint| checkpoint.path == found.path);
                let is_kept = kept.is_some_and(|checkpoint| checkpoint.state != CheckpointState::Removed);
                if found.usable && !is_kept {
                    tell_saved(transaction, (&id, &mut standing), attempt, found)?;
                }
                let path = path_text("checkpoints.path", &found.path)?;
                diesel::update(checkpoints::table.find((id.as_str(), path)))
                    .set(checkpoints::pinned.eq(i64::from(found.pinned)))
                    .execute(transaction.connection)?;
            }
            Ok(())
        })
    }
}

/// Which checkpoints of a job stand out; those that are complete alone.
struct Roles {
    last: Option<i64>,
    best: Option<i64>,
}

impl Roles {
    fn of(connection: &mut SqliteConnection, job: &str) -> Outcome<Self> {
        let complete =
            checkpoints::table.filter(checkpoints::job.eq(job)).filter(checkpoints::state.eq(COMPLETE));
        let last = complete.order(checkpoints::step.desc()).select(checkpoints::seq);
        let best = complete
            .filter(checkpoints::eval_loss_nats.is_not_null())
            .order((checkpoints::eval_loss_nats, checkpoints::step))
            .select(checkpoints::seq);
        Ok(Self { last: last.first(connection).optional()?, best: best.first(connection).optional()? })
    }

    fn with(&self, checkpoint: Checkpoint) -> Checkpoint {
        let is = |role: Option<i64>| role.and_then(|seq| u64::try_from(seq).ok()) == Some(checkpoint.seq);
        Checkpoint { last: is(self.last), best: is(self.best), ..checkpoint }
    }
}

fn all(connection: &mut SqliteConnection, job: &str) -> Outcome<Vec<Checkpoint>> {
    must_exist(connection, job)?;
    let rows: Vec<CheckpointRow> = checkpoints::table
        .filter(checkpoints::job.eq(job))
        .order(checkpoints::seq)
        .select(CheckpointRow::as_select())
        .load(connection)?;
    let roles = Roles::of(connection, job)?;
    let checkpoint = |row: CheckpointRow| row.numbered().map(|(_, checkpoint)| roles.with(checkpoint));
    Ok(rows.into_iter().map(checkpoint).collect::<Result<_, _>>()?)
}

fn one(connection: &mut SqliteConnection, job: &str, path: &str) -> Outcome<Option<Checkpoint>> {
    let row: Option<CheckpointRow> = checkpoints::table
        .find((job, path))
        .select(CheckpointRow::as_select())
        .first(connection)
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let (_, checkpoint) = row.numbered()?;
    Ok(Some(Roles::of(connection, job)?.with(checkpoint)))
}

fn tell_removed(
    transaction: &mut Transaction<'_>,
    (id, standing): (&JobId, &mut Standing),
    checkpoint: &Checkpoint,
) -> Outcome<()> {
    if checkpoint.state == CheckpointState::Removed {
        return Ok(());
    }
    let path = path_text("checkpoints.path", &checkpoint.path)?;
    told::removed(transaction.connection, id.as_str(), &path)?;
    let event = Event::Removed { step: checkpoint.step, path };
    append_own(transaction, id, standing, (&event, now_unix_ms())).map(|_| ())
}

fn tell_saved(
    transaction: &mut Transaction<'_>,
    (id, standing): (&JobId, &mut Standing),
    attempt: u32,
    found: &OnDisk,
) -> Outcome<()> {
    let OnDisk { step, path, pinned: _, usable: _ } = found;
    let bytes = bytes_at(path);
    let path = path_text("checkpoints.path", path)?;
    let now = now_unix_ms();
    let event = Event::Saved { step: *step, path: path.clone(), bytes };
    let seq = append_own(transaction, id, standing, (&event, now))?;
    let row = told::Saved {
        path: &path,
        seq: integer("checkpoints.seq", seq)?,
        attempt: i64::from(attempt),
        step: integer("checkpoints.step", *step)?,
        bytes: integer("checkpoints.bytes", bytes)?,
        created_unix_ms: integer("checkpoints.created_unix_ms", now)?,
    };
    told::saved(transaction.connection, id.as_str(), &row)
}
