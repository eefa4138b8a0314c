//! What follows from how workers end, and from two who ask for the same.

use ftl_core::JobId;
use ftl_core::job::{Exit, Move, MoveTo, State};
use ftl_server::error::ServiceError;

use super::harness::Harness;

#[test]
fn a_worker_that_dies_again_and_again_without_getting_on_is_given_up() {
    let harness = Harness::start(0);
    let id = harness.create("cpu").id;
    for attempt in 1..=4 {
        harness.until(&id, "an attempt", |job| job.n_attempts == attempt && job.state == State::Running);
        harness.command(&id, "crash");
    }
    harness.reaches(&id, State::Failed);
    // One that saves in between gets on.
    let other = harness.create("cpu").id;
    for attempt in 1..=6 {
        harness.until(&other, "an attempt", |job| job.n_attempts == attempt && job.state == State::Running);
        harness.command(&other, "save");
        let n_saved = attempt as usize;
        while harness.store().checkpoints(&other).wait().expect("a list").len() < n_saved {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        harness.command(&other, "crash");
    }
    harness.until(&other, "a seventh attempt", |job| job.n_attempts == 7 && job.state == State::Running);
}

#[test]
fn what_a_worker_refuses_is_not_tried_again() {
    let harness = Harness::start(0);
    let id = harness.create("cpu").id;
    harness.reaches(&id, State::Running);
    harness.command(&id, "refuse");
    let failed = harness.reaches(&id, State::Failed);
    assert_eq!((failed.n_attempts, failed.problems[0].message.as_str()), (1, "row 7 is empty"));
    // A person may; then it is tried once.
    harness.on(|jobs| jobs.resume(&id)).expect("it failed");
    harness.until(&id, "a second attempt", |job| job.n_attempts == 2 && job.state == State::Running);
}

#[test]
fn a_second_stop_or_resume_is_told_that_it_came_late() {
    let harness = Harness::start(0);
    let id = harness.create("cpu").id;
    harness.reaches(&id, State::Running);
    harness.on(|jobs| jobs.stop(&id)).expect("it runs");
    let late = harness.on(|jobs| jobs.stop(&id)).expect_err("it was asked already");
    assert!(matches!(late, ServiceError::Transition(illegal) if illegal.to == State::Stopping), "{late:?}");
    harness.reaches(&id, State::Stopped);
    harness.on(|jobs| jobs.resume(&id)).expect("it rests");
    let late = harness.on(|jobs| jobs.resume(&id)).expect_err("it is queued or more already");
    assert!(matches!(late, ServiceError::Transition(illegal) if illegal.to == State::Queued), "{late:?}");
    harness.until(&id, "a second attempt", |job| job.n_attempts == 2 && job.state == State::Running);
}

#[test]
fn the_order_of_the_queue_is_the_order_of_the_work_also_for_the_next_service() {
    let mut harness = Harness::start(0);
    let first = harness.create("cpu").id;
    harness.reaches(&first, State::Running);
    let [second, third, fourth] = [(); 3].map(|()| harness.create("cpu").id);
    let moved = |job: &JobId, to| {
        let change = Move { job: job.clone(), to, from_place: None };
        harness.on(|jobs| jobs.move_to(change)).expect("it is queued").queue_place
    };
    assert_eq!(moved(&fourth, MoveTo::First), Some(1));
    assert_eq!(moved(&second, MoveTo::After(third.clone())), Some(3));
    harness.restart();
    // Whoever was at work goes on, where nobody was put before it.
    for id in [&fourth, &first, &third, &second] {
        harness.reaches(id, State::Running);
        harness.command(id, "finish");
        harness.reaches(id, State::Succeeded);
    }
    let attempts = harness.store().attempts(&first).wait().expect("a list");
    assert_eq!(
        attempts.iter().map(|attempt| attempt.exit).collect::<Vec<_>>(),
        [Some(Exit::Lost), Some(Exit::Ok)]
    );
}

#[test]
fn a_job_that_was_given_up_while_the_service_died_leaves_no_open_attempt() {
    let mut harness = Harness::start(0);
    let id = harness.create("cpu").id;
    harness.reaches(&id, State::Running);
    harness.on(|jobs| jobs.cancel(&id)).expect("it runs");
    harness.restart();
    harness.until(&id, "an end of the attempt", |job| {
        let attempts = harness.store().attempts(&job.id).wait().expect("a list");
        attempts.iter().all(|attempt| attempt.exit == Some(Exit::Cancelled))
    });
    assert_eq!(harness.job(&id).state, State::Cancelled);
}
