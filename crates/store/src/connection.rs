//! Connections to the database file, each with its pragmas.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use libsqlite3_sys as _;

use crate::error::StoreError;
use crate::fault::Outcome;

/// SQLite 3.7.0 to 3.51.2 can damage a database when a WAL is reset while another connection writes.
pub(crate) const OLDEST_SQLITE: &str = "3.51.3";

/// How long a connection waits for a lock of another program (a backup, `sqlite3` in a terminal).
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 5000";

/// In this order.
const WRITER_PRAGMAS: [&str; 6] = [
    // First: the ones below may meet a lock already.
    BUSY_TIMEOUT,
    // Readers go on while one writes.
    "PRAGMA journal_mode = WAL",
    // An acknowledged row outlives a power cut. NORMAL syncs at checkpoints alone.
    "PRAGMA synchronous = FULL",
    // Off by default in SQLite, for each connection.
    "PRAGMA foreign_keys = ON",
    // With a mapping, an I/O error is a SIGBUS that kills the server instead of an error.
    "PRAGMA mmap_size = 0",
    // A damaged or foreign schema can't call functions.
    "PRAGMA trusted_schema = OFF",
];

const READER_PRAGMAS: [&str; 4] =
    [BUSY_TIMEOUT, "PRAGMA query_only = ON", "PRAGMA mmap_size = 0", "PRAGMA trusted_schema = OFF"];

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct JournalMode {
    #[diesel(sql_type = Text)]
    journal_mode: String,
}

/// A database file by its absolute path, which SQLite takes as a file's name whatever is in it.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    path: PathBuf,
    text: String,
}

impl Location {
    pub(crate) fn new(path: &Path) -> Result<Self, StoreError> {
        let refused = |reason: &str| StoreError::NotOurs { path: path.to_owned(), reason: reason.to_owned() };
        let path = std::path::absolute(path).map_err(|error| refused(&error.to_string()))?;
        let Some(text) = path.to_str().map(str::to_owned) else {
            return Err(refused("its path is not UTF-8"));
        };
        Ok(Self { path, text })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file with something added to its name.
    pub(crate) fn beside(&self, ending: &str) -> PathBuf {
        PathBuf::from(format!("{}{ending}", self.text))
    }

    /// A connection that writes.
    pub(crate) fn open_to_write(&self) -> Outcome<SqliteConnection> {
        let mut connection = SqliteConnection::establish(&self.text)?;
        check_version(&mut connection)?;
        for pragma in WRITER_PRAGMAS {
            connection.batch_execute(pragma)?;
        }
        // SQLite answers with the mode that it has instead of failing.
        let mode: JournalMode = diesel::sql_query("PRAGMA journal_mode").get_result(&mut connection)?;
        if mode.journal_mode == "wal" {
            Ok(connection)
        } else {
            let text =
                format!("it has no write-ahead log on this disk, but journal mode `{}`", mode.journal_mode);
            Err(StoreError::Io(text).into())
        }
    }

    /// A connection that can't write.
    pub(crate) fn open_to_read(&self) -> Outcome<SqliteConnection> {
        let mut connection = SqliteConnection::establish(&self.read_only_uri())?;
        for pragma in READER_PRAGMAS {
            connection.batch_execute(pragma)?;
        }
        Ok(connection)
    }

    /// See <https://sqlite.org/uri.html>: `%`, `?` and `#` mean something there.
    fn read_only_uri(&self) -> String {
        let path = self.text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        format!("file://{path}?mode=ro")
    }
}

fn check_version(connection: &mut SqliteConnection) -> Outcome<()> {
    let found: Version = diesel::sql_query("SELECT sqlite_version() AS version").get_result(connection)?;
    if numbers(&found.version) >= numbers(OLDEST_SQLITE) {
        Ok(())
    } else {
        Err(StoreError::SqliteTooOld { found: found.version }.into())
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("3.51.3") >= numbers(OLDEST_SQLITE));
        assert!(numbers("3.100.0") > numbers(OLDEST_SQLITE));
        assert!(numbers("3.51.2") < numbers(OLDEST_SQLITE));
        assert!(numbers("3.9.9") < numbers(OLDEST_SQLITE));
    }
}
