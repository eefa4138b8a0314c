//! Events on their way out, and who is told of them.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ftl_core::job::State;
use ftl_core::{Event, JobId};
use ftl_store::{Store, StoreError};

use crate::given::{created, evaluated, new_job, note, record, running, stepped, store, to};

/// Steps, evaluations and notes in a mixture without a pattern that a page could hide.
fn mixed(seq: u64) -> Event {
    match seq % 7 {
        0 | 3 => note(&format!("note {seq}")),
        5 => evaluated(seq, 1.0 / seq as f64),
        _ => stepped(seq),
    }
}

#[test]
fn a_replay_in_parts_of_any_size_is_the_whole_without_gaps() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    for from in [1, 41] {
        let records = (from..from + 40).map(|seq| record(seq, mixed(seq))).collect();
        given.store.append_events(&id, attempt.number, records).wait().unwrap();
    }
    given.store.transition(&id, to(State::Stopping)).wait().unwrap();
    let whole = given.store.events_after(&id, 0, 1_000).wait().unwrap();
    let seqs: Vec<u64> = whole.iter().map(|event| event.record.seq).collect();
    assert_eq!(seqs, (1..=84).collect::<Vec<u64>>());
    for limit in [1, 2, 3, 7, 50, 83, 84, 85] {
        let (mut parts, mut after) = (Vec::new(), 0);
        loop {
            let part = given.store.events_after(&id, after, limit).wait().unwrap();
            assert!(part.len() <= limit as usize);
            let Some(last) = part.last() else { break };
            after = last.record.seq;
            parts.extend(part);
        }
        assert_eq!(parts, whole, "{limit} at a time");
    }
}

#[test]
fn metrics_are_the_steps_and_evaluations_alone() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records = (1..=30).map(|seq| record(seq, mixed(seq))).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let is_metric = |event: &Event| matches!(event, Event::Stepped(_) | Event::Evaluated(_));
    let mut expected = given.store.events_after(&id, 0, 100).wait().unwrap();
    expected.retain(|event| is_metric(&event.record.event));
    assert_eq!(expected.len(), 22);
    assert_eq!(given.store.metrics_after(&id, 0, 100).wait().unwrap(), expected);
    assert_eq!(given.store.metrics_after(&id, 0, 5).wait().unwrap(), expected[..5]);
    let after = expected[4].record.seq;
    assert_eq!(given.store.metrics_after(&id, after, 100).wait().unwrap(), expected[5..]);
}

#[test]
fn after_the_last_event_there_is_none() {
    let given = store();
    let id = created(&given.store, 1).id;
    for after in [1, 2, u64::MAX] {
        assert_eq!(given.store.events_after(&id, after, 10).wait().unwrap(), []);
        assert_eq!(given.store.metrics_after(&id, after, 10).wait().unwrap(), []);
    }
    assert_eq!(given.store.events_after(&id, 0, 0).wait().unwrap(), []);
}

#[test]
fn an_unknown_job_has_no_replay() {
    let given = store();
    let id = JobId::from_bits(404);
    assert!(matches!(given.store.events_after(&id, 0, 10).wait(), Err(StoreError::NotFound)));
    assert!(matches!(given.store.metrics_after(&id, 0, 10).wait(), Err(StoreError::NotFound)));
}

#[test]
fn who_is_told_of_events_can_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let handle: Arc<OnceLock<Store>> = Arc::new(OnceLock::new());
    let (sender, told) = channel();
    let reader = Arc::clone(&handle);
    let store = Store::open(&folder.path().join("ftl.db"), move |id, seq| {
        // Asked on the thread that writes, answered by another.
        let events = reader.get().unwrap().events_after(id, 0, 1_000).wait().unwrap();
        let highest = events.last().map(|event| event.record.seq);
        sender.send((id.clone(), seq, highest)).unwrap();
    })
    .unwrap();
    assert!(handle.set(store.clone()).is_ok());

    let (id, attempt) = running(&store, 1);
    let records = (1..=10).map(|seq| record(seq, mixed(seq))).collect();
    store.append_events(&id, attempt.number, records).wait().unwrap();
    let next = || told.recv_timeout(Duration::from_secs(10)).unwrap();
    for seq in [1, 2, 3, 13] {
        assert_eq!(next(), (id.clone(), seq, Some(seq)));
    }
    // What changes nothing about a job's events tells of none.
    store.set_setting("key", "value").wait().unwrap();
    store.transition(&id, to(State::Queued)).wait().unwrap_err();
    assert!(told.try_recv().is_err());
}

#[test]
fn of_calls_that_are_committed_together_each_job_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, told) = channel();
    let gate = Arc::new(Mutex::new(()));
    let writers_gate = Arc::clone(&gate);
    let store = Store::open(&folder.path().join("ftl.db"), move |id, seq| {
        sender.send((id.clone(), seq)).unwrap();
        drop(writers_gate.lock().unwrap());
    })
    .unwrap();
    let (one, _) = running(&store, 1);
    let (other, _) = running(&store, 2);
    while told.try_recv().is_ok() {}

    // While the writer is held up, calls gather behind it.
    let held = gate.lock().unwrap();
    let third = store.create_job(new_job(3));
    let (third_id, _) = told.recv_timeout(Duration::from_secs(10)).unwrap();
    let append = |id, seq| store.append_events(id, 1, vec![record(seq, stepped(seq))]);
    let replies = [append(&one, 1), append(&other, 1), append(&one, 2), append(&one, 3)];
    drop(held);
    third.wait().unwrap();
    let last = replies.map(|reply| reply.wait().unwrap());
    assert_eq!(last, [4, 4, 5, 6]);
    let mut heard: Vec<(JobId, u64)> = told.try_iter().collect();
    heard.sort();
    assert_eq!(heard, [(one, 6), (other, 4)]);
    assert_eq!(third_id, JobId::from_bits(3));
}
