//! States, events and the stop signal at the crate's surface.

use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::job::{Phase, State};
use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_core::{Event, EventRecord, Observer, Problem, ProblemKind, Signals, StopReason, StopSignal};
use serde_json::{Value, json};

/// Which states may follow which: one row per state, one column per state in the order of [`State::ALL`].
const FOLLOWS: [(State, &str); 9] = [
    //                    Que Sta Run Sto Std Int Suc Fai Can
    (State::Queued, "      .   x   .   .   .   .   .   .   x"),
    (State::Starting, "    .   .   x   x   .   x   .   x   x"),
    (State::Running, "     .   .   .   x   .   x   x   x   x"),
    (State::Stopping, "    .   .   .   .   x   x   x   x   x"),
    (State::Stopped, "     x   .   .   .   .   .   .   .   x"),
    (State::Interrupted, " x   .   .   .   .   .   .   x   x"),
    (State::Succeeded, "   .   .   .   .   .   .   .   .   ."),
    (State::Failed, "      x   .   .   .   .   .   .   .   x"),
    (State::Cancelled, "   .   .   .   .   .   .   .   .   ."),
];

#[test]
fn all_pairs_of_states_follow_the_life_of_a_job() {
    let mut n_pairs = 0;
    for (from, row) in FOLLOWS {
        for (to, mark) in State::ALL.into_iter().zip(row.split_whitespace()) {
            n_pairs += 1;
            match from.transition(to) {
                Ok(state) => assert_eq!((state, mark), (to, "x"), "{from} to {to}"),
                Err(illegal) => {
                    assert_eq!(mark, ".", "{from} to {to}");
                    assert_eq!(illegal.to_string(), format!("a job that is {from} can't become {to}"));
                }
            }
        }
        assert_eq!(from.is_final(), !row.contains('x'), "{from}");
    }
    assert_eq!(n_pairs, 81);
}

#[test]
fn states_are_written_as_they_are_shown() {
    for state in State::ALL {
        assert_eq!(serde_json::to_value(state).expect("JSON"), json!(state.to_string()));
    }
    assert_eq!(serde_json::to_value(Phase::Training).expect("JSON"), json!("TRAINING"));
    assert_eq!(Phase::Training.to_string(), "training");
}

#[test]
fn first_reason_to_stop_stays() {
    let signal = StopSignal::new();
    let clone = signal.clone();
    assert_eq!(signal.raised(), None);
    clone.raise(StopReason::Shutdown);
    clone.raise(StopReason::User);
    assert_eq!(signal.raised(), Some(StopReason::Shutdown));
    let other = StopSignal::new();
    other.raise(StopReason::User);
    other.raise(StopReason::Shutdown);
    assert_eq!(other.raised(), Some(StopReason::User));
}

#[test]
fn checkpoint_is_asked_for_once_however_often_and_leaves_the_stop_alone() {
    let stop = StopSignal::new();
    let signals = Signals::from(&stop);
    let clone = signals.save.clone();
    assert!(!signals.save.take());
    clone.raise();
    clone.raise();
    assert_eq!((signals.save.take(), signals.save.take()), (true, false));
    clone.raise();
    assert!(signals.save.take(), "it can be asked for again");
    assert_eq!(signals.stop.raised(), None);
    stop.raise(StopReason::User);
    assert_eq!(signals.stop.raised(), Some(StopReason::User));
    assert!(!signals.save.take());
}

