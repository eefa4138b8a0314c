//! Events on their way in.

use ftl_core::event::NoteLevel;
use ftl_core::job::{Phase, Progress, State};
use ftl_core::metrics::{Rewards, Stepped};
use ftl_core::{Event, JobId};
use ftl_store::StoreError;

use crate::given::{created, evaluated, note, phase, record, running, saved, stepped, store, to, training};

#[test]
fn every_kind_of_event_comes_back_as_it_was() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let events = [
        Event::Phase {
            phase: Phase::Tokenizing,
            done: Some(5),
            total: Some(10),
            unit: Some("rows".to_owned()),
        },
        phase(Phase::Planning),
        Event::Note { level: NoteLevel::Warning, message: "`träge` — \"quoted\"\n".to_owned() },
        stepped(1),
        evaluated(1, 2.25),
        saved(1),
        Event::Exported { path: "/nowhere/final".to_owned(), kind: "peft".to_owned() },
    ];
    let records: Vec<_> = (1..).zip(events).map(|(seq, event)| record(seq, event)).collect();
    let last = given.store.append_events(&id, attempt.number, records.clone()).wait().unwrap();
    assert_eq!(last, 10);
    let found = given.store.events_after(&id, 3, 100).wait().unwrap();
    assert_eq!(found.len(), records.len());
    for (found, record) in found.into_iter().zip(records) {
        assert_eq!(found.attempt, attempt.number);
        assert_eq!(found.record.seq, record.seq + 3);
        assert_eq!((found.record.time_unix_ms, found.record.event), (record.time_unix_ms, record.event));
    }
}

#[test]
fn what_is_sent_again_is_kept_once() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records: Vec<_> =
        (1..=10).map(|seq| record(seq, if seq % 3 == 0 { note("again") } else { stepped(seq) })).collect();
    let append = |part: &[_]| given.store.append_events(&id, attempt.number, part.to_vec()).wait().unwrap();
    assert_eq!(append(&records[..6]), 9);
    let once = given.store.events_after(&id, 0, 100).wait().unwrap();
    assert_eq!(append(&records[..6]), 9);
    assert_eq!(given.store.events_after(&id, 0, 100).wait().unwrap(), once);
    // What overlaps goes on where the first ended.
    assert_eq!(append(&records[3..]), 13);
    assert_eq!(append(&records), 13);
    let seqs: Vec<u64> =
        given.store.events_after(&id, 0, 100).wait().unwrap().iter().map(|event| event.record.seq).collect();
    assert_eq!(seqs, (1..=13).collect::<Vec<u64>>());
    assert_eq!(given.store.last_attempt_seq(&id, attempt.number).wait().unwrap(), 10);
}

#[test]
fn what_is_repeated_within_one_call_is_kept_once() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let records =
        vec![record(1, stepped(1)), record(1, stepped(1)), record(2, note("n")), record(2, note("n"))];
    assert_eq!(given.store.append_events(&id, attempt.number, records).wait().unwrap(), 5);
}

#[test]
fn a_late_record_is_kept_with_a_later_number() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    for (seq, event) in [(5, stepped(5)), (2, note("late")), (3, stepped(3))] {
        given.store.append_events(&id, attempt.number, vec![record(seq, event)]).wait().unwrap();
    }
    let events: Vec<Event> = given
        .store
        .events_after(&id, 3, 100)
        .wait()
        .unwrap()
        .into_iter()
        .map(|event| event.record.event)
        .collect();
    assert_eq!(events, [stepped(5), note("late"), stepped(3)]);
    assert_eq!(given.store.last_attempt_seq(&id, attempt.number).wait().unwrap(), 5);
}

#[test]
fn each_attempt_counts_for_itself() {
    let given = store();
    let (id, first) = running(&given.store, 1);
    given.store.append_events(&id, first.number, vec![record(1, stepped(1))]).wait().unwrap();
    given.store.transition(&id, to(State::Interrupted)).wait().unwrap();
    given.store.transition(&id, to(State::Queued)).wait().unwrap();
    let second = given.store.begin_attempt(&id).wait().unwrap();
    assert_eq!(given.store.last_attempt_seq(&id, second.number).wait().unwrap(), 0);
    let last = given.store.append_events(&id, second.number, vec![record(1, stepped(1))]).wait().unwrap();
    assert_eq!(last, 8);
    // An attempt that has ended may have left something behind that is found later.
    let late = vec![record(1, stepped(1)), record(2, note("found in its journal"))];
    assert_eq!(given.store.append_events(&id, first.number, late).wait().unwrap(), 9);
    let attempts: Vec<u32> =
        given.store.events_after(&id, 0, 100).wait().unwrap().iter().map(|event| event.attempt).collect();
    assert_eq!(attempts, [0, 1, 1, 1, 1, 1, 2, 2, 1]);
}

#[test]
fn a_state_among_events_is_refused_with_all_of_them() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let state = Event::State { state: State::Succeeded, reason: None };
    let records = vec![record(1, stepped(1)), record(2, state)];
    let error = given.store.append_events(&id, attempt.number, records).wait().unwrap_err();
    assert_eq!(
        error.to_string(),
        "event 2 is a change of state, which is made with `transition`; append the others without it"
    );
    assert_eq!(given.store.job(&id).wait().unwrap().unwrap().seq, 3);
}

