//! Jobs as they are made, found, counted and removed.

use ftl_core::JobId;
use ftl_core::job::{Progress, State};
use ftl_core::spec::TrainSpec;
use ftl_core::system::JobCount;
use ftl_core::{JobSpec, PageRequest};
use ftl_store::{Created, NewJob, StoreError};

use crate::given::{created, created_in, new_job, record, running, saved, spec, stepped, store, to};

#[test]
fn a_new_job_is_queued_and_says_so_in_its_first_event() {
    let given = store();
    let job = created(&given.store, 1);
    assert_eq!((job.state, job.seq, job.n_attempts), (State::Queued, 1, 0));
    assert_eq!((&job.name, &job.spec), (&"first".to_owned(), &spec()));
    assert_eq!(job.directory, std::path::PathBuf::from(format!("/data/jobs/{}", job.id)));
    assert_eq!((&job.progress, job.phase), (&Progress::default(), None));
    assert_eq!((job.started_unix_ms, job.ended_unix_ms), (None, None));
    assert!(job.created_unix_ms > 1_700_000_000_000);
    assert_eq!(given.store.job(&job.id).wait().unwrap(), Some(job));
}

#[test]
fn a_job_is_the_same_after_the_store_is_opened_again() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records = (1..=5).map(|step| record(step, stepped(step))).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let job = given.store.job(&id).wait().unwrap();
    let events = given.store.events_after(&id, 0, 100).wait().unwrap();
    assert_eq!(events.len(), 8);
    let given = given.reopened();
    assert_eq!(given.store.job(&id).wait().unwrap(), job);
    assert_eq!(given.store.events_after(&id, 0, 100).wait().unwrap(), events);
}

#[test]
fn an_unknown_job_is_none() {
    let given = store();
    assert_eq!(given.store.job(&JobId::from_bits(404)).wait().unwrap(), None);
}

#[test]
fn an_id_is_given_once() {
    let given = store();
    created(&given.store, 1);
    let error = given.store.create_job(new_job(1)).wait().unwrap_err();
    assert!(matches!(error, StoreError::IdTaken));
    assert_eq!(error.to_string(), "the id is taken; draw another");
}

#[test]
fn a_repeated_request_finds_the_job_that_it_made() {
    let given = store();
    let request = |bits| NewJob { request_id: Some("r-1".to_owned()), ..new_job(bits) };
    let Created::New(job) = given.store.create_job(request(1)).wait().unwrap() else { panic!("it is new") };
    given.store.begin_attempt(&job.id).wait().unwrap();
    match given.store.create_job(request(2)).wait().unwrap() {
        Created::Existing(found) => assert_eq!((found.id, found.state), (job.id, State::Starting)),
        Created::New(job) => panic!("{} was made", job.id),
    }
    assert_eq!(given.store.job(&JobId::from_bits(2)).wait().unwrap(), None);
    // Another request id makes another job of the same spec.
    let other = NewJob { request_id: Some("r-2".to_owned()), ..new_job(3) };
    assert!(matches!(given.store.create_job(other).wait().unwrap(), Created::New(_)));
}

#[test]
fn a_request_id_stands_for_one_spec() {
    let given = store();
    let request_id = Some("r-1".to_owned());
    given.store.create_job(NewJob { request_id: request_id.clone(), ..new_job(1) }).wait().unwrap();
    let spec = JobSpec { train: TrainSpec { seed: Some(7), ..TrainSpec::default() }, ..spec() };
    let error = given.store.create_job(NewJob { request_id, spec, ..new_job(2) }).wait().unwrap_err();
    assert!(matches!(error, StoreError::RequestIdTaken));
    assert_eq!(error.to_string(), "the request id was used for a job with another spec; send a new one");
}

#[test]
fn the_queue_is_oldest_first() {
    let given = store();
    let ids: Vec<JobId> = [5, 3, 9, 1].into_iter().map(|bits| created(&given.store, bits).id).collect();
    given.store.transition(&ids[1], to(State::Cancelled)).wait().unwrap();
    let found = |states: &[State]| -> Vec<JobId> {
        given.store.jobs_in(states).wait().unwrap().into_iter().map(|job| job.id).collect()
    };
    assert_eq!(found(&[State::Queued]), [ids[0].clone(), ids[2].clone(), ids[3].clone()]);
    assert_eq!(found(&[State::Cancelled, State::Queued]), ids);
    assert_eq!(found(&[]), []);
}

