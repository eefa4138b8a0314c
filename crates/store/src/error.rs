//! Why the store did not do what it was asked. The messages are for the log: they hold paths and what SQLite says.

use std::path::PathBuf;
use std::sync::Arc;

use ftl_core::job::{IllegalTransition, State};

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing has this id; for an attempt, the job has none with this number.
    #[error("the database holds nothing with this id")]
    NotFound,
    /// The job's state does not allow the change.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// Only a job that no worker is at, and none will be by itself, can be removed.
    #[error("a job that is {0} can't be removed; cancel it first")]
    NotAtRest(State),
    /// Only a job in the queue has a place there.
    #[error("the job is {0} and not in the queue; only a QUEUED one can be moved, or be moved to")]
    NotQueued(State),
    /// The queue has changed since the caller saw it.
    #[error("the job is at place {is} of the queue, not at {expected} any more; look at the queue again")]
    PlaceChanged {
        /// Where it is.
        is: u64,
        /// Where the caller saw it.
        expected: u64,
    },
    /// The attempt's end was kept before.
    #[error("attempt {0} has ended already")]
    AttemptEnded(u32),
    /// Another job was made with this request id and another spec.
    #[error("the request id was used for a job with another spec; send a new one")]
    RequestIdTaken,
    /// Another config has this name.
    #[error("the name is taken; choose another")]
    NameTaken,
    /// Something has this id already.
    #[error("the id is taken; draw another")]
    IdTaken,
    /// The text was not given out as the end of a page of this list.
    #[error("the page token was not given out for this list; begin with the first page")]
    BadPageToken,
    /// A state among a worker's events.
    #[error("event {0} is a change of state, which is made with `transition`; append the others without it")]
    StateAmongEvents(u64),
    /// A value that the database has no place for.
    #[error("{field} can't be stored: {reason}")]
    Unstorable {
        /// Which value.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A value in the database that this version does not understand.
    #[error("{field} holds what this version does not understand: {reason}")]
    Unreadable {
        /// Table and column.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Another store has the database open.
    #[error("`{}` is open in another program; end that one first", .0.display())]
    AlreadyOpen(PathBuf),
    /// A newer version has changed the tables. The file is untouched.
    #[error(
        "`{}` was written by a newer version (it has migration {version}, this program knows up to {newest_known}); \
         use that version, or a backup from before", .path.display()
    )]
    NewerDatabase {
        /// The file.
        path: PathBuf,
        /// The migration that is not known here.
        version: String,
        /// The newest migration that is.
        newest_known: String,
    },
    /// The file is no database, or another program's. It is untouched.
    #[error("`{}` is no database of FineTune Lab: {reason}; name another file", .path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// The SQLite that is linked in can damage a database.
    #[error(
        "SQLite {found} has a fault that can damage a database; at least {} is needed",
        crate::connection::OLDEST_SQLITE
    )]
    SqliteTooOld {
        /// Its version.
        found: String,
    },
    /// Another program holds a lock on the database.
    #[error("another program keeps the database locked; close it: {0}")]
    Busy(String),
    /// The disk is full. Nothing was written.
    #[error("the disk is full; make room: {0}")]
    DiskFull(String),
    /// The database, or its folder, can't be written.
    #[error("the database can't be written: {0}")]
    ReadOnly(String),
    /// The file is damaged.
    #[error("the database is damaged; restore a backup: {0}")]
    Damaged(String),
    /// The operating system refused to read or write.
    #[error("the database could not be read or written: {0}")]
    Io(String),
    /// A file beside the database could not be made, read or removed.
    #[error("`{}` could not be used", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: Arc<std::io::Error>,
    },
    /// COMMIT failed and the database could not be opened again to look: the change is there, or it is not.
    #[error("whether the change was stored is not known: {0}")]
    OutcomeUnknown(String),
    /// SQLite refused a statement: a fault of ours.
    #[error("SQLite refused a statement: {0}")]
    Sql(String),
    /// The store's own code panicked; nothing was written.
    #[error("the store panicked: {0}")]
    Panicked(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}
