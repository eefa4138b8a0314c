//! Opening the database: nobody else has it, it is ours and not newer than this program, it is copied before it is
//! migrated, and only its owner can read it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::migration::MigrationSource;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::backup;
use crate::connection::Location;
use crate::error::StoreError;
use crate::fault::{Fault, Outcome, classify};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");

/// What every SQLite database begins with (<https://sqlite.org/fileformat.html>).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Held while the store is open. SQLite itself would let a second program write.
pub(crate) struct Lock {
    _file: File,
}

#[derive(PartialEq)]
pub(crate) enum Found {
    Nothing,
    Ours { is_current: bool },
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Locks the file, looks at it, and brings it up to date.
pub(crate) fn prepare(location: &Location) -> Result<Lock, StoreError> {
    // Before the first look: closing a file ends all of a process's locks on it, also those of another SQLite
    // connection, so nobody may have one.
    let lock = lock(location)?;
    let found = look(location).map_err(|Fault(error)| error)?;
    keep_private(location.path())?;
    match found {
        Found::Ours { is_current: true } => {}
        Found::Ours { is_current: false } => {
            backup::before_migration(location)?;
            migrate(location)?;
        }
        Found::Nothing => migrate(location)?,
    }
    Ok(lock)
}

/// A connection that reads a database of ours, whatever its version. Nothing is changed and nobody is locked out.
pub(crate) fn existing(location: &Location) -> Outcome<SqliteConnection> {
    match look(location) {
        Ok(Found::Ours { .. }) | Err(Fault(StoreError::NewerDatabase { .. })) => location.open_to_read(),
        Ok(Found::Nothing) => {
            let reason = "there is none, or it is empty".to_owned();
            Err(StoreError::NotOurs { path: location.path().to_owned(), reason }.into())
        }
        Err(fault) => Err(fault),
    }
}

/// A process that was killed while it started another leaves its locks to that one for a moment.
const LOCK_TRIES: u32 = 10;
const LOCK_RETRY: Duration = Duration::from_millis(20);

fn lock(location: &Location) -> Result<Lock, StoreError> {
    let path = location.beside(".lock");
    let file = private_file(&path)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_RETRY),
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::File { path, source: Arc::new(error) });
            }
        }
    }
    Err(StoreError::AlreadyOpen(location.path().to_owned()))
}

/// Reads without changing a byte.
pub(crate) fn look(location: &Location) -> Outcome<Found> {
    if !has_content(location.path())? {
        return Ok(Found::Nothing);
    }
    let known = known_versions();
    let mut connection = location.open_to_read()?;
    let tables = "SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'";
    let n_tables: Count = diesel::sql_query(tables).get_result(&mut connection)?;
    let ours = format!("{tables} AND name = '__diesel_schema_migrations'");
    let n_ours: Count = diesel::sql_query(ours).get_result(&mut connection)?;
    if n_tables.n == 0 {
        return Ok(Found::Nothing);
    }
    let foreign =
        |reason: &str| StoreError::NotOurs { path: location.path().to_owned(), reason: reason.to_owned() };
    if n_ours.n == 0 {
        return Err(foreign("it holds other tables").into());
    }
    let applied: Vec<Applied> =
        diesel::sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version")
            .load(&mut connection)?;
    let strange = applied.iter().rev().find(|row| !known.contains(&row.version));
    match strange {
        None => Ok(Found::Ours { is_current: applied.len() == known.len() }),
        Some(_) if !applied.iter().any(|row| known.contains(&row.version)) => {
            Err(foreign("it has none of the known migrations").into())
        }
        Some(Applied { version }) => Err(StoreError::NewerDatabase {
            path: location.path().to_owned(),
            version: version.clone(),
            newest_known: known.into_iter().max().expect("migrations are compiled in"),
        }
        .into()),
    }
}

/// Whether there is a database; anything else with content is refused.
fn has_content(path: &Path) -> Result<bool, StoreError> {
    let failed = |error: std::io::Error| StoreError::File { path: path.to_owned(), source: Arc::new(error) };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut head = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut head).map_err(failed)?;
    if head.is_empty() || head == MAGIC {
        return Ok(!head.is_empty());
    }
    Err(StoreError::NotOurs {
        path: path.to_owned(),
        reason: "it does not begin as an SQLite database does".to_owned(),
    })
}

pub(crate) fn known_versions() -> Vec<String> {
    MigrationSource::<Sqlite>::migrations(&MIGRATIONS)
        .expect("embedded migrations are read without a file")
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect()
}

fn migrate(location: &Location) -> Result<(), StoreError> {
    let mut connection = location.open_to_write().map_err(|Fault(error)| error)?;
    let applied = connection.run_pending_migrations(MIGRATIONS);
    applied.map(drop).map_err(|error| classify(&error.to_string()))
}

/// Creates the database file for its owner alone, or makes it so. SQLite gives its other files the same rights.
fn keep_private(path: &Path) -> Result<(), StoreError> {
    drop(private_file(path)?);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let set = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600));
        set.map_err(|error| StoreError::File { path: path.to_owned(), source: Arc::new(error) })?;
    }
    Ok(())
}

/// Opens a file for writing as it is; where there is none, it is made for its owner alone.
pub(crate) fn private_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| StoreError::File { path: path.to_owned(), source: Arc::new(error) })
}
