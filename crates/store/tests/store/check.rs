//! Looking for damage: a whole database has none, and each rule that is broken is told.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use ftl_core::Event;
use ftl_core::event::Sampled;
use ftl_core::job::{Exit, State};
use ftl_store::{AttemptEnd, FindingKind, Standing, StoreError, check_file};

use crate::given::{Given, created_in, note, record, running, saved, stepped, store, to};

/// A job that runs in its second attempt, one that was stopped, and one that waits.
fn filled() -> Given {
    let given = store();
    let (id, first) = running(&given.store, 1);
    let sampled = Sampled { step: 1, prompt: "p".to_owned(), text: "t".to_owned(), reference: None };
    let exported = Event::Exported { path: "/nowhere".to_owned(), kind: "peft".to_owned() };
    let records = [note("n"), stepped(1), saved(1), Event::Sampled(sampled), exported];
    let records = (1..).zip(records).map(|(seq, event)| record(seq, event)).collect();
    given.store.append_events(&id, first.number, records).wait().unwrap();
    let end = AttemptEnd { exit: Exit::Lost, log_tail: None, change: Some(to(State::Interrupted)) };
    given.store.end_attempt(&id, first.number, end).wait().unwrap();
    given.store.transition(&id, to(State::Queued)).wait().unwrap();
    let second = given.store.begin_attempt(&id).wait().unwrap();
    given.store.transition(&id, to(State::Running)).wait().unwrap();
    given.store.append_events(&id, second.number, vec![record(1, stepped(1))]).wait().unwrap();
    created_in(&given.store, 2, State::Queued);
    created_in(&given.store, 3, State::Cancelled);
    given
}

fn damage(path: &Path, sql: &str) {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    connection.batch_execute(sql).unwrap();
}

fn found(path: &Path) -> Vec<(FindingKind, String)> {
    let findings = check_file(path).unwrap().findings;
    findings.into_iter().map(|finding| (finding.kind, finding.message)).collect()
}

#[test]
fn a_whole_database_has_no_findings_while_it_is_worked_on_and_after() {
    let given = filled();
    let path = given.path();
    let checkup = check_file(&path).unwrap();
    assert_eq!(checkup.findings, []);
    assert_eq!((checkup.standing, checkup.n_jobs, checkup.n_events), (Standing::Current, 3, 16));
    drop(given.store);
    let before = std::fs::read(&path).unwrap();
    assert_eq!(check_file(&path).unwrap(), checkup);
    assert!(std::fs::read(&path).unwrap() == before);
}

