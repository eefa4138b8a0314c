//! Random acts of clients, workers, the machine and whoever kills the service, against what must hold whatever happens:
//!
//! - a change that was acknowledged is in the job's events, under the number that was told, for ever;
//! - states follow each other by [`State::transition`] alone, events are numbered without gaps;
//! - attempts are numbered without gaps, and at most the last one is open;
//! - the queue has the order that its acknowledged moves gave it;
//! - no two processes are ever at one place (the workers see to that, see `worker`);
//! - when everything works again, every job comes to rest.

use std::time::{Duration, Instant};

use ftl_core::job::{Attempt, Job, Move, MoveTo, State};
use ftl_core::{Event, JobId};
use ftl_server::error::ServiceError;
use proptest::prelude::*;
use proptest::sample::select;

use super::harness::{Harness, spec};

const DEADLINE: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
enum Act {
    Create { device: &'static str },
    Stop { job: usize },
    Resume { job: usize },
    Cancel { job: usize },
    Delete { job: usize },
    Move { job: usize, to: usize, other: usize },
    Worker { job: usize, word: &'static str },
    Cards { n_cards: u32 },
    Pass { millis: u64 },
    Kill,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let job = 0_usize..4;
    let act = prop_oneof![
        4 => select(vec!["cpu", "cuda", "cuda:1", "auto"]).prop_map(|device| Act::Create { device }),
        2 => job.clone().prop_map(|job| Act::Stop { job }),
        2 => job.clone().prop_map(|job| Act::Resume { job }),
        1 => job.clone().prop_map(|job| Act::Cancel { job }),
        1 => job.clone().prop_map(|job| Act::Delete { job }),
        2 => (job.clone(), 0_usize..4, 0_usize..4).prop_map(|(job, to, other)| Act::Move { job, to, other }),
        5 => (job, select(vec!["finish", "crash", "refuse", "save"]))
            .prop_map(|(job, word)| Act::Worker { job, word }),
        1 => (0_u32..3).prop_map(|n_cards| Act::Cards { n_cards }),
        // Long enough for a worker to start, and to be in the middle of it.
        6 => (0_u64..80).prop_map(|millis| Act::Pass { millis }),
        3 => Just(Act::Kill),
    ];
    proptest::collection::vec(act, 8..30)
}

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Every job that there is, in the order of the queue, whether or not it is in it.
    order: Vec<JobId>,
    deleted: Vec<JobId>,
    /// Changes of state: the job, the event's number, the state.
    changes: Vec<(JobId, u64, State)>,
}

impl Acknowledged {
    fn pick(&self, index: usize) -> Option<JobId> {
        (!self.order.is_empty()).then(|| self.order[index % self.order.len()].clone())
    }

