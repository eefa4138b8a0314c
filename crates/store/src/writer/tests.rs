//! What the surface can't provoke: a COMMIT that fails, a task that panics, a disk that is full and has room again.

use std::sync::{Arc, Mutex};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

use super::commit::Committer;
use super::{Task, Transaction};
use crate::connection::Location;
use crate::error::StoreError;
use crate::fault::Outcome;
use crate::open;
use crate::schema::settings;

/// A task whose answer nobody waits for.
struct Plain<F>(F);

impl<F: FnMut(&mut Transaction<'_>) -> Outcome<()> + Send> Task for Plain<F> {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Outcome<()> {
        (self.0)(transaction)
    }

    fn answer(self: Box<Self>, _: Result<(), StoreError>) {}
}

/// A database, and SQL that each new connection to it is to run.
struct Given {
    _folder: TempDir,
    location: Location,
    on_open: Arc<Mutex<&'static str>>,
    n_opened: Arc<Mutex<usize>>,
}

fn given() -> Given {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::new(&folder.path().join("ftl.db")).unwrap();
    drop(open::prepare(&location).unwrap());
    Given { _folder: folder, location, on_open: Arc::default(), n_opened: Arc::default() }
}

impl Given {
    fn committer(&self) -> Committer {
        let (location, on_open, n_opened) =
            (self.location.clone(), Arc::clone(&self.on_open), Arc::clone(&self.n_opened));
        let open = move || {
            *n_opened.lock().unwrap() += 1;
            let mut connection = location.open_to_write()?;
            connection.batch_execute(*on_open.lock().unwrap())?;
            Ok(connection)
        };
        Committer::new(Box::new(open)).unwrap_or_else(|fault| panic!("{}", fault.0))
    }

    fn settings(&self) -> Vec<String> {
        let mut connection = self.location.open_to_read().unwrap();
        settings::table.order(settings::key).select(settings::key).load(&mut connection).unwrap()
    }
}

fn set(transaction: &mut Transaction<'_>, key: &str, value: &str) -> Outcome<()> {
    let row = (settings::key.eq(key), settings::value.eq(value));
    diesel::insert_into(settings::table).values(row).execute(transaction.connection)?;
    Ok(())
}

#[test]
fn a_commit_that_failed_although_it_is_there_is_not_run_again() {
    let given = given();
    let mut committer = given.committer();
    let mut n_runs = 0;
    let mut task = Plain(|transaction: &mut Transaction<'_>| {
        n_runs += 1;
        set(transaction, &format!("run {n_runs}"), "")?;
        // Committed behind diesel's back: its own COMMIT finds no transaction, and fails.
        transaction.connection.batch_execute("COMMIT")?;
        Ok(())
    });
    assert!(committer.commit(&mut task).is_ok());
    assert_eq!(n_runs, 1);
    assert_eq!(given.settings(), ["run 1"]);
    assert_eq!(*given.n_opened.lock().unwrap(), 2);
}

/// Leaves a row that belongs to no job, which COMMIT alone notices.
fn orphan(transaction: &mut Transaction<'_>) -> Outcome<()> {
    let sql = "PRAGMA defer_foreign_keys = ON; \
               INSERT INTO attempts (job, number, started_unix_ms) VALUES ('nobody', 1, 0)";
    Ok(transaction.connection.batch_execute(sql)?)
}

#[test]
fn a_commit_that_failed_and_is_not_there_is_run_again() {
    let given = given();
    let mut committer = given.committer();
    let mut n_runs = 0;
    let mut task = Plain(|transaction: &mut Transaction<'_>| {
        n_runs += 1;
        set(transaction, &format!("run {n_runs}"), "")?;
        if n_runs == 1 { orphan(transaction) } else { Ok(()) }
    });
    assert!(committer.commit(&mut task).is_ok());
    assert_eq!(n_runs, 2);
    assert_eq!(given.settings(), ["run 2"]);
}

