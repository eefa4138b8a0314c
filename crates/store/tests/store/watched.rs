//! What those who watch a store ask: whether its writer lives, how old a file is, how attempts ended.

use ftl_core::job::{Exit, State};
use ftl_store::{AttemptEnd, Store, StoreError, Version};

use crate::given::{created, record, running, stepped, store, to};

#[test]
fn the_writer_answers_in_turn_and_writes_nothing() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    drop(given.store.append_events(&id, attempt.number, vec![record(1, stepped(1))]));
    let log = given.folder.path().join("ftl.db-wal");
    given.store.writer_lives().wait().unwrap();
    // What was asked for before is done, or was gathered with what comes soon.
    given.store.append_events(&id, attempt.number, vec![record(2, stepped(2))]).wait().unwrap();
    let before = (std::fs::metadata(&log).unwrap().len(), std::fs::read(given.path()).unwrap());
    for _ in 0..3 {
        given.store.writer_lives().wait().unwrap();
    }
    assert_eq!((std::fs::metadata(&log).unwrap().len(), std::fs::read(given.path()).unwrap()), before);
    assert_eq!(given.store.last_attempt_seq(&id, attempt.number).wait().unwrap(), 2);
}

#[test]
fn a_version_is_seen_beside_a_store_that_has_the_file_open() {
    let given = store();
    let absent = given.folder.path().join("other.db");
    assert_eq!(Version::of(&absent).unwrap(), Version::Absent);
    assert!(!absent.exists());
    created(&given.store, 1);
    assert_eq!(Version::of(&given.path()).unwrap(), Version::Current);
    created(&given.store, 2);
    let text = given.folder.path().join("text.db");
    std::fs::write(&text, "no database, but some text").unwrap();
    assert!(matches!(Version::of(&text), Err(StoreError::NotOurs { .. })));
    Store::open(&absent, |_, _| {}).unwrap();
    assert_eq!(Version::of(&absent).unwrap(), Version::Current);
}

#[test]
fn ended_attempts_are_counted_by_how_they_ended() {
    let given = store();
    assert_eq!(given.store.exit_counts().wait().unwrap(), []);
    let crashed = Exit::Crashed { signal: Some(9), code: None };
    for (bits, exit) in [(1, Exit::Ok), (2, crashed), (3, crashed)] {
        let (id, attempt) = running(&given.store, bits);
        let end = AttemptEnd { exit, log_tail: None, change: Some(to(State::Failed)) };
        given.store.end_attempt(&id, attempt.number, end).wait().unwrap();
    }
    // One that has not ended.
    running(&given.store, 4);
    let mut counts = given.store.exit_counts().wait().unwrap();
    counts.sort_by_key(|(_, n_attempts)| *n_attempts);
    assert_eq!(counts, [(Exit::Ok, 1), (crashed, 2)]);
}
