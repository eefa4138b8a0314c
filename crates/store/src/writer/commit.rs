//! One transaction, and what to make of a COMMIT that fails.
//!
//! A failed COMMIT may have reached the disk. Every transaction therefore writes a mark of its own; after a failure the
//! database is opened again, and the mark that is found there says whether the transaction is. Where it is not, the
//! task is run once more.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::prelude::*;
use diesel::result::Error;
use ftl_core::JobId;
use tracing::warn;

use super::{Task, Transaction, panic_text};
use crate::clock::now_unix_ms;
use crate::error::StoreError;
use crate::fault::{Fault, Outcome};
use crate::schema::last_write;

/// Opens a connection that can write.
pub(crate) type Open = Box<dyn FnMut() -> Outcome<SqliteConnection> + Send>;

/// Jobs with new events, and their highest numbers.
type Touched = Vec<(JobId, u64)>;

pub(super) struct Committer {
    open: Open,
    connection: Option<SqliteConnection>,
    /// Tells this store's marks from those of an earlier one.
    begun: String,
    n_writes: u64,
}

enum End {
    Committed(Touched),
    /// Nothing is written.
    Refused(StoreError),
    /// COMMIT failed: it is there, or it is not.
    Unknown(StoreError, Touched),
}

impl Committer {
    /// Opens the first connection, so that whoever opens a store hears of what is wrong.
    pub(super) fn new(mut open: Open) -> Outcome<Self> {
        let connection = Some(open()?);
        let begun = format!("{}-{}", now_unix_ms(), std::process::id());
        Ok(Self { open, connection, begun, n_writes: 0 })
    }

    /// Runs the task in a transaction, and commits it.
    pub(super) fn commit(&mut self, task: &mut dyn Task) -> Result<Touched, StoreError> {
        match self.once(task) {
            End::Committed(touched) => Ok(touched),
            End::Refused(error) => Err(error),
            End::Unknown(error, touched) => {
                warn!(error = %error, "a COMMIT failed; the database is opened again to see what is there");
                if self.is_there(&error)? {
                    return Ok(touched);
                }
                match self.once(task) {
                    End::Committed(touched) => Ok(touched),
                    End::Refused(error) => Err(error),
                    End::Unknown(error, touched) => {
                        if self.is_there(&error)? {
                            Ok(touched)
                        } else {
                            Err(error)
                        }
                    }
                }
            }
        }
    }

    fn once(&mut self, task: &mut dyn Task) -> End {
        let mut connection = match self.connection.take().map_or_else(&mut self.open, Ok) {
            Ok(connection) => connection,
            Err(Fault(error)) => return End::Refused(error),
        };
        self.n_writes += 1;
        let end = transact(&mut connection, &self.mark(), task);
        let keeps = match &end {
            End::Committed(_) => true,
            End::Refused(error) => !error.is_of_sqlite(),
            End::Unknown(..) => false,
        };
        if keeps {
            self.connection = Some(connection);
        } else {
            close(connection);
        }
        end
    }

    /// What the last transaction wrote, and no other.
    fn mark(&self) -> String {
        format!("{}-{}", self.begun, self.n_writes)
    }

    /// Whether the last transaction is in the database.
    fn is_there(&mut self, cause: &StoreError) -> Result<bool, StoreError> {
        let found = (self.open)().and_then(|mut connection| {
            let found: String = last_write::table.select(last_write::mark).first(&mut connection)?;
            self.connection = Some(connection);
            Ok(found)
        });
        match found {
            Ok(found) => Ok(found == self.mark()),
            Err(Fault(error)) => Err(StoreError::OutcomeUnknown(format!("{cause}; then {error}"))),
        }
    }
}

fn transact(connection: &mut SqliteConnection, mark: &str, task: &mut dyn Task) -> End {
    // Kept here and not returned through diesel: where SQLite has rolled back by itself, diesel's own rollback fails and
    // its error takes the place of the cause.
    let mut ran: Option<Result<Touched, StoreError>> = None;
    let run = catch_unwind(AssertUnwindSafe(|| {
        connection.immediate_transaction(|connection| {
            let mut transaction = Transaction { connection, touched: Vec::new() };
            let outcome = set_mark(transaction.connection, mark).and_then(|()| task.run(&mut transaction));
            let touched = transaction.touched;
            match outcome {
                Ok(()) => {
                    ran = Some(Ok(touched));
                    Ok(())
                }
                Err(Fault(error)) => {
                    ran = Some(Err(error));
                    Err(Error::RollbackTransaction)
                }
            }
        })
    }));
    match (run, ran) {
        (Err(panic), _) => End::Refused(StoreError::Panicked(panic_text(panic.as_ref()).to_owned())),
        (Ok(_), Some(Err(error))) => End::Refused(error),
        (Ok(Ok(())), Some(Ok(touched))) => End::Committed(touched),
        (Ok(Err(error)), Some(Ok(touched))) => End::Unknown(Fault::from(error).0, touched),
        (Ok(Err(error)), None) => End::Refused(Fault::from(error).0),
        (Ok(Ok(())), None) => {
            End::Refused(StoreError::Panicked("a transaction ran without its task".to_owned()))
        }
    }
}

fn set_mark(connection: &mut SqliteConnection, mark: &str) -> Outcome<()> {
    diesel::update(last_write::table).set(last_write::mark.eq(mark)).execute(connection)?;
    Ok(())
}

/// diesel panics where SQLite does not like to close.
fn close(connection: SqliteConnection) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(connection))) {
        warn!(panic = panic_text(panic.as_ref()), "a connection did not close");
    }
}
