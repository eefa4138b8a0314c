//! Random lives of jobs against a model in memory that is too simple to be wrong.

use std::collections::BTreeMap;

use ftl_core::job::{Exit, State};
use ftl_core::{Event, JobId};
use ftl_store::{AttemptEnd, Change, Created, Reply, StoreError};
use proptest::prelude::*;
use proptest::sample::select;

use crate::given::{new_job, note, record, saved, stepped, store, to};

#[derive(Clone, Debug)]
enum Act {
    Create { job: u64 },
    Transition { job: u64, to: State },
    Begin { job: u64 },
    End { job: u64, number: u32, to: Option<State> },
    Append { job: u64, number: u32, seqs: Vec<u64> },
    Delete { job: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let job = 0_u64..3;
    let number = 1_u32..3;
    let state = || select(State::ALL.to_vec());
    // Weighted so that lives get somewhere.
    let act = prop_oneof![
        2 => job.clone().prop_map(|job| Act::Create { job }),
        5 => (job.clone(), state()).prop_map(|(job, to)| Act::Transition { job, to }),
        4 => job.clone().prop_map(|job| Act::Begin { job }),
        3 => (job.clone(), number.clone(), proptest::option::of(state()))
            .prop_map(|(job, number, to)| Act::End { job, number, to }),
        6 => (job.clone(), number, proptest::collection::vec(1_u64..15, 0..6))
            .prop_map(|(job, number, seqs)| Act::Append { job, number, seqs }),
        1 => job.prop_map(|job| Act::Delete { job }),
    ];
    proptest::collection::vec(act, 1..40)
}

/// A worker's event by its own number, so that the same number is the same event.
fn event(seq: u64) -> Event {
    match seq % 4 {
        0 => saved(seq),
        1 => note(&seq.to_string()),
        _ => stepped(seq),
    }
}

struct Life {
    state: State,
    /// Attempts; whether each has ended.
    attempts: Vec<bool>,
    /// Every event: attempt, its own number there, and what it says.
    events: Vec<(u32, Option<u64>, Event)>,
}

impl Life {
    fn enter(&mut self, to: State) -> Result<(), String> {
        self.state = self.state.transition(to).map_err(|error| error.to_string())?;
        let event = Event::State { state: to, reason: None };
        self.events.push((self.attempts.len() as u32, None, event));
        Ok(())
    }
}

/// What the model says about an act: how many events the job has then, or why not.
fn live(lives: &mut BTreeMap<u64, Life>, act: &Act) -> Result<u64, String> {
    let not_found = || StoreError::NotFound.to_string();
    match act {
        Act::Create { job } => {
            if lives.contains_key(job) {
                return Err(StoreError::IdTaken.to_string());
            }
            let event = Event::State { state: State::Queued, reason: None };
            let life = Life { state: State::Queued, attempts: Vec::new(), events: vec![(0, None, event)] };
            lives.insert(*job, life);
            Ok(1)
        }
        Act::Transition { job, to } => {
            let life = lives.get_mut(job).ok_or_else(not_found)?;
            life.enter(*to)?;
            Ok(life.events.len() as u64)
        }
        Act::Begin { job } => {
            let life = lives.get_mut(job).ok_or_else(not_found)?;
            life.state.transition(State::Starting).map_err(|error| error.to_string())?;
            life.attempts.push(false);
            life.enter(State::Starting)?;
            Ok(life.attempts.len() as u64)
        }
        Act::End { job, number, to } => {
            let life = lives.get_mut(job).ok_or_else(not_found)?;
            let index = *number as usize - 1;
            match life.attempts.get(index) {
                None => return Err(not_found()),
                Some(true) => return Err(StoreError::AttemptEnded(*number).to_string()),
                Some(false) => {}
            }
            if let (Some(to), true) = (to, life.state != State::Cancelled) {
                life.enter(*to)?;
            }
            life.attempts[index] = true;
            Ok(life.events.len() as u64)
        }
        Act::Append { job, number, seqs } => {
            let life = lives.get_mut(job).ok_or_else(not_found)?;
            if *number as usize > life.attempts.len() {
                return Err(not_found());
            }
            for seq in seqs {
                if !life.events.iter().any(|(attempt, own, _)| attempt == number && *own == Some(*seq)) {
                    life.events.push((*number, Some(*seq), event(*seq)));
                }
            }
            Ok(life.events.len() as u64)
        }
        Act::Delete { job } => {
            let life = lives.get(job).ok_or_else(not_found)?;
            if !life.state.is_at_rest() {
                return Err(StoreError::NotAtRest(life.state).to_string());
            }
            let n_events = life.events.len() as u64;
            lives.remove(job);
            Ok(n_events)
        }
    }
}

/// An answer, when it is there.
type Answer = Box<dyn FnOnce() -> Result<u64, String>>;

fn answer<T: 'static>(reply: Reply<T>, number: fn(T) -> u64) -> Answer {
    Box::new(move || reply.wait().map(number).map_err(|error| error.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lives_of_jobs_are_those_of_a_simple_model(acts in acts()) {
        let given = store();
        let store = &given.store;
        let mut lives = BTreeMap::new();
        let mut answers: Vec<(Answer, Result<u64, String>)> = Vec::new();
        for act in &acts {
            let expected = live(&mut lives, act);
            // Nobody waits: what is asked is done in order, events gathered or not.
            let answer = match act.clone() {
                Act::Create { job } => answer(store.create_job(new_job(job)), |created| match created {
                    Created::New(job) => job.seq,
                    Created::Existing(_) => 0,
                }),
                Act::Transition { job, to: next } => {
                    answer(store.transition(&JobId::from_bits(job), to(next)), |job| job.seq)
                }
                Act::Begin { job } => {
                    answer(store.begin_attempt(&JobId::from_bits(job)), |attempt| u64::from(attempt.number))
                }
                Act::End { job, number, to: next } => {
                    let change: Option<Change> = next.map(to);
                    let end = AttemptEnd { exit: Exit::Lost, log_tail: None, change };
                    answer(store.end_attempt(&JobId::from_bits(job), number, end), |job| job.seq)
                }
                Act::Append { job, number, seqs } => {
                    let records = seqs.into_iter().map(|seq| record(seq, event(seq))).collect();
                    answer(store.append_events(&JobId::from_bits(job), number, records), |seq| seq)
                }
                Act::Delete { job } => answer(store.delete_job(&JobId::from_bits(job)), |job| job.seq),
            };
            answers.push((answer, expected));
        }
        for (act, (answer, expected)) in acts.iter().zip(answers) {
            prop_assert_eq!(answer(), expected, "{:?}", act);
        }
        for job in 0..3 {
            let id = JobId::from_bits(job);
            let Some(life) = lives.get(&job) else {
                prop_assert_eq!(store.job(&id).wait().unwrap(), None);
                continue;
            };
            let found = store.job(&id).wait().unwrap().unwrap();
            prop_assert_eq!(found.state, life.state);
            prop_assert_eq!(found.n_attempts as usize, life.attempts.len());
            prop_assert_eq!(found.seq as usize, life.events.len());
            let events = store.events_after(&id, 0, 1_000).wait().unwrap();
            let told: Vec<_> = events.iter().map(|event| (event.attempt, &event.record.event)).collect();
            let expected: Vec<_> = life.events.iter().map(|(attempt, _, event)| (*attempt, event)).collect();
            prop_assert_eq!(told, expected);
            let seqs: Vec<u64> = events.iter().map(|event| event.record.seq).collect();
            prop_assert_eq!(seqs, (1..=life.events.len() as u64).collect::<Vec<u64>>());
            let ended: Vec<bool> =
                store.attempts(&id).wait().unwrap().iter().map(|attempt| attempt.exit.is_some()).collect();
            prop_assert_eq!(&ended, &life.attempts);
            for (index, _) in life.attempts.iter().enumerate() {
                let number = index as u32 + 1;
                let of_attempt = life.events.iter().filter(|(attempt, ..)| *attempt == number);
                let highest = of_attempt.filter_map(|(_, own, _)| *own).max().unwrap_or(0);
                prop_assert_eq!(store.last_attempt_seq(&id, number).wait().unwrap(), highest);
            }
        }
    }
}
