//! What CubeCL keeps from run to run, compiled kernels and the fastest choices, in one file of records.
//!
//! CubeCL keeps it in Turso, a database of 110 crates and 20 statements' use. This crate takes its place by `[patch]`: the
//! same types and functions, as far as CubeCL calls them, and exactly the statements that it makes (`statement.rs`); any
//! other is an error. Entries are appended to a log under a lock of the file, so several processes share it; a torn end is
//! cut off by the next who writes.
//!
//! # When it can go
//!
//! When CubeCL keeps its caches without a database, or lets a program say where: delete this folder and the patch line. It
//! moves with CubeCL: for a new version build with `--features cuda`, add what the compiler misses, and compare the
//! statements. A statement that is not known costs a kernel compiled anew, not a wrong one.

mod log;
mod statement;
mod values;

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use values::{FromValue, IntoParams, Row, Rows, Value};

use log::Log;

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// Somebody else is writing. Never here: a writer waits.
    Busy(String),
    /// As above.
    BusySnapshot(String),
    /// The file could not be read or written.
    IoError(std::io::ErrorKind, &'static str),
    /// Anything else.
    Error(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(why) | Self::BusySnapshot(why) | Self::Error(why) => f.write_str(why),
            Self::IoError(kind, what) => write!(f, "{what}: {kind}"),
        }
    }
}

impl std::error::Error for Error {}

/// How a transaction begins. Each statement here is one by itself.
pub mod transaction {
    /// When the lock is taken.
    #[derive(Clone, Copy, Debug)]
    pub enum TransactionBehavior {
        /// With the first write.
        Deferred,
        /// At once.
        Immediate,
    }
}

/// Opens a file.
#[derive(Debug)]
pub struct Builder {
    path: PathBuf,
    is_read_only: bool,
}

impl Builder {
    /// At a path.
    pub fn new_local(path: &str) -> Self {
        Self { path: PathBuf::from(path), is_read_only: false }
    }

    /// Never write.
    pub fn read_only(self, is_read_only: bool) -> Self {
        Self { is_read_only, ..self }
    }

    /// Several processes always share the file.
    pub fn experimental_multiprocess_wal(self, _shared: bool) -> Self {
        self
    }

    /// Never done: the file is emptied when it grows too long.
    pub fn experimental_vacuum(self, _allowed: bool) -> Self {
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// It can't be read, or not be made.
    pub async fn build(self) -> Result<Database, Error> {
        let log = Log::open(&self.path, self.is_read_only)?;
        Ok(Database { log: Arc::new(Mutex::new(log)) })
    }
}

/// An open file.
#[derive(Clone, Debug)]
pub struct Database {
    log: Arc<Mutex<Log>>,
}

impl Database {
    /// A way to make statements.
    ///
    /// # Errors
    /// None.
    pub fn connect(&self) -> Result<Connection, Error> {
        Ok(Connection { log: self.log.clone() })
    }
}

/// Makes statements.
#[derive(Clone, Debug)]
pub struct Connection {
    log: Arc<Mutex<Log>>,
}

impl Connection {
    /// Reads.
    ///
    /// # Errors
    /// The file could not be read, or it is no statement of CubeCL's.
    pub async fn query(&self, sql: &str, params: impl IntoParams) -> Result<Rows, Error> {
        self.with(|log| statement::query(log, sql, &params.into_params()))
    }

    /// Writes, and says how many entries it changed.
    ///
    /// # Errors
    /// The file could not be written, or it is no statement of CubeCL's.
    pub async fn execute(&self, sql: &str, params: impl IntoParams) -> Result<u64, Error> {
        self.with(|log| statement::execute(log, sql, params.into_params()))
    }

    /// Settings of the database that Turso is. The one that answers with a row is asked for whether a log was merged: there
    /// is none.
    ///
    /// # Errors
    /// What `show` gives.
    pub async fn pragma_query(
        &self,
        _pragma: &str,
        mut show: impl FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        show(&Row::of([Value::Integer(0)]))
    }

    /// A writer waits as long as it takes: entries are written in milliseconds.
    ///
    /// # Errors
    /// None.
    pub fn busy_timeout(&self, _limit: Duration) -> Result<(), Error> {
        Ok(())
    }

    /// Statements that belong together. Each is whole by itself and none is taken back: they keep what can be made again.
    ///
    /// # Errors
    /// None.
    pub async fn transaction_with_behavior(
        &mut self,
        _behavior: transaction::TransactionBehavior,
    ) -> Result<Transaction<'_>, Error> {
        Ok(Transaction { connection: self })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Log) -> Result<T, Error>) -> Result<T, Error> {
        // A thread that panicked while it appended left a torn end, which the log cuts off.
        work(&mut self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// Statements that belong together.
#[derive(Debug)]
pub struct Transaction<'a> {
    connection: &'a mut Connection,
}

impl Transaction<'_> {
    /// Ends it.
    ///
    /// # Errors
    /// None.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}
