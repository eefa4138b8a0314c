use ftl_client::terminal::{Lines, Run};
use ftl_core::Event;
use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::job::{Job, JobEvent, Phase, State};
use ftl_core::metrics::{Rewards, Stepped};

use super::{BEGIN, assert_golden, evaluated, event, job, phase, state, stepped};

fn lines_of(job: &Job, events: &[JobEvent]) -> Vec<String> {
    let mut run = Run::new(job);
    let mut lines = Lines::default();
    let mut all = Vec::new();
    for event in events {
        run.take(event);
        all.extend(lines.line(&run, event));
    }
    all
}

#[test]
fn whole_run_is_told_in_plain_lines() {
    let saved = Event::Saved { step: 100, path: "/data/checkpoint-100".to_owned(), bytes: 2 << 20 };
    let note = |level, message: &str| Event::Note { level, message: message.to_owned() };
    let mut events = vec![
        event(BEGIN, state(State::Queued)),
        event(BEGIN, state(State::Starting)),
        event(BEGIN, state(State::Running)),
        event(BEGIN, phase(Phase::Tokenizing, Some(0), Some(10))),
        event(BEGIN, phase(Phase::Tokenizing, Some(10), Some(10))),
        event(BEGIN, note(NoteLevel::Info, "computes on the CPU")),
        event(BEGIN, note(NoteLevel::Warning, "the data is\nsmall\x1b[1m")),
        event(BEGIN, phase(Phase::Training, Some(0), Some(100))),
        event(BEGIN, evaluated(0, 3.0)),
    ];
    for step in 1..=100 {
        events.push(event(BEGIN + step * 1_000, Event::Stepped(stepped(step, 3.0 - step as f64 / 50.0))));
    }
    events.push(event(BEGIN + 101_000, evaluated(100, 1.2)));
    let (prompt, text) = ("What is it?\n".to_owned(), "an answer ".repeat(20));
    events.push(event(BEGIN + 101_000, Event::Sampled(Sampled { step: 100, prompt, text, reference: None })));
    events.push(event(BEGIN + 101_000, saved));
    events.push(event(
        BEGIN + 102_000,
        Event::Exported { path: "/data/final".to_owned(), kind: "peft".to_owned() },
    ));
    events.push(event(BEGIN + 102_000, state(State::Succeeded)));
    let lines = lines_of(&job(), &events);
    assert_golden("lines.txt", &(lines.join("\n") + "\n"));
}

#[test]
fn slow_run_says_something_every_half_minute() {
    let mut events = vec![event(BEGIN, phase(Phase::Training, Some(0), Some(100_000)))];
    // Every 2,000th step has a line, and each takes ten seconds.
    for step in 1..=7 {
        events.push(event(BEGIN + step * 10_000, Event::Stepped(stepped(step, 1.0))));
    }
    let lines = lines_of(&job(), &events);
    let steps: Vec<&str> = lines.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(steps, ["training …", "step 1/100000", "step 4/100000", "step 7/100000"]);
}

#[test]
fn reason_of_a_state_is_told() {
    let interrupted =
        Event::State { state: State::Interrupted, reason: Some("the worker died of signal 9".to_owned()) };
    let lines = lines_of(&job(), &[event(BEGIN, interrupted)]);
    assert_eq!(
        lines,
        ["job-00938nkrng INTERRUPTED: the worker died of signal 9"
            .replace("job-00938nkrng", job().id.as_str())]
    );
}

#[test]
fn rewards_of_pairs_stand_behind_the_losses() {
    let rewards =
        Rewards { rewards_chosen: 0.5, rewards_rejected: -0.25, reward_margin: 0.75, reward_accuracy: 0.875 };
    let of_pairs = Stepped { rewards: Some(rewards), ..stepped(1, 0.5) };
    let lines = lines_of(
        &job(),
        &[event(BEGIN, Event::Stepped(of_pairs)), event(BEGIN, Event::Stepped(stepped(10, 0.5)))],
    );
    assert!(lines[0].contains("  reward margin 0.750, accuracy 87.5 %"), "{lines:?}");
    assert!(!lines[1].contains("reward"), "{lines:?}");
}
