//! What a failure of SQLite means. diesel hands full disks, I/O errors, locks and read-only files on as text alone, so
//! the text is read, here and nowhere else.

use diesel::result::{ConnectionError, Error};
use ftl_core::job::IllegalTransition;

use crate::error::StoreError;

/// A [`StoreError`] on its way through diesel's transactions, which want to put their own errors into it.
#[derive(Debug)]
pub(crate) struct Fault(pub StoreError);

pub(crate) type Outcome<T> = Result<T, Fault>;

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

impl From<IllegalTransition> for Fault {
    fn from(error: IllegalTransition) -> Self {
        Self(error.into())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(classify(&text_of(&error)))
    }
}

impl From<ConnectionError> for Fault {
    fn from(error: ConnectionError) -> Self {
        Self(classify(&error.to_string()))
    }
}

impl StoreError {
    /// Whether the same call may succeed later, without anybody changing it: there is room again, a disk answers again, a
    /// lock is released.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Busy(_)
            | Self::DiskFull(_)
            | Self::ReadOnly(_)
            | Self::Io(_)
            | Self::File { .. }
            | Self::OutcomeUnknown(_) => true,
            Self::Damaged(_)
            | Self::Sql(_)
            | Self::Panicked(_)
            | Self::NotFound
            | Self::Illegal(_)
            | Self::NotAtRest(_)
            | Self::NotQueued(_)
            | Self::PlaceChanged { .. }
            | Self::AttemptEnded(_)
            | Self::RequestIdTaken
            | Self::NameTaken
            | Self::IdTaken
            | Self::BadPageToken
            | Self::StateAmongEvents(_)
            | Self::Unstorable { .. }
            | Self::Unreadable { .. }
            | Self::AlreadyOpen(_)
            | Self::NewerDatabase { .. }
            | Self::NotOurs { .. }
            | Self::SqliteTooOld { .. }
            | Self::Closed => false,
        }
    }

    /// Whether SQLite failed, so that its connection is better not used again.
    pub(crate) fn is_of_sqlite(&self) -> bool {
        match self {
            Self::Busy(_)
            | Self::DiskFull(_)
            | Self::ReadOnly(_)
            | Self::Damaged(_)
            | Self::Io(_)
            | Self::OutcomeUnknown(_)
            | Self::Sql(_)
            | Self::Panicked(_) => true,
            Self::NotFound
            | Self::Illegal(_)
            | Self::NotAtRest(_)
            | Self::NotQueued(_)
            | Self::PlaceChanged { .. }
            | Self::AttemptEnded(_)
            | Self::RequestIdTaken
            | Self::NameTaken
            | Self::IdTaken
            | Self::BadPageToken
            | Self::StateAmongEvents(_)
            | Self::Unstorable { .. }
            | Self::Unreadable { .. }
            | Self::AlreadyOpen(_)
            | Self::NewerDatabase { .. }
            | Self::NotOurs { .. }
            | Self::SqliteTooOld { .. }
            | Self::File { .. }
            | Self::Closed => false,
        }
    }
}

/// The text that says what happened. Where a rollback failed after a COMMIT, the COMMIT's says it.
fn text_of(error: &Error) -> String {
    match error {
        Error::RollbackErrorOnCommit { rollback_error: _, commit_error } => text_of(commit_error),
        other => other.to_string(),
    }
}

/// The words of `sqlite3_errstr`, which SQLite keeps stable, and what each means.
pub(crate) fn classify(text: &str) -> StoreError {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let text_kept = text.to_owned();
    if has(&["database or disk is full"]) {
        StoreError::DiskFull(text_kept)
    } else if has(&["database is locked", "database table is locked", "database schema is locked"]) {
        StoreError::Busy(text_kept)
    } else if has(&["attempt to write a readonly database", "access permission denied"]) {
        StoreError::ReadOnly(text_kept)
    } else if has(&[
        "database disk image is malformed",
        "file is not a database",
        "malformed database schema",
    ]) {
        StoreError::Damaged(text_kept)
    } else if has(&["disk I/O error", "unable to open database", "locking protocol", "large file support"]) {
        StoreError::Io(text_kept)
    } else {
        StoreError::Sql(text_kept)
    }
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;
    use diesel::prelude::*;

    use super::*;

    /// What SQLite says when it is made to fail, so that a new version with other words is noticed.
    fn failure(connection: &mut SqliteConnection, sql: &str) -> StoreError {
        Fault::from(connection.batch_execute(sql).unwrap_err()).0
    }

    fn open(path: &std::path::Path) -> SqliteConnection {
        SqliteConnection::establish(path.to_str().unwrap()).unwrap()
    }

    #[test]
    fn a_full_database_is_told_from_other_failures() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = open(&folder.path().join("db"));
        connection.batch_execute("CREATE TABLE t (x); PRAGMA max_page_count = 1").unwrap();
        let error = failure(&mut connection, "INSERT INTO t VALUES (zeroblob(1000000))");
        assert!(matches!(error, StoreError::DiskFull(_)), "{error:?}");
        let error = failure(&mut connection, "INSERT INTO gone VALUES (1)");
        assert!(matches!(error, StoreError::Sql(_)), "{error:?}");
        assert_eq!(error.to_string(), "SQLite refused a statement: no such table: gone");
    }

    #[test]
    fn a_lock_of_another_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let mut holder = open(&path);
        holder.batch_execute("CREATE TABLE t (x); BEGIN IMMEDIATE").unwrap();
        let mut connection = open(&path);
        let error = failure(&mut connection, "INSERT INTO t VALUES (1)");
        assert!(matches!(error, StoreError::Busy(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            "another program keeps the database locked; close it: database is locked"
        );
    }

    #[test]
    fn what_can_not_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        open(&path).batch_execute("CREATE TABLE t (x)").unwrap();
        let mut connection =
            SqliteConnection::establish(&format!("file:{}?mode=ro", path.display())).unwrap();
        let error = failure(&mut connection, "INSERT INTO t VALUES (1)");
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
        assert_eq!(error.to_string(), "the database can't be written: attempt to write a readonly database");
    }

    #[test]
    fn what_is_damaged_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::write(&text, "no database at all ".repeat(100)).unwrap();
        let error = failure(&mut open(&text), "SELECT * FROM sqlite_schema");
        assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");

        let path = folder.path().join("db");
        let fill = "CREATE TABLE t (x); INSERT INTO t \
                    WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9999) SELECT x FROM n";
        open(&path).batch_execute(fill).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..].fill(0xab);
        std::fs::write(&path, bytes).unwrap();
        let error = failure(&mut open(&path), "SELECT sum(x) FROM t");
        assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the database is damaged; restore a backup: database disk image is malformed"
        );
    }

    #[test]
    fn what_can_not_be_opened_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/db");
        let error = SqliteConnection::establish(path.to_str().unwrap()).map(drop).unwrap_err();
        let error = Fault::from(error).0;
        assert!(matches!(error, StoreError::Io(_)), "{error:?}");
    }

    #[test]
    fn a_commit_that_could_not_be_rolled_back_is_judged_by_the_commit() {
        let said = |text: &str| {
            let information = Box::new(text.to_owned());
            Box::new(Error::DatabaseError(diesel::result::DatabaseErrorKind::Unknown, information))
        };
        let error = Error::RollbackErrorOnCommit {
            rollback_error: said("cannot rollback - no transaction is active"),
            commit_error: said("disk I/O error"),
        };
        let error = Fault::from(error).0;
        assert!(matches!(error, StoreError::Io(_)), "{error:?}");
        assert_eq!(error.to_string(), "the database could not be read or written: disk I/O error");
    }
}