#[test]
fn jobs_are_counted_by_state_in_the_order_of_their_life() {
    let given = store();
    assert_eq!(given.store.job_counts().wait().unwrap(), []);
    for (bits, state) in [State::Failed, State::Queued, State::Running, State::Queued].into_iter().enumerate()
    {
        created_in(&given.store, bits as u64, state);
    }
    let count = |state, n_jobs| JobCount { state, n_jobs };
    assert_eq!(
        given.store.job_counts().wait().unwrap(),
        [count(State::Queued, 2), count(State::Running, 1), count(State::Failed, 1)]
    );
}

#[test]
fn a_job_at_rest_is_removed_with_everything_that_is_kept_of_it() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let (other, other_attempt) = running(&given.store, 2);
    for (id, number) in [(&id, attempt.number), (&other, other_attempt.number)] {
        let artifact = ftl_core::Event::Exported { path: "/nowhere".to_owned(), kind: "peft".to_owned() };
        let records = vec![record(1, stepped(1)), record(2, saved(1)), record(3, artifact)];
        given.store.append_events(id, number, records).wait().unwrap();
    }
    let job = given.store.transition(&id, to(State::Succeeded)).wait().unwrap();
    assert_eq!(given.store.delete_job(&id).wait().unwrap(), job);

    assert_eq!(given.store.job(&id).wait().unwrap(), None);
    for error in [
        given.store.events_after(&id, 0, 10).wait().unwrap_err(),
        given.store.metrics_after(&id, 0, 10).wait().unwrap_err(),
        given.store.attempts(&id).wait().unwrap_err(),
        given.store.checkpoints(&id).wait().unwrap_err(),
        given.store.artifacts(&id).wait().unwrap_err(),
        given.store.last_attempt_seq(&id, 1).wait().unwrap_err(),
        given.store.delete_job(&id).wait().unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NotFound), "{error}");
    }
    assert_eq!(given.store.events_after(&other, 0, 10).wait().unwrap().len(), 6);
    assert_eq!(given.store.checkpoints(&other).wait().unwrap().len(), 1);
    assert_eq!(given.store.artifacts(&other).wait().unwrap().len(), 1);

    // No row is left behind that a new job with this id would inherit.
    created(&given.store, 1);
    assert_eq!(given.store.events_after(&id, 0, 10).wait().unwrap().len(), 1);
    assert_eq!(given.store.attempts(&id).wait().unwrap(), []);
    assert_eq!(given.store.checkpoints(&id).wait().unwrap(), []);
    assert_eq!(given.store.artifacts(&id).wait().unwrap(), []);
}

#[test]
fn only_a_job_at_rest_is_removed() {
    let given = store();
    for (bits, state) in (1..).zip(State::ALL) {
        let id = created_in(&given.store, bits, state).id;
        match given.store.delete_job(&id).wait() {
            Ok(job) => assert!(job.state.is_at_rest(), "{state}"),
            Err(StoreError::NotAtRest(found)) => assert!(!state.is_at_rest() && found == state, "{state}"),
            Err(error) => panic!("{state}: {error}"),
        }
    }
    assert_eq!(
        StoreError::NotAtRest(State::Running).to_string(),
        "a job that is RUNNING can't be removed; cancel it first"
    );
}

#[test]
fn a_list_can_be_asked_for_by_state() {
    let given = store();
    let queued = created(&given.store, 1).id;
    let failed = created_in(&given.store, 2, State::Failed).id;
    let stopped = created_in(&given.store, 3, State::Stopped).id;
    let list = |states: &[State]| -> Vec<JobId> {
        let page = given.store.jobs(&PageRequest::default(), states).wait().unwrap();
        assert_eq!(page.next_page_token, None);
        page.items.into_iter().map(|job| job.id).collect()
    };
    assert_eq!(list(&[]), [stopped.clone(), failed.clone(), queued.clone()]);
    assert_eq!(list(&[State::Failed]), std::slice::from_ref(&failed));
    assert_eq!(list(&[State::Queued, State::Stopped]), [stopped, queued]);
    assert_eq!(list(&[State::Running]), []);
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let given = store();
    let directory = std::ffi::OsString::from_vec(b"/data/\xff".to_vec()).into();
    let error = given.store.create_job(NewJob { directory, ..new_job(1) }).wait().unwrap_err();
    assert!(
        error.to_string().starts_with("jobs.directory can't be stored: `/data/")
            && error.to_string().ends_with("is not UTF-8"),
        "{error}"
    );
}
