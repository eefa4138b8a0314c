//! How old a database is, seen without opening it to write.

use std::path::Path;

use crate::connection::Location;
use crate::error::StoreError;
use crate::fault::Fault;
use crate::open::{Found, look};

/// How the database at a path stands to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// There is none yet.
    Absent,
    /// Of this version.
    Current,
    /// Of an earlier version; it is brought up to date when a service opens it.
    Older,
}

impl Version {
    /// Looks at a database, also while a store has it open. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NewerDatabase`], [`StoreError::NotOurs`], and what SQLite and the operating system refuse.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        let location = Location::new(path)?;
        match look(&location).map_err(|Fault(error)| error)? {
            Found::Nothing => Ok(Self::Absent),
            Found::Ours { is_current: true } => Ok(Self::Current),
            Found::Ours { is_current: false } => Ok(Self::Older),
        }
    }
}
