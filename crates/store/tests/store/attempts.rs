//! Attempts and their ends.

use ftl_core::job::{Exit, State};
use ftl_core::{Problem, ProblemKind};
use ftl_store::{AttemptEnd, Change, StoreError};

use crate::given::{created, running, store, to};

fn end(exit: Exit, change: Option<Change>) -> AttemptEnd {
    AttemptEnd { exit, log_tail: None, change }
}

#[test]
fn an_attempt_begins_with_its_job_starting() {
    let given = store();
    let id = created(&given.store, 1).id;
    let attempt = given.store.begin_attempt(&id).wait().unwrap();
    assert_eq!((attempt.number, attempt.ended_unix_ms, attempt.exit), (1, None, None));
    let job = given.store.job(&id).wait().unwrap().unwrap();
    assert_eq!((job.state, job.n_attempts, job.seq), (State::Starting, 1, 2));
    assert_eq!(given.store.attempts(&id).wait().unwrap(), [attempt]);
}

#[test]
fn an_attempt_begins_only_at_a_queued_job() {
    let given = store();
    let (id, _) = running(&given.store, 1);
    let before = given.store.job(&id).wait().unwrap();
    let error = given.store.begin_attempt(&id).wait().unwrap_err();
    assert_eq!(error.to_string(), "a job that is RUNNING can't become STARTING");
    assert_eq!(given.store.job(&id).wait().unwrap(), before);
    assert_eq!(given.store.attempts(&id).wait().unwrap().len(), 1);
}

#[test]
fn an_attempt_ends_with_its_jobs_change_of_state() {
    let given = store();
    let exits = [
        Exit::Ok,
        Exit::Stopped,
        Exit::Data,
        Exit::Nan,
        Exit::OomGpu,
        Exit::OomHost,
        Exit::Crashed { signal: Some(9), code: None },
        Exit::Crashed { signal: None, code: Some(3) },
        Exit::SpawnFailed,
        Exit::Lost,
        Exit::Cancelled,
    ];
    for (bits, exit) in exits.into_iter().enumerate() {
        let (id, attempt) = running(&given.store, bits as u64);
        let problem = Problem::new(ProblemKind::Worker, "the worker died");
        let change =
            Change { to: State::Failed, reason: Some("died".to_owned()), problems: vec![problem.clone()] };
        let log_tail = Some("the last\nlines\0".to_owned());
        let end = AttemptEnd { exit, log_tail: log_tail.clone(), change: Some(change) };
        let job = given.store.end_attempt(&id, attempt.number, end).wait().unwrap();
        assert_eq!((job.state, job.problems), (State::Failed, vec![problem]));
        let attempts = given.store.attempts(&id).wait().unwrap();
        assert_eq!((attempts[0].exit, &attempts[0].log_tail), (Some(exit), &log_tail));
        assert!(attempts[0].ended_unix_ms >= Some(attempt.started_unix_ms));
    }
}

#[test]
fn an_attempt_can_end_without_a_change_of_state() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let job = given.store.end_attempt(&id, attempt.number, end(Exit::Lost, None)).wait().unwrap();
    assert_eq!((job.state, job.seq), (State::Running, 3));
}

#[test]
fn a_job_that_was_cancelled_meanwhile_stays_that() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    given.store.transition(&id, to(State::Cancelled)).wait().unwrap();
    let end = end(Exit::Cancelled, Some(to(State::Failed)));
    let job = given.store.end_attempt(&id, attempt.number, end).wait().unwrap();
    assert_eq!((job.state, job.seq), (State::Cancelled, 4));
    assert_eq!(given.store.attempts(&id).wait().unwrap()[0].exit, Some(Exit::Cancelled));
}

#[test]
fn an_end_with_an_illegal_change_is_not_kept() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let wrong = end(Exit::Ok, Some(to(State::Queued)));
    let error = given.store.end_attempt(&id, attempt.number, wrong).wait().unwrap_err();
    assert!(matches!(error, StoreError::Illegal(_)));
    assert_eq!(given.store.attempts(&id).wait().unwrap()[0].exit, None);
    let right = end(Exit::Ok, Some(to(State::Succeeded)));
    assert!(given.store.end_attempt(&id, attempt.number, right).wait().is_ok());
}

#[test]
fn an_attempt_ends_once() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    given.store.end_attempt(&id, attempt.number, end(Exit::Lost, None)).wait().unwrap();
    let error = given.store.end_attempt(&id, attempt.number, end(Exit::Ok, None)).wait().unwrap_err();
    assert_eq!(error.to_string(), "attempt 1 has ended already");
    assert_eq!(given.store.attempts(&id).wait().unwrap()[0].exit, Some(Exit::Lost));
}

#[test]
fn an_unknown_attempt_can_not_end() {
    let given = store();
    let id = created(&given.store, 1).id;
    let error = given.store.end_attempt(&id, 1, end(Exit::Ok, None)).wait().unwrap_err();
    assert!(matches!(error, StoreError::NotFound));
}
