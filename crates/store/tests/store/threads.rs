//! The store's threads: what they finish, what they survive, and what readers see meanwhile.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ftl_core::JobId;
use ftl_core::job::State;
use ftl_store::{Store, StoreError};

use crate::given::{created, new_job, note, record, running, stepped, store, to};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn dropping_the_last_handle_finishes_what_was_asked_for() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    for seq in 1..=50 {
        drop(given.store.append_events(&id, attempt.number, vec![record(seq, stepped(seq))]));
    }
    drop(given.store.create_job(new_job(2)));
    drop(given.store.append_events(&id, attempt.number, vec![record(51, stepped(51))]));
    let given = given.reopened();
    assert_eq!(given.store.last_attempt_seq(&id, attempt.number).wait().unwrap(), 51);
    assert!(given.store.job(&JobId::from_bits(2)).wait().unwrap().is_some());
}

#[test]
fn answers_arrive_after_the_store_is_closed() {
    let given = store();
    let reply = given.store.create_job(new_job(1));
    drop(given.store);
    assert!(reply.wait().is_ok());
}

/// Says through a channel that it was woken.
struct Bell(Mutex<std::sync::mpsc::Sender<()>>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Nobody listens after the answer.
        let _ = self.0.lock().unwrap().send(());
    }
}

#[test]
fn a_reply_wakes_who_awaits_it() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let (sender, woken) = channel();
    let waker = Waker::from(Arc::new(Bell(Mutex::new(sender))));
    let mut context = Context::from_waker(&waker);
    let mut reply = pin!(given.store.append_events(&id, attempt.number, vec![record(1, stepped(1))]));
    let last = loop {
        match reply.as_mut().poll(&mut context) {
            Poll::Ready(last) => break last.unwrap(),
            Poll::Pending => woken.recv_timeout(LIMIT).unwrap(),
        }
    };
    assert_eq!(last, 4);
}

#[test]
fn a_callback_that_panics_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("ftl.db"), |_, seq| panic!("cannot tell of {seq}")).unwrap();
    let id = created(&store, 1).id;
    assert_eq!(store.transition(&id, to(State::Cancelled)).wait().unwrap().state, State::Cancelled);
}

#[test]
fn the_last_handle_can_be_dropped_by_the_callback() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ftl.db");
    let (sender, handles) = channel::<Store>();
    let (dropped, told) = channel();
    let store = Store::open(&path, move |_, _| {
        drop(handles.recv_timeout(LIMIT).unwrap());
        dropped.send(()).unwrap();
    })
    .unwrap();
    let reply = store.create_job(new_job(1));
    sender.send(store).unwrap();
    told.recv_timeout(LIMIT).unwrap();
    assert!(reply.wait().is_ok());
    // The writer lets go of the file when it is done.
    let until = Instant::now() + LIMIT;
    let again = loop {
        match Store::open(&path, |_, _| {}) {
            Ok(store) => break store,
            Err(StoreError::AlreadyOpen(_)) if Instant::now() < until => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(again.job(&JobId::from_bits(1)).wait().unwrap().is_some());
}

#[test]
fn readers_see_a_beginning_without_gaps_while_one_writes() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let n_records = 2_000;
    let last = n_records + 3;
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let (store, id) = (given.store.clone(), id.clone());
            scope.spawn(move || {
                let until = Instant::now() + LIMIT;
                let mut after = 0;
                while after < last {
                    assert!(Instant::now() < until, "reader {reader} got to {after}");
                    let job = store.job(&id).wait().unwrap().unwrap();
                    let events = store.events_after(&id, after, 100 + reader).wait().unwrap();
                    let seqs: Vec<u64> = events.iter().map(|event| event.record.seq).collect();
                    assert_eq!(seqs, (after + 1..=after + seqs.len() as u64).collect::<Vec<u64>>());
                    after += seqs.len() as u64;
                    // What the job said before was there to be read.
                    assert!(seqs.len() as u32 == 100 + reader || after >= job.seq);
                }
            });
        }
        for from in (1..=n_records).step_by(20) {
            let records = (from..from + 20)
                .map(|seq| record(seq, if seq % 3 == 0 { note("n") } else { stepped(seq) }))
                .collect();
            drop(given.store.append_events(&id, attempt.number, records));
        }
    });
}