#[test]
fn a_number_beyond_the_column_is_refused_by_name() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let Event::Stepped(numbers) = stepped(1) else { panic!("it is a step") };
    let cases = [
        (Event::Stepped(Stepped { tokens: u64::MAX, ..numbers }), "metrics.tokens"),
        (Event::Saved { step: 1, path: "p".to_owned(), bytes: u64::MAX }, "checkpoints.bytes"),
        (training(u64::MAX, 10), "jobs.step"),
    ];
    for (event, field) in cases {
        let records = vec![record(1, event)];
        let error = given.store.append_events(&id, attempt.number, records).wait().unwrap_err();
        let expected = format!("{field} can't be stored: 18446744073709551615 exceeds 9223372036854775807");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn events_of_nobody_are_refused_and_spoil_no_other() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let queued = created(&given.store, 2).id;
    let append = |id: &JobId, attempt| given.store.append_events(id, attempt, vec![record(1, stepped(1))]);
    // Sent at once, so that they are committed together.
    let replies = [
        append(&JobId::from_bits(404), 1),
        append(&queued, 1),
        append(&id, attempt.number),
        append(&id, attempt.number + 1),
        append(&id, 0),
    ];
    let [unknown, no_attempt, good, next, zeroth] = replies.map(ftl_store::Reply::wait);
    assert_eq!(good.unwrap(), 4);
    for refused in [unknown, no_attempt, next, zeroth] {
        assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    }
}

#[test]
fn nothing_to_append_answers_with_the_highest_number() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    assert_eq!(given.store.append_events(&id, attempt.number, Vec::new()).wait().unwrap(), 3);
}

#[test]
fn progress_follows_the_events() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let mut seq = 0;
    let mut progress_after = |event: Event| {
        seq += 1;
        given.store.append_events(&id, attempt.number, vec![record(seq, event)]).wait().unwrap();
        let job = given.store.job(&id).wait().unwrap().unwrap();
        (job.phase, job.progress)
    };
    let rows = Event::Phase {
        phase: Phase::Tokenizing,
        done: Some(9),
        total: Some(90),
        unit: Some("rows".to_owned()),
    };
    assert_eq!(progress_after(rows), (Some(Phase::Tokenizing), Progress::default()));
    let mut expected =
        Progress { eval_loss_before_nats: Some(3.0), eval_loss_nats: Some(3.0), ..Progress::default() };
    assert_eq!(progress_after(evaluated(0, 3.0)).1, expected);
    expected = Progress { step: 4, total_steps: Some(20), ..expected };
    assert_eq!(progress_after(training(4, 20)), (Some(Phase::Training), expected.clone()));
    expected = Progress { step: 5, loss_nats: Some(2.495), ..expected };
    assert_eq!(progress_after(stepped(5)).1, expected);
    expected = Progress { eval_loss_nats: Some(2.0), ..expected };
    assert_eq!(progress_after(evaluated(5, 2.0)).1, expected);
    assert_eq!(progress_after(phase(Phase::Saving)), (Some(Phase::Saving), expected.clone()));
    assert_eq!(progress_after(saved(5)).1, expected);
}

#[test]
fn a_late_phase_does_not_make_a_job_at_rest_busy() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    given.store.transition(&id, to(State::Cancelled)).wait().unwrap();
    let records = vec![record(1, phase(Phase::Saving)), record(2, stepped(3))];
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let job = given.store.job(&id).wait().unwrap().unwrap();
    assert_eq!((job.phase, job.progress.step), (None, 3));
}

#[test]
fn a_loss_that_is_no_number_survives() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let Event::Stepped(numbers) = stepped(1) else { panic!("it is a step") };
    let diverged = Stepped { loss_nats: f64::NAN, grad_norm: f64::INFINITY, ..numbers };
    let records = vec![
        record(1, Event::Stepped(diverged)),
        record(2, evaluated(0, f64::NAN)),
        record(3, evaluated(1, f64::NEG_INFINITY)),
    ];
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let given = given.reopened();
    let found = given.store.metrics_after(&id, 0, 10).wait().unwrap();
    let [Event::Stepped(step), Event::Evaluated(before), Event::Evaluated(after)] =
        &found.iter().map(|event| event.record.event.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{found:?}")
    };
    assert!(step.loss_nats.is_nan() && step.grad_norm == f64::INFINITY && step.learning_rate == 2e-4);
    assert!(before.loss_nats.is_nan() && before.perplexity.is_nan() && before.token_accuracy == 0.5);
    assert_eq!((after.loss_nats, after.perplexity), (f64::NEG_INFINITY, 0.0));
    let progress = given.store.job(&id).wait().unwrap().unwrap().progress;
    assert!(progress.loss_nats.unwrap().is_nan() && progress.eval_loss_before_nats.unwrap().is_nan());
    assert_eq!(progress.eval_loss_nats, Some(f64::NEG_INFINITY));
}

#[test]
fn rewards_of_pairs_survive_and_their_absence_does() {
    let given = store();
    let (id, attempt) = running(&given.store, 1);
    let Event::Stepped(numbers) = stepped(1) else { panic!("it is a step") };
    let rewards = Rewards {
        rewards_chosen: 0.25,
        rewards_rejected: f64::NAN,
        reward_margin: f64::NEG_INFINITY,
        reward_accuracy: 0.0,
    };
    let records = vec![
        record(1, Event::Stepped(Stepped { rewards: Some(rewards), ..numbers.clone() })),
        record(2, Event::Stepped(Stepped { step: 2, ..numbers })),
    ];
    given.store.append_events(&id, attempt.number, records).wait().unwrap();
    let given = given.reopened();
    let found = given.store.metrics_after(&id, 0, 10).wait().unwrap();
    let [Event::Stepped(with), Event::Stepped(without)] =
        &found.iter().map(|event| event.record.event.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{found:?}")
    };
    let back = with.rewards.unwrap();
    assert_eq!(
        (back.rewards_chosen, back.reward_margin, back.reward_accuracy),
        (0.25, f64::NEG_INFINITY, 0.0)
    );
    assert!(back.rewards_rejected.is_nan());
    assert_eq!(without.rewards, None);
}