    fn changed(&mut self, answer: Result<Job, ServiceError>) {
        match answer {
            Ok(job) => self.changes.push((job.id, job.seq, job.state)),
            Err(ServiceError::Transition(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn moved(&mut self, job: &JobId, to: &MoveTo) {
        if matches!(to, MoveTo::Before(other) | MoveTo::After(other) if other == job) {
            return;
        }
        self.order.retain(|id| id != job);
        let at = |other: &JobId| self.order.iter().position(|id| id == other).expect("the move was accepted");
        let index = match to {
            MoveTo::First => 0,
            MoveTo::Last => self.order.len(),
            MoveTo::Before(other) => at(other),
            MoveTo::After(other) => at(other) + 1,
        };
        self.order.insert(index, job.clone());
    }
}

fn perform(harness: &mut Harness, said: &mut Acknowledged, act: &Act) {
    let picked = |said: &Acknowledged, job: usize| said.pick(job);
    match act {
        Act::Create { device } => {
            let job = harness.on(|jobs| jobs.create(spec(device), None, None)).expect("a good spec");
            said.order.push(job.id.clone());
            said.changes.push((job.id, job.seq, State::Queued));
        }
        Act::Stop { job } => {
            let Some(id) = picked(said, *job) else { return };
            said.changed(harness.on(|jobs| jobs.stop(&id)));
        }
        Act::Resume { job } => {
            let Some(id) = picked(said, *job) else { return };
            said.changed(harness.on(|jobs| jobs.resume(&id)));
        }
        Act::Cancel { job } => {
            let Some(id) = picked(said, *job) else { return };
            said.changed(harness.on(|jobs| jobs.cancel(&id)));
        }
        Act::Delete { job } => {
            let Some(id) = picked(said, *job) else { return };
            match harness.on(|jobs| jobs.delete(&id)) {
                Ok(()) => {
                    said.order.retain(|other| *other != id);
                    said.changes.retain(|(other, _, _)| *other != id);
                    said.deleted.push(id);
                }
                // It does not rest, or its worker is still ending.
                Err(ServiceError::Precondition(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        Act::Move { job, to, other } => {
            let (Some(job), Some(other)) = (picked(said, *job), picked(said, *other)) else { return };
            let to = match to {
                0 => MoveTo::First,
                1 => MoveTo::Last,
                2 => MoveTo::Before(other),
                _ => MoveTo::After(other),
            };
            let change = Move { job: job.clone(), to: to.clone(), from_place: None };
            match harness.on(|jobs| jobs.move_to(change)) {
                Ok(_) => said.moved(&job, &to),
                // One of them is not in the queue.
                Err(ServiceError::Precondition(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
        Act::Worker { job, word } => {
            let Some(id) = picked(said, *job) else { return };
            harness.command(&id, word);
        }
        Act::Cards { n_cards } => harness.cards.set(*n_cards),
        Act::Pass { millis } => std::thread::sleep(Duration::from_millis(*millis)),
        Act::Kill => harness.restart(),
    }
}

/// What holds at any moment.
fn check(harness: &Harness, said: &Acknowledged) {
    for id in &said.deleted {
        assert_eq!(harness.store().job(id).wait().expect("a database"), None, "{id} was deleted");
    }
    let queue: Vec<JobId> =
        harness.store().queue().wait().expect("a database").into_iter().map(|queued| queued.id).collect();
    let expected: Vec<JobId> = said.order.iter().filter(|id| queue.contains(id)).cloned().collect();
    assert_eq!(queue, expected, "the order of the queue");
    for id in &said.order {
        let events = harness.store().events_after(id, 0, 10_000).wait().expect("a job that was made");
        let seqs: Vec<u64> = events.iter().map(|event| event.record.seq).collect();
        assert_eq!(seqs, (1..=events.len() as u64).collect::<Vec<_>>(), "numbers of {id}");
        let mut now: Option<State> = None;
        let mut n_attempts = 0;
        for event in &events {
            let Event::State { state, .. } = event.record.event else { continue };
            match now {
                None => assert_eq!(state, State::Queued, "{id} begins"),
                Some(before) => {
                    before.transition(state).unwrap_or_else(|error| panic!("{id}: {error}"));
                }
            }
            if state == State::Starting {
                n_attempts += 1;
            }
            assert_eq!(event.attempt, n_attempts, "{id} in {state}");
            now = Some(state);
        }
        for (_, seq, state) in said.changes.iter().filter(|(of, _, _)| of == id) {
            let index = usize::try_from(*seq).expect("small") - 1;
            let kept = events.get(index).map(|event| &event.record.event);
            assert!(
                matches!(kept, Some(Event::State { state: kept, .. }) if kept == state),
                "{id}: {state} was acknowledged as event {seq}, which is {kept:?}"
            );
        }
        check_attempts(id, &harness.store().attempts(id).wait().expect("a job that was made"));
    }
    harness.check_places();
}

fn check_attempts(id: &JobId, attempts: &[Attempt]) {
    let numbers: Vec<u32> = attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (1..=attempts.len() as u32).collect::<Vec<_>>(), "attempts of {id}");
    let earlier = attempts.len().saturating_sub(1);
    assert!(
        attempts[..earlier].iter().all(|attempt| attempt.exit.is_some()),
        "{id} has a new attempt while an old one is open: {attempts:?}"
    );
}

/// When GPUs are there and workers finish, everything comes to rest.
fn finale(harness: &mut Harness, said: &Acknowledged) {
    harness.cards.set(2);
    harness.command_all("finish");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let jobs: Vec<Job> = said.order.iter().map(|id| harness.job(id)).collect();
        let is_over = |job: &Job| {
            let attempts = harness.store().attempts(&job.id).wait().expect("a job that was made");
            job.state.is_at_rest() && attempts.iter().all(|attempt| attempt.exit.is_some())
        };
        if jobs.iter().all(is_over) {
            return;
        }
        assert!(Instant::now() < deadline, "these do not come to rest: {jobs:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Each starts several services and a dozen processes. More by PROPTEST_CASES.
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(6),
        // One that gets stuck takes two minutes.
        max_shrink_iters: 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_acknowledged_is_lost_and_no_job_is_stuck_whatever_is_killed_when(acts in acts()) {
        let mut harness = Harness::start(1);
        let mut said = Acknowledged::default();
        for act in &acts {
            perform(&mut harness, &mut said, act);
            check(&harness, &said);
        }
        finale(&mut harness, &said);
        check(&harness, &said);
    }
}
