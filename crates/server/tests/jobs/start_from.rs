//! A new job that begins with a checkpoint of another.

use std::fs;

use ftl_core::JobId;
use ftl_core::job::{Parent, StartFrom, State};
use ftl_server::error::ServiceError;

use super::harness::{Harness, spec};

fn create(harness: &Harness, from: &JobId, step: Option<u64>, request: &str) -> Result<JobId, ServiceError> {
    let from = Some(StartFrom { job: from.clone(), step });
    let request_id = Some(request.to_owned());
    harness.on(|jobs| jobs.create(spec("cpu"), from, request_id)).map(|job| job.id)
}

/// A job with the checkpoints of steps 101 and 102, which rests.
fn stopped(harness: &Harness) -> JobId {
    let id = harness.create("cpu").id;
    harness.reaches(&id, State::Running);
    for n_saved in 1..=2 {
        harness.command(&id, "save");
        let saved = harness.job(&id).directory.join(format!("checkpoint-{}", 100 + n_saved));
        while !saved.is_dir() || harness.store().checkpoints(&id).wait().expect("a list").len() < n_saved {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    harness.on(|jobs| jobs.stop(&id)).expect("it runs");
    harness.reaches(&id, State::Stopped);
    id
}

#[test]
fn the_new_job_has_a_copy_that_outlives_the_old_one() {
    let harness = Harness::start(0);
    let old = stopped(&harness);
    let newest = create(&harness, &old, None, "a").expect("it has checkpoints");
    let older = create(&harness, &old, Some(101), "b").expect("it has this one");
    // The same request makes one job, and leaves one directory.
    assert_eq!(create(&harness, &old, None, "a").expect("it was made"), newest);
    assert!(matches!(create(&harness, &old, Some(101), "a"), Err(ServiceError::AlreadyExists(_))));
    let n_directories = || fs::read_dir(harness.data().join("jobs")).expect("a directory").count();
    assert_eq!(n_directories(), 3);

    harness.on(|jobs| jobs.delete(&old)).expect("it rests");
    for (id, step) in [(&newest, 102), (&older, 101)] {
        let job = harness.reaches(id, State::Running);
        assert_eq!(job.parent, Some(Parent { job: old.clone(), step }));
        let from = harness.told(id).from.expect("it is told");
        assert_eq!(from, job.directory.join(format!("start/checkpoint-{step}")));
        assert_eq!(fs::read(from.join("weights")).expect("its own"), b"weights");
        // Every attempt is told, since the first may have ended before it wrote anything.
        harness.command(id, "crash");
        harness.until(id, "a second attempt", |job| job.n_attempts == 2 && job.state == State::Running);
        assert!(harness.told(id).from.is_some());
        harness.command(id, "finish");
        harness.reaches(id, State::Succeeded);
    }
}

#[test]
fn what_is_not_there_is_refused_and_leaves_nothing() {
    let harness = Harness::start(0);
    let bare = harness.create("cpu").id;
    harness.reaches(&bare, State::Running);
    let message = |result: Result<JobId, ServiceError>| result.expect_err("there is none").to_string();
    let hint = format!("; `ftl checkpoints ls {bare}` lists those that are there");
    assert_eq!(
        message(create(&harness, &bare, None, "a")),
        format!("from.step: job `{bare}` has no whole checkpoint on the disk{hint}")
    );
    assert_eq!(
        message(create(&harness, &bare, Some(7), "a")),
        format!("from.step: job `{bare}` has no whole checkpoint of step 7 on the disk{hint}")
    );
    let nobody = JobId::from_bits(404);
    assert_eq!(message(create(&harness, &nobody, None, "a")), format!("there is no job `{nobody}`"));
    assert_eq!(fs::read_dir(harness.data().join("jobs")).expect("a directory").count(), 1);
}

#[test]
fn a_copy_without_a_job_is_swept_away_and_nothing_else_is() {
    let mut harness = Harness::start(0);
    let kept = harness.create("cpu").id;
    harness.reaches(&kept, State::Running);
    let jobs = harness.data().join("jobs");
    let left = jobs.join(JobId::from_bits(7).as_str());
    let unmarked = jobs.join(JobId::from_bits(8).as_str());
    for directory in [&left, &unmarked] {
        fs::create_dir_all(directory.join("start/checkpoint-5")).expect("a directory");
    }
    // As between the copy and the job, and as between the job and the last act.
    for directory in [&left, &jobs.join(kept.as_str())] {
        fs::write(directory.join("deleted"), "").expect("a file");
    }
    harness.restart();
    assert!(!left.exists() && unmarked.is_dir());
    assert!(!jobs.join(kept.as_str()).join("deleted").exists());
    harness.until(&kept, "another attempt", |job| job.n_attempts == 2);
}
