//! Checkpoints: what events tell of them, and what became of them since.

use std::path::{Path, PathBuf};

use ftl_core::job::{Checkpoint, CheckpointState, JobEvent};
use ftl_core::{Event, JobId, PageRequest};
use ftl_store::{Listed, OnDisk, Store, StoreError};

use crate::given::{Given, evaluated, record, running, saved, store};

fn path(step: u64) -> PathBuf {
    format!("/data/jobs/x/checkpoint-{step}").into()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn removed(step: u64) -> Event {
    Event::Removed { step, path: text(&path(step)) }
}

fn aside(step: u64) -> PathBuf {
    format!("/data/jobs/x/damaged-checkpoint-{step}").into()
}

fn set_aside(step: u64) -> Event {
    let message = "cut".to_owned();
    Event::Damaged { step, path: text(&path(step)), kept_at: text(&aside(step)), message }
}

/// A running job to which its worker reports these events.
fn with(events: impl IntoIterator<Item = Event>) -> (Given, JobId) {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records = (1..).zip(events).map(|(seq, event)| record(seq, event)).collect();
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    (given, id)
}

fn all(store: &Store, id: &JobId) -> Vec<Checkpoint> {
    store.checkpoints(id).wait().unwrap()
}

fn one(store: &Store, id: &JobId, path: &Path) -> Checkpoint {
    store.checkpoint(id, path).wait().unwrap().unwrap()
}

/// The events that the store made of checkpoints.
fn told(store: &Store, id: &JobId, after_seq: u64) -> Vec<Event> {
    let events: Vec<JobEvent> = store.events_after(id, after_seq, 100).wait().unwrap();
    events.into_iter().map(|event| event.record.event).collect()
}

#[test]
fn checkpoints_follow_from_the_events_that_tell_of_them() {
    let (given, id) = with([]);
    assert_eq!(all(&given.store, &id), []);
    let (given, id) = with([saved(20), evaluated(10, 1.5), saved(10)]);
    let checkpoint = |seq: u64, step: u64| Checkpoint {
        step,
        attempt: 1,
        // Three states were before the first event of the worker.
        seq: seq + 3,
        path: path(step),
        bytes: 1000 + step,
        created_unix_ms: 1_700_000_000_000 + seq,
        state: CheckpointState::Complete,
        damage: None,
        verified_unix_ms: None,
        eval_loss_nats: None,
        pinned: false,
        last: false,
        best: false,
    };
    let last = Checkpoint { last: true, ..checkpoint(1, 20) };
    let best = Checkpoint { best: true, eval_loss_nats: Some(1.5), ..checkpoint(3, 10) };
    assert_eq!(all(&given.store, &id), [last, best.clone()]);
    assert_eq!(one(&given.store, &id, &path(10)), best);
    assert_eq!(given.store.checkpoint(&id, &path(30)).wait().unwrap(), None);
    let missing = given.store.checkpoint(&JobId::from_bits(9), &path(10)).wait().unwrap_err();
    assert!(matches!(missing, StoreError::NotFound), "{missing:?}");
}

#[test]
fn a_checkpoint_that_is_written_again_is_listed_once_and_last() {
    let (given, id) = with([saved(10), saved(20), saved(10)]);
    let steps: Vec<u64> = all(&given.store, &id).iter().map(|checkpoint| checkpoint.step).collect();
    assert_eq!(steps, [20, 10]);
}

#[test]
fn best_has_the_lowest_loss_of_those_that_are_there_and_of_equals_is_the_first() {
    let best = |given: &Given, id: &JobId| {
        all(&given.store, id).iter().find(|checkpoint| checkpoint.best).map(|checkpoint| checkpoint.step)
    };
    let (given, id) = with([saved(10), saved(20)]);
    assert_eq!(best(&given, &id), None);
    // Evaluated before it is saved, or after, where the run was stopped in between.
    let events = [
        evaluated(10, f64::NAN),
        saved(10),
        saved(20),
        evaluated(20, 2.0),
        evaluated(30, 1.5),
        saved(30),
        evaluated(40, 1.5),
        saved(40),
    ];
    let (given, id) = with(events.clone());
    assert_eq!(best(&given, &id), Some(30));
    assert_eq!(one(&given.store, &id, &path(10)).eval_loss_nats, None, "NaN is nobody's best");
    let (given, id) = with(events.clone().into_iter().chain([removed(30)]));
    assert_eq!(best(&given, &id), Some(40));
    let (given, id) = with(events.into_iter().chain([removed(30), set_aside(40)]));
    assert_eq!(best(&given, &id), Some(20));
    let last = all(&given.store, &id).into_iter().find(|checkpoint| checkpoint.last);
    assert_eq!(last.map(|checkpoint| checkpoint.step), Some(20));
}

#[test]
fn pages_are_newest_first_and_without_what_is_gone_unless_asked() {
    let (given, id) = with([saved(1), saved(2), removed(1), saved(3), removed(2), saved(4), saved(5)]);
    let list = |listed| {
        let mut steps = Vec::new();
        let mut page_token = None;
        loop {
            let page = PageRequest { page_size: 2, page_token };
            let page = given.store.list_checkpoints(&id, &page, listed).wait().unwrap();
            steps.push(page.items.iter().map(|checkpoint| checkpoint.step).collect::<Vec<_>>());
            match page.next_page_token {
                Some(next) => page_token = Some(next),
                None => return steps,
            }
        }
    };
    assert_eq!(list(Listed::OnDisk), [vec![5, 4], vec![3]]);
    assert_eq!(list(Listed::All), [vec![5, 4], vec![3, 2], vec![1]]);
    let page = PageRequest { page_size: 0, page_token: Some("x".to_owned()) };
    let refused = given.store.list_checkpoints(&id, &page, Listed::All).wait().unwrap_err();
    assert!(matches!(refused, StoreError::BadPageToken), "{refused:?}");
    let missing =
        given.store.list_checkpoints(&JobId::from_bits(9), &PageRequest::default(), Listed::All).wait();
    assert!(matches!(missing, Err(StoreError::NotFound)), "{missing:?}");
}

#[test]
fn a_damaged_one_that_was_set_aside_stays_beside_its_successor() {
    let (given, id) = with([saved(10), saved(20), set_aside(20), saved(20)]);
    let (damaged, new) = (one(&given.store, &id, &aside(20)), one(&given.store, &id, &path(20)));
    assert_eq!((damaged.state, damaged.damage.as_deref()), (CheckpointState::Damaged, Some("cut")));
    assert_eq!(damaged.name(), "damaged-checkpoint-20");
    assert_eq!((new.state, new.last, damaged.last), (CheckpointState::Complete, true, false));
    // Once more, after the first of that name was deleted.
    given.store.checkpoint_removed(&id, &aside(20)).wait().unwrap();
    let records = vec![record(5, set_aside(20))];
    given.store.append_events(&id, 1, records).wait().unwrap();
    assert_eq!(one(&given.store, &id, &aside(20)).state, CheckpointState::Damaged);
    assert_eq!(all(&given.store, &id).len(), 2);
}

#[test]
fn a_pin_is_of_a_step_and_outlives_what_is_saved_there_again() {
    let (given, id) = with([saved(10), saved(20)]);
    assert!(given.store.checkpoint_pinned(&id, &path(20)).wait().unwrap().pinned);
    assert!(!one(&given.store, &id, &path(10)).pinned);
    let again = vec![record(3, set_aside(20)), record(4, saved(20))];
    given.store.append_events(&id, 1, again).wait().unwrap();
    assert!(one(&given.store, &id, &path(20)).pinned);
    assert!(!given.store.checkpoint_unpinned(&id, &path(20)).wait().unwrap().pinned);
    assert!(!one(&given.store, &id, &aside(20)).pinned);
    let missing = given.store.checkpoint_pinned(&id, &path(30)).wait().unwrap_err();
    assert!(matches!(missing, StoreError::NotFound), "{missing:?}");
}

#[test]
fn removal_is_told_once_in_an_event_of_the_job() {
    let (given, id) = with([saved(10), saved(20)]);
    given.store.checkpoint_removed(&id, &path(20)).wait().unwrap();
    given.store.checkpoint_removed(&id, &path(20)).wait().unwrap();
    assert_eq!(told(&given.store, &id, 5), [removed(20)]);
    assert_eq!(one(&given.store, &id, &path(20)).state, CheckpointState::Removed);
    assert!(one(&given.store, &id, &path(10)).last);
    // What the worker reports afterwards is numbered on.
    let last = given.store.append_events(&id, 1, vec![record(3, saved(30))]).wait().unwrap();
    assert_eq!((last, one(&given.store, &id, &path(30)).seq), (7, 7));
    assert_eq!(given.store.checkpoint_after(&id, 5).wait().unwrap().map(|found| found.step), Some(30));
    assert_eq!(given.store.checkpoint_after(&id, 7).wait().unwrap(), None);
}

#[test]
fn verification_counts_for_the_checkpoint_that_was_read_alone() {
    let (given, id) = with([saved(10), saved(20)]);
    let read = one(&given.store, &id, &path(20));
    let whole = given.store.checkpoint_verified(&id, &read, None).wait().unwrap();
    assert!(whole.state == CheckpointState::Complete && whole.verified_unix_ms.is_some());
    for _ in 0..2 {
        let damaged = given.store.checkpoint_verified(&id, &read, Some("cut".to_owned())).wait().unwrap();
        assert_eq!((damaged.state, damaged.damage.as_deref()), (CheckpointState::Damaged, Some("cut")));
    }
    let (path_20, message) = (text(&path(20)), "cut".to_owned());
    let event = Event::Damaged { step: 20, path: path_20.clone(), kept_at: path_20, message };
    assert_eq!(told(&given.store, &id, 5), [event], "what is known is not told again");
    assert!(one(&given.store, &id, &path(10)).last);
    let mended = given.store.checkpoint_verified(&id, &read, None).wait().unwrap();
    assert_eq!((mended.state, mended.damage, mended.last), (CheckpointState::Complete, None, true));
    // It was written again while the old one was read.
    given.store.append_events(&id, 1, vec![record(3, saved(20))]).wait().unwrap();
    let new = given.store.checkpoint_verified(&id, &read, Some("cut".to_owned())).wait().unwrap();
    assert_eq!((new.state, new.verified_unix_ms), (CheckpointState::Complete, None));
    given.store.checkpoint_removed(&id, &path(20)).wait().unwrap();
    let gone = given.store.checkpoint_verified(&id, &new, Some("cut".to_owned())).wait().unwrap();
    assert_eq!(gone.state, CheckpointState::Removed);
}

#[test]
fn what_is_found_on_disk_puts_right_what_nobody_told() {
    let (given, id) = with([saved(10), saved(20), saved(30), set_aside(30), saved(40)]);
    let new = given.folder.path().join("checkpoint-50");
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("adapter_model.safetensors"), [0; 70]).unwrap();
    let found = |step, path: PathBuf| OnDisk { step, path, pinned: false, usable: true };
    let on_disk = vec![
        OnDisk { pinned: true, ..found(10, path(10)) },
        OnDisk { usable: false, ..found(30, aside(30)) },
        found(40, path(40)),
        found(50, new.clone()),
    ];
    given.store.found_on_disk(&id, 1, on_disk.clone()).wait().unwrap();
    let saved_50 = Event::Saved { step: 50, path: text(&new), bytes: 70 };
    assert_eq!(told(&given.store, &id, 8), [removed(20), saved_50]);
    let states: Vec<_> = all(&given.store, &id)
        .iter()
        .map(|checkpoint| (checkpoint.step, checkpoint.state, checkpoint.pinned, checkpoint.last))
        .collect();
    let expected = [
        (10, CheckpointState::Complete, true, false),
        (20, CheckpointState::Removed, false, false),
        (30, CheckpointState::Damaged, false, false),
        (40, CheckpointState::Complete, false, false),
        (50, CheckpointState::Complete, false, true),
    ];
    assert_eq!(states, expected);
    given.store.found_on_disk(&id, 1, on_disk).wait().unwrap();
    assert_eq!(told(&given.store, &id, 10), [], "nothing is told twice");
}
