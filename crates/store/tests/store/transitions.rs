//! Changes of state.

use ftl_core::job::{Phase, State};
use ftl_core::{Event, Problem, ProblemKind};
use ftl_store::{Change, StoreError};

use crate::given::{created, created_in, phase, record, running, store, to};

#[test]
fn every_pair_of_states_follows_the_one_transition_function() {
    let given = store();
    let mut bits = 0;
    for from in State::ALL {
        // One job serves all that is refused; what is allowed changes it, and takes a new one.
        let mut job = None;
        for next in State::ALL {
            let id = job.get_or_insert_with(|| {
                bits += 1;
                created_in(&given.store, bits, from).id
            });
            let before = given.store.job(id).wait().unwrap().unwrap();
            assert_eq!(before.state, from);
            let changed = given.store.transition(id, to(next)).wait();
            match (from.transition(next), changed) {
                (Ok(state), Ok(after)) => {
                    assert_eq!((after.state, after.seq), (state, before.seq + 1), "{from} to {next}");
                    job = None;
                }
                (Err(expected), Err(StoreError::Illegal(found))) => {
                    assert_eq!(found, expected);
                    assert_eq!(given.store.job(id).wait().unwrap().unwrap(), before, "{from} to {next}");
                }
                (rule, stored) => panic!("{from} to {next}: {rule:?} but {stored:?}"),
            }
        }
    }
}

#[test]
fn an_illegal_change_says_from_where_to_where() {
    let given = store();
    let id = created(&given.store, 1).id;
    let error = given.store.transition(&id, to(State::Succeeded)).wait().unwrap_err();
    assert_eq!(error.to_string(), "a job that is QUEUED can't become SUCCEEDED");
}

#[test]
fn an_unknown_job_can_not_change() {
    let given = store();
    let id = ftl_core::JobId::from_bits(404);
    let error = given.store.transition(&id, to(State::Cancelled)).wait().unwrap_err();
    assert!(matches!(error, StoreError::NotFound));
    assert_eq!(error.to_string(), "the database holds nothing with this id");
}

#[test]
fn of_two_that_want_the_same_change_one_wins() {
    let given = store();
    for bits in 1..=10 {
        let id = created(&given.store, bits).id;
        let contest = || given.store.begin_attempt(&id).wait();
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(contest);
            let other = scope.spawn(contest);
            (one.join().unwrap(), other.join().unwrap())
        });
        let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
        assert_eq!(won.unwrap().number, 1);
        assert!(matches!(lost, Err(StoreError::Illegal(illegal)) if illegal.from == State::Starting));
        assert_eq!(given.store.attempts(&id).wait().unwrap().len(), 1);
    }
}

#[test]
fn a_change_appends_the_event_that_tells_of_it() {
    let given = store();
    let (id, _) = running(&given.store, 1);
    let reason = Some("the user asked".to_owned());
    let change = Change { to: State::Stopping, reason: reason.clone(), problems: Vec::new() };
    assert_eq!(given.store.transition(&id, change).wait().unwrap().reason, reason);
    let states: Vec<_> = given
        .store
        .events_after(&id, 0, 10)
        .wait()
        .unwrap()
        .into_iter()
        .map(|event| (event.record.seq, event.attempt, event.record.event))
        .collect();
    let state = |state, reason| Event::State { state, reason };
    assert_eq!(
        states,
        [
            (1, 0, state(State::Queued, None)),
            (2, 1, state(State::Starting, None)),
            (3, 1, state(State::Running, None)),
            (4, 1, state(State::Stopping, reason)),
        ]
    );
}

#[test]
fn problems_and_the_end_go_when_the_job_starts_again() {
    let given = store();
    let (id, _) = running(&given.store, 1);
    let problem =
        Problem::new(ProblemKind::OutOfMemory, "the GPU has 8 GB, 9 are needed").at("train").hint("less");
    let change = Change {
        to: State::Failed,
        reason: Some("out of memory".to_owned()),
        problems: vec![problem.clone()],
    };
    let failed = given.store.transition(&id, change).wait().unwrap();
    assert_eq!(failed.problems, [problem]);
    assert!(failed.ended_unix_ms.is_some());
    given.store.transition(&id, to(State::Queued)).wait().unwrap();
    given.store.begin_attempt(&id).wait().unwrap();
    let starting = given.store.job(&id).wait().unwrap().unwrap();
    assert_eq!((starting.problems, starting.reason, starting.ended_unix_ms), (Vec::new(), None, None));
    assert_eq!(starting.n_attempts, 2);
}

#[test]
fn the_start_is_when_a_worker_first_began() {
    let given = store();
    let id = created(&given.store, 1).id;
    given.store.begin_attempt(&id).wait().unwrap();
    assert_eq!(given.store.job(&id).wait().unwrap().unwrap().started_unix_ms, None);
    let first = given.store.transition(&id, to(State::Running)).wait().unwrap().started_unix_ms;
    assert!(first.is_some());
    given.store.transition(&id, to(State::Interrupted)).wait().unwrap();
    given.store.transition(&id, to(State::Queued)).wait().unwrap();
    given.store.begin_attempt(&id).wait().unwrap();
    // The clock goes on between the two.
    let before = std::time::Instant::now();
    while before.elapsed().as_millis() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(given.store.transition(&id, to(State::Running)).wait().unwrap().started_unix_ms, first);
}

#[test]
fn only_a_state_at_rest_has_an_end() {
    let given = store();
    for (bits, state) in (1..).zip(State::ALL) {
        let job = created_in(&given.store, bits, state);
        assert_eq!(job.ended_unix_ms.is_some(), state.is_at_rest(), "{state}");
    }
}

#[test]
fn the_phase_ends_with_the_worker() {
    let given = store();
    for (bits, next) in
        [State::Interrupted, State::Failed, State::Succeeded, State::Cancelled].into_iter().enumerate()
    {
        let (id, attempt) = running(&given.store, bits as u64);
        let records = vec![record(1, phase(Phase::Loading))];
        given.store.append_events(&id, attempt.number, records).wait().unwrap();
        assert_eq!(given.store.job(&id).wait().unwrap().unwrap().phase, Some(Phase::Loading));
        assert_eq!(given.store.transition(&id, to(next)).wait().unwrap().phase, None, "{next}");
    }
    let (id, attempt) = running(&given.store, 100);
    given.store.append_events(&id, attempt.number, vec![record(1, phase(Phase::Saving))]).wait().unwrap();
    let stopping = given.store.transition(&id, to(State::Stopping)).wait().unwrap();
    assert_eq!(stopping.phase, Some(Phase::Saving));
}