#[test]
fn a_commit_that_fails_twice_is_an_error_and_the_next_one_is_as_good_as_ever() {
    let given = given();
    let mut committer = given.committer();
    let mut n_runs = 0;
    let mut task = Plain(|transaction: &mut Transaction<'_>| {
        n_runs += 1;
        set(transaction, "key", "")?;
        orphan(transaction)
    });
    let error = committer.commit(&mut task).unwrap_err();
    assert_eq!(error.to_string(), "SQLite refused a statement: FOREIGN KEY constraint failed");
    assert_eq!((n_runs, given.settings().len()), (2, 0));
    committer.commit(&mut Plain(|transaction: &mut Transaction<'_>| set(transaction, "next", ""))).unwrap();
    assert_eq!(given.settings(), ["next"]);
}

#[test]
fn a_commit_that_can_not_be_looked_for_is_said_to_be_unknown() {
    let given = given();
    let mut committer = given.committer();
    let mut task = Plain(|transaction: &mut Transaction<'_>| {
        *given.on_open.lock().unwrap() = "SELECT * FROM gone";
        orphan(transaction)
    });
    let error = committer.commit(&mut task).unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("whether the change was stored is not known: "), "{text}");
    assert!(text.contains("FOREIGN KEY") && text.contains("no such table: gone"), "{text}");
    *given.on_open.lock().unwrap() = "";
    committer.commit(&mut Plain(|transaction: &mut Transaction<'_>| set(transaction, "next", ""))).unwrap();
    assert_eq!(given.settings(), ["next"]);
}

#[test]
fn a_task_that_panics_is_an_error_and_leaves_nothing() {
    let given = given();
    let mut committer = given.committer();
    let mut task = Plain(|transaction: &mut Transaction<'_>| {
        set(transaction, "key", "")?;
        panic!("a fault of ours")
    });
    let error = committer.commit(&mut task).unwrap_err();
    assert_eq!(error.to_string(), "the store panicked: a fault of ours");
    committer.commit(&mut Plain(|transaction: &mut Transaction<'_>| set(transaction, "next", ""))).unwrap();
    assert_eq!(given.settings(), ["next"]);
}

#[test]
fn what_is_refused_leaves_nothing_and_keeps_the_connection() {
    let given = given();
    let mut committer = given.committer();
    let mut task = Plain(|transaction: &mut Transaction<'_>| {
        set(transaction, "key", "")?;
        Err(StoreError::NameTaken.into())
    });
    assert!(matches!(committer.commit(&mut task), Err(StoreError::NameTaken)));
    assert_eq!(given.settings(), [""; 0]);
    assert_eq!(*given.n_opened.lock().unwrap(), 1);
}

#[test]
fn a_full_disk_is_an_error_of_its_own_and_goes_on_when_there_is_room() {
    let given = given();
    // As many pages as there are.
    *given.on_open.lock().unwrap() = "PRAGMA max_page_count = 1";
    let mut committer = given.committer();
    let large = "x".repeat(100_000);
    let mut n_kept = 0;
    let error = loop {
        let key = format!("{n_kept:03}");
        match committer.commit(&mut Plain(|transaction: &mut Transaction<'_>| set(transaction, &key, &large)))
        {
            Ok(_) => n_kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::DiskFull(_)), "{error:?}");
    assert_eq!(error.to_string(), "the disk is full; make room: database or disk is full");
    assert_eq!(given.settings().len(), n_kept);
    // What needs no room is still done.
    committer.commit(&mut Plain(|_: &mut Transaction<'_>| Ok(()))).unwrap();
    *given.on_open.lock().unwrap() = "";
    let again = |transaction: &mut Transaction<'_>| set(transaction, "again", &large);
    assert!(matches!(committer.commit(&mut Plain(again)), Err(StoreError::DiskFull(_))));
    committer.commit(&mut Plain(again)).unwrap();
    assert_eq!(given.settings().len(), n_kept + 1);
}

#[test]
fn wherever_a_disk_gets_full_nothing_is_torn_and_the_next_write_goes_on() {
    let given = given();
    let large = "x".repeat(30_000);
    let mut expected = Vec::new();
    // A value takes some eight pages: the disk is full at the first of them, at the second, and so on.
    for n_free in 0..24 {
        let pages: i64 = {
            #[derive(QueryableByName)]
            struct Pages {
                #[diesel(sql_type = diesel::sql_types::BigInt)]
                page_count: i64,
            }
            let mut connection = given.location.open_to_read().unwrap();
            let pages: Pages = diesel::sql_query("PRAGMA page_count").get_result(&mut connection).unwrap();
            pages.page_count
        };
        let limit = format!("PRAGMA max_page_count = {}", pages + n_free).leak();
        *given.on_open.lock().unwrap() = limit;
        let mut committer = given.committer();
        *given.on_open.lock().unwrap() = "";
        let mut n_kept = 0;
        let error = loop {
            let key = format!("{n_free:02} {n_kept}");
            let mut task = Plain(|transaction: &mut Transaction<'_>| set(transaction, &key, &large));
            match committer.commit(&mut task) {
                Ok(_) => {
                    expected.push(key);
                    n_kept += 1;
                }
                Err(error) => {
                    assert_eq!(given.settings(), expected);
                    committer.commit(&mut task).unwrap();
                    expected.push(key);
                    break error;
                }
            }
        };
        assert!(matches!(error, StoreError::DiskFull(_)), "{n_free} free pages: {error:?}");
        assert!(n_kept <= 3, "{n_free} free pages have no room for {n_kept}");
    }
    assert_eq!(given.settings(), expected);
    assert_eq!(crate::check_file(given.location.path()).unwrap().findings, []);
}

#[test]
fn a_task_knows_each_job_once_with_its_highest_number() {
    let given = given();
    let mut committer = given.committer();
    let (one, other) = (ftl_core::JobId::from_bits(1), ftl_core::JobId::from_bits(2));
    let mut task = Plain(|transaction: &mut Transaction<'_>| {
        for (job, seq) in [(&one, 3), (&other, 1), (&one, 2)] {
            transaction.touch(job, seq);
        }
        Ok(())
    });
    assert_eq!(committer.commit(&mut task).unwrap(), [(one.clone(), 3), (other.clone(), 1)]);
}