#[test]
fn events_are_lines_of_the_documented_shape() {
    let stepped = Stepped {
        step: 1,
        epoch: 0.5,
        loss_nats: 2.25,
        grad_norm: 1.5,
        learning_rate: 2e-4,
        tokens: 100,
        supervised_tokens: 40,
        samples: 4,
        tokens_per_sec: 200.0,
        samples_per_sec: 8.0,
        step_millis: 500.0,
        data_millis: 0.5,
        rewards: None,
    };
    let evaluated = Evaluated {
        step: 1,
        loss_nats: 0.0,
        perplexity: 1.0,
        token_accuracy: 1.0,
        tokens: 40,
        rewards: None,
    };
    let rewards =
        Rewards { rewards_chosen: 0.5, rewards_rejected: -0.25, reward_margin: 0.75, reward_accuracy: 1.0 };
    let of_pairs = Evaluated { rewards: Some(rewards), ..evaluated };
    let answer = |reference: Option<&str>| {
        let (prompt, text) = ("a".to_owned(), "b".to_owned());
        Event::Sampled(Sampled { step: 0, prompt, text, reference: reference.map(String::from) })
    };
    let state =
        |reason: Option<&str>| Event::State { state: State::Running, reason: reason.map(String::from) };
    let cases = [
        (state(None), r#""type":"state","state":"RUNNING""#),
        (state(Some("resumed")), r#""type":"state","state":"RUNNING","reason":"resumed""#),
        (
            Event::Phase { phase: Phase::Tokenizing, done: None, total: None, unit: None },
            r#""type":"phase","phase":"TOKENIZING""#,
        ),
        (
            Event::Phase {
                phase: Phase::Tokenizing,
                done: Some(1),
                total: Some(2),
                unit: Some("rows".into()),
            },
            r#""type":"phase","phase":"TOKENIZING","done":1,"total":2,"unit":"rows""#,
        ),
        (
            Event::Note { level: NoteLevel::Warning, message: "a\nb".into() },
            r#""type":"note","level":"warning","message":"a\nb""#,
        ),
        (
            Event::Stepped(stepped),
            r#""type":"stepped","step":1,"epoch":0.5,"loss_nats":2.25,"grad_norm":1.5,"learning_rate":0.0002,"tokens":100,"supervised_tokens":40,"samples":4,"tokens_per_sec":200.0,"samples_per_sec":8.0,"step_millis":500.0,"data_millis":0.5"#,
        ),
        (
            Event::Evaluated(evaluated),
            r#""type":"evaluated","step":1,"loss_nats":0.0,"perplexity":1.0,"token_accuracy":1.0,"tokens":40"#,
        ),
        (
            Event::Evaluated(of_pairs),
            r#""type":"evaluated","step":1,"loss_nats":0.0,"perplexity":1.0,"token_accuracy":1.0,"tokens":40,"rewards_chosen":0.5,"rewards_rejected":-0.25,"reward_margin":0.75,"reward_accuracy":1.0"#,
        ),
        (answer(None), r#""type":"sampled","step":0,"prompt":"a","text":"b""#),
        (answer(Some("c")), r#""type":"sampled","step":0,"prompt":"a","text":"b","reference":"c""#),
        (
            Event::Saved { step: 1, path: "checkpoint-1".into(), bytes: 7 },
            r#""type":"saved","step":1,"path":"checkpoint-1","bytes":7"#,
        ),
        (
            Event::Removed { step: 1, path: "checkpoint-1".into() },
            r#""type":"removed","step":1,"path":"checkpoint-1""#,
        ),
        (
            Event::Damaged {
                step: 1,
                path: "checkpoint-1".into(),
                kept_at: "damaged-checkpoint-1".into(),
                message: "cut".into(),
            },
            r#""type":"damaged","step":1,"path":"checkpoint-1","kept_at":"damaged-checkpoint-1","message":"cut""#,
        ),
        (
            Event::Exported { path: "final".into(), kind: "peft".into() },
            r#""type":"exported","path":"final","kind":"peft""#,
        ),
    ];
    for (seq, (event, expected)) in (1..).zip(cases) {
        let record = EventRecord { seq, time_unix_ms: 1_700_000_000_000, event };
        let line = serde_json::to_string(&record).expect("JSON");
        assert_eq!(line, format!(r#"{{"seq":{seq},"time_unix_ms":1700000000000,{expected}}}"#));
        assert_eq!(serde_json::from_str::<EventRecord>(&line).expect("its own line"), record);
    }
}

#[test]
fn diverged_loss_is_written_as_null_and_read_as_nan() {
    let evaluated = Evaluated {
        step: 1,
        loss_nats: f64::NAN,
        perplexity: f64::INFINITY,
        token_accuracy: 0.0,
        tokens: 40,
        rewards: None,
    };
    let line = serde_json::to_string(&Event::Evaluated(evaluated)).expect("JSON");
    assert!(line.contains(r#""loss_nats":null,"perplexity":null"#), "{line}");
    match serde_json::from_str(&line).expect("its own line") {
        Event::Evaluated(back) => assert!(back.loss_nats.is_nan() && back.perplexity.is_nan()),
        other => panic!("{other:?}"),
    }
    let without = line.replace(r#""loss_nats":null,"#, "");
    assert!(serde_json::from_str::<Event>(&without).is_err(), "an absent loss is not a diverged one");
}

#[test]
fn observer_may_be_a_closure() {
    let mut seen = Vec::new();
    let mut observer = |event: &Event| seen.push(event.clone());
    let event = Event::Note { level: NoteLevel::Info, message: "hello".into() };
    observer.observe(&event);
    assert_eq!(seen, [event]);
}

#[test]
fn problems_are_told_in_one_sentence_and_in_json() {
    let bare = Problem::new(ProblemKind::Syntax, "the file is empty");
    assert_eq!(bare.to_string(), "the file is empty");
    assert_eq!(
        serde_json::to_value(&bare).expect("JSON"),
        json!({ "kind": "syntax", "message": "the file is empty" })
    );
    let full = Problem::new(ProblemKind::UnknownKey, "unknown key").at("train.lr").hint("drop it");
    assert_eq!(full.to_string(), "train.lr: unknown key; drop it");
    let value: Value = serde_json::to_value(&full).expect("JSON");
    assert_eq!(
        value,
        json!({ "kind": "unknown_key", "field": "train.lr", "message": "unknown key", "hint": "drop it" })
    );
    assert_eq!(serde_json::from_value::<Problem>(value).expect("its own JSON"), full);
}
