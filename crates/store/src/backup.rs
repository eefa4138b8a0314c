//! Copies of the whole database: one before each migration, and one where a person asks for it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use tracing::info;

use crate::clock::now_unix_ms;
use crate::connection::Location;
use crate::error::StoreError;
use crate::fault::{Fault, Outcome};
use crate::open::{existing, private_file};
use crate::{Reply, Store};

/// Copies from before a migration that are kept.
const N_KEPT: usize = 3;

/// What their names go on with after the database's own; a time in milliseconds follows.
const ENDING: &str = ".backup-";

impl Store {
    /// Writes a copy of the database, as it is at this moment, to a file that does not exist yet, and says how many
    /// bytes it has. The copy is whole or not there.
    ///
    /// # Errors
    /// [`StoreError::File`] where something is there or it can't be made.
    pub fn back_up(&self, to: &Path) -> Reply<u64> {
        let to = to.to_owned();
        self.read_plain(move |connection| copy_to_new(connection, &to))
    }
}

/// As [`Store::back_up`], of a database that no store of this program has open; another program may.
///
/// # Errors
/// As there, and [`StoreError::NotOurs`].
pub fn back_up_file(path: &Path, to: &Path) -> Result<u64, StoreError> {
    let location = Location::new(path)?;
    let copied = existing(&location).and_then(|mut connection| copy_to_new(&mut connection, to));
    copied.map_err(|Fault(error)| error)
}

fn copy_to_new(connection: &mut SqliteConnection, to: &Path) -> Outcome<u64> {
    // Looked at before the work is done, and again when the copy gets its name.
    if to.symlink_metadata().is_ok() {
        return Err(failed(to, std::io::ErrorKind::AlreadyExists.into()).into());
    }
    copy(connection, to)?;
    Ok(to.metadata().map_err(|error| failed(to, error))?.len())
}

/// Copies the database to `<name>.backup-<time>`, and keeps the newest of such copies.
pub(crate) fn before_migration(location: &Location) -> Result<(), StoreError> {
    let to = location.beside(&format!("{ENDING}{:013}", now_unix_ms()));
    let copied = location.open_to_read().and_then(|mut connection| copy(&mut connection, &to));
    copied.map_err(|Fault(error)| error)?;
    info!(path = %to.display(), "the database was copied before its migration");
    let mut copies = copies(location)?;
    copies.sort();
    for old in copies.iter().rev().skip(N_KEPT) {
        std::fs::remove_file(old).map_err(|error| failed(old, error))?;
    }
    Ok(())
}

/// A copy that is whole or not there: written under another name and renamed.
fn copy(connection: &mut SqliteConnection, to: &Path) -> Outcome<()> {
    let unfinished = PathBuf::from(format!("{}.unfinished", to.display()));
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(&unfinished, error).into());
        }
        Ok(()) | Err(_) => {}
    }
    let copied = copy_under(connection, &unfinished, to);
    if copied.is_err() {
        // Half a copy is of no use to anybody, and on a full disk it is in the way.
        let _ = std::fs::remove_file(&unfinished);
    }
    copied
}

fn copy_under(connection: &mut SqliteConnection, unfinished: &Path, to: &Path) -> Outcome<()> {
    // VACUUM INTO takes an empty file; made here, it is the owner's alone.
    let file = private_file(unfinished)?;
    // It counts as a write, though not to this database, which the connection can't write anyway.
    connection.batch_execute("PRAGMA query_only = OFF")?;
    let place = unfinished.display().to_string();
    let copied = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(place).execute(connection);
    connection.batch_execute("PRAGMA query_only = ON")?;
    copied?;
    file.sync_all().map_err(|error| failed(unfinished, error))?;
    give_name(unfinished, to).map_err(|error| failed(to, error))?;
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))?;
    }
    Ok(())
}

/// Renames, but replaces nothing: a file that somebody made meanwhile stays.
fn give_name(unfinished: &Path, to: &Path) -> std::io::Result<()> {
    match std::fs::hard_link(unfinished, to) {
        Ok(()) => std::fs::remove_file(unfinished),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links, as on a memory stick.
        Err(_) => std::fs::rename(unfinished, to),
    }
}

fn copies(location: &Location) -> Result<Vec<PathBuf>, StoreError> {
    let path = location.path();
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let beginning = format!("{}{ENDING}", name.display());
    let is_copy = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(&beginning))
            .is_some_and(|time| !time.is_empty() && time.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let listed = std::fs::read_dir(folder).map_err(|error| failed(folder, error))?;
    let paths: Result<Vec<PathBuf>, _> = listed.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths.map_err(|error| failed(folder, error))?.into_iter().filter(is_copy).collect())
}

fn failed(path: &Path, error: std::io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), source: Arc::new(error) }
}