#[test]
fn each_broken_rule_is_told_with_its_place() {
    let job = ftl_core::JobId::from_bits(1);
    let cases = [
        (
            "DELETE FROM metrics WHERE seq = 5",
            FindingKind::Numbering,
            format!("{job} has 12 events numbered from 1 to 13, and its seq is 13"),
        ),
        (
            "UPDATE jobs SET seq = 20 WHERE number = 1",
            FindingKind::Numbering,
            format!("{job} has 13 events numbered from 1 to 13, and its seq is 20"),
        ),
        (
            "UPDATE metrics SET seq = 4 WHERE seq = 5",
            FindingKind::Numbering,
            format!("event 4 of {job} is there as an event and as a metric"),
        ),
        (
            "UPDATE metrics SET attempt_seq = 1 WHERE seq = 5",
            FindingKind::Numbering,
            format!("number 1 of attempt 1 of {job} is there twice"),
        ),
        (
            "UPDATE jobs SET n_attempts = 3 WHERE number = 1",
            FindingKind::Attempts,
            format!("{job} counts 3 attempts, and has 2 up to number 2"),
        ),
        (
            "UPDATE attempts SET ended_unix_ms = NULL, exit = NULL WHERE number = 1",
            FindingKind::Attempts,
            format!("attempt 1 of {job} has no end, and a later one began"),
        ),
        (
            "UPDATE attempts SET ended_unix_ms = 1, exit = '{}' WHERE number = 2",
            FindingKind::Attempts,
            format!("{job} is RUNNING without an attempt that goes on"),
        ),
        (
            "UPDATE jobs SET state = 'QUEUED' WHERE number = 1",
            FindingKind::Attempts,
            format!("attempt 2 of {job} has no end, and the job is QUEUED"),
        ),
        (
            "UPDATE jobs SET state = 'STOPPING' WHERE number = 1",
            FindingKind::States,
            format!("{job} is STOPPING, and its last event says RUNNING"),
        ),
        (
            "UPDATE job_events SET event = '{\"type\":\"state\",\"state\":\"SUCCEEDED\"}' WHERE seq = 2",
            FindingKind::States,
            format!("event 2 of {job}: QUEUED is followed by SUCCEEDED"),
        ),
        (
            "UPDATE job_events SET event = '{\"type\":\"state\",\"state\":\"PAUSED\"}' WHERE seq = 2",
            FindingKind::States,
            format!("event 2 of {job} is a state that this version does not know"),
        ),
        (
            "UPDATE job_events SET event = '{\"type\":\"state\",\"state\":\"RUNNING\"}' WHERE seq = 1 AND attempt = 0",
            FindingKind::States,
            format!("{job} begins as RUNNING, not as QUEUED"),
        ),
        (
            "UPDATE checkpoints SET seq = 4",
            FindingKind::Kept,
            format!("/data/jobs/x/checkpoint-1 of {job} has no event 4"),
        ),
        ("UPDATE artifacts SET seq = 99", FindingKind::Kept, format!("/nowhere of {job} has no event 99")),
        (
            "UPDATE predictions SET seq = 4",
            FindingKind::Kept,
            format!("a prediction of {job} has no event 4"),
        ),
        (
            "DELETE FROM last_write",
            FindingKind::Integrity,
            "the mark of the last write is missing".to_owned(),
        ),
        (
            "PRAGMA foreign_keys = OFF; DELETE FROM attempts WHERE number = 1",
            FindingKind::ForeignKey,
            "a row of metrics refers to a row of attempts that is not there".to_owned(),
        ),
        (
            "PRAGMA ignore_check_constraints = ON; UPDATE jobs SET state = 'PAUSED' WHERE number = 1",
            FindingKind::States,
            format!("{job} is PAUSED, and its last event says RUNNING"),
        ),
    ];
    for (sql, kind, message) in cases {
        let given = filled();
        let path = given.path();
        drop(given.store);
        damage(&path, sql);
        let found = found(&path);
        assert!(found.contains(&(kind, message.clone())), "{sql}: {found:#?}");
    }
}

#[test]
fn a_damaged_page_is_a_finding_and_does_not_hide_the_others() {
    let given = filled();
    let (id, attempt) = running(&given.store, 9);
    let records = (1..=3_000).map(|seq| record(seq, stepped(seq))).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let path = given.path();
    drop(given.store);
    damage(&path, "DELETE FROM last_write; PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8_192].fill(0xab);
    std::fs::write(&path, bytes).unwrap();
    let found = found(&path);
    let has =
        |part: &str| found.iter().any(|(kind, text)| *kind == FindingKind::Integrity && text.contains(part));
    assert!(has("the mark of the last write is missing"), "{found:#?}");
    assert!(has("malformed") || has("page") || has("Page"), "{found:#?}");
}

#[test]
fn what_is_not_there_or_not_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ftl.db");
    let error = check_file(&path).unwrap_err();
    assert!(matches!(error, StoreError::NotOurs { .. }), "{error:?}");
    assert!(!path.exists(), "it is looked at and not made");
    let given = filled();
    let path = given.path();
    drop(given.store);
    damage(&path, "INSERT INTO __diesel_schema_migrations (version) VALUES ('99991231235959')");
    let error = check_file(&path).unwrap_err();
    assert!(matches!(error, StoreError::NewerDatabase { .. }), "{error:?}");
}
