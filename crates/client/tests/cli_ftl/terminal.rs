//! What a person sees who sits at a terminal.

use ftl_core::Event;
use ftl_core::event::NoteLevel;
use ftl_core::job::{Job, Phase, Progress, State};
use rustix::process::{Pid, Signal, kill_process};

use super::fake::Fake;
use super::pty::Pty;
use super::{evaluated, ftl, id, job, state, stepped, wait_until};

/// A job after 40 of 100 steps.
fn running() -> Fake {
    let fake = Fake::start();
    let progress =
        Progress { step: 100, total_steps: Some(100), loss_nats: Some(1.0), ..Progress::default() };
    fake.world().add(Job { progress, ..job(1, "tiny-run", State::Queued) });
    let training = Event::Phase { phase: Phase::Training, done: Some(0), total: Some(100), unit: None };
    let steps = (1..=40).map(|step| stepped(step, 4.0 - step as f64 / 50.0));
    fake.append(&id(1), [state(State::Running), training, evaluated(0, 4.2)].into_iter().chain(steps));
    fake
}

#[test]
fn view_shows_the_run_and_stays_above_the_summary() {
    let fake = running();
    let mut pty = Pty::start_in(ftl(&fake, &["jobs", "watch", "tiny-run"]), (40, 80));
    for text in [
        "tiny-run  job-",
        "RUNNING · training",
        "40/100 steps  40 %",
        "• held-out 4.2000",
        "100 tokens/s",
        "ETA ",
        "(from 40 steps measured)",
    ] {
        pty.wait_for(text);
    }
    assert!(!pty.is_as_it_was(), "what is typed is hidden while the view is there");
    let warning = Event::Note { level: NoteLevel::Warning, message: "the disk is slow".to_owned() };
    fake.append(&id(1), [warning, stepped(41, 3.0)]);
    pty.wait_for("41/100 steps  41 %");
    fake.append(&id(1), [stepped(100, 1.0), state(State::Succeeded)]);
    assert_eq!(pty.end(), Some(0));
    pty.wait_for("its numbers");
    let screen = pty.screen();
    assert!(screen.contains("100/100 steps  100 %"), "{screen}");
    assert!(screen.contains("training loss   3.9800 → 1.0000"), "{screen}");
    assert!(screen.starts_with("warning: the disk is slow\ntiny-run "), "the warning stays above: {screen}");
    assert!(pty.is_as_it_was());
}

#[test]
fn ctrl_c_leaves_the_view_and_not_the_job() {
    let fake = running();
    let mut pty = Pty::start(ftl(&fake, &["jobs", "watch", "tiny-run"]));
    pty.wait_for("40/100 steps");
    pty.type_in("\x03");
    assert_eq!(pty.end(), Some(130));
    pty.wait_for("goes on; `ftl jobs watch");
    assert!(pty.is_as_it_was());
    assert_eq!(fake.world().jobs[0].state, State::Running);
}

#[test]
fn terminal_is_restored_after_sigterm() {
    let fake = running();
    let mut pty = Pty::start(ftl(&fake, &["jobs", "watch", "tiny-run"]));
    pty.wait_for("40/100 steps");
    let pid = Pid::from_raw(pty.id().cast_signed()).expect("a process");
    kill_process(pid, Signal::TERM).expect("it can be sent");
    assert_eq!(pty.end(), Some(143));
    pty.wait_for("goes on;");
    assert!(pty.is_as_it_was());
}

#[test]
fn view_follows_the_size_of_the_terminal() {
    let fake = running();
    let mut pty = Pty::start(ftl(&fake, &["jobs", "watch", "tiny-run"]));
    pty.wait_for("(from 40 steps measured)");
    pty.resize(24, 40);
    fake.append(&id(1), [stepped(50, 2.0)]);
    pty.wait_for("50/100 steps");
    pty.wait_for("\n     0 ");
    let widest = pty.screen().lines().map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|columns| columns <= 40), "{}", pty.screen());
    pty.resize(30, 120);
    fake.append(&id(1), [stepped(60, 2.0)]);
    pty.wait_for("60/100 steps");
    fake.append(&id(1), [state(State::Succeeded)]);
    assert_eq!(pty.end(), Some(0));
    pty.wait_for("its numbers");
    assert!(pty.is_as_it_was());
}

#[test]
fn low_terminal_gets_plain_lines() {
    let fake = running();
    let mut pty = Pty::start_in(ftl(&fake, &["jobs", "watch", "tiny-run"]), (6, 80));
    pty.wait_for("step 40/100: loss");
    fake.append(&id(1), [state(State::Succeeded)]);
    assert_eq!(pty.end(), Some(0));
}

#[test]
fn loss_is_asked_about_on_a_terminal() {
    let fake = Fake::start();
    fake.world().add(job(1, "x", State::Succeeded));
    let mut pty = Pty::start(ftl(&fake, &["jobs", "rm", "x"]));
    pty.wait_for(&format!("remove {} with all files? [y/N]", id(1)));
    pty.type_in("n\n");
    assert_eq!(pty.end(), Some(1));
    pty.wait_for("nothing was removed");
    assert_eq!(fake.world().jobs.len(), 1);
    let mut pty = Pty::start(ftl(&fake, &["jobs", "rm", "x"]));
    pty.wait_for("[y/N]");
    pty.type_in("y\n");
    assert_eq!(pty.end(), Some(0));
    assert!(fake.world().jobs.is_empty());
}

#[test]
fn yes_asks_nothing() {
    let fake = Fake::start();
    fake.world().add(job(1, "x", State::Running));
    let mut pty = Pty::start(ftl(&fake, &["jobs", "cancel", "x", "--yes"]));
    assert_eq!(pty.end(), Some(0));
    assert_eq!(fake.world().jobs[0].state, State::Cancelled);
}

#[test]
fn logs_can_not_steer_the_terminal() {
    let fake = Fake::start();
    fake.world().add(job(1, "x", State::Running));
    fake.world().log = "10 %\r100 %\n\x1b[2Jcleared?\n".to_owned();
    let mut pty = Pty::start(ftl(&fake, &["jobs", "logs", "x"]));
    assert_eq!(pty.end(), Some(0));
    pty.wait_for("[2Jcleared?");
    assert!(pty.screen().starts_with("100 %\n"), "{}", pty.screen());
}

#[test]
fn conversation_goes_on_after_a_stopped_answer() {
    let fake = Fake::start();
    fake.world().add(job(1, "x", State::Succeeded));
    let mut pty = Pty::start(ftl(&fake, &["chat", "x"]));
    pty.wait_for("Ctrl-D leaves");
    pty.type_in("endless\n");
    pty.wait_for("you said");
    pty.type_in("\x03");
    pty.wait_for("[stopped]");
    wait_until("the service knows", || fake.n_dropped_answers() == 1);
    pty.type_in("again\n");
    pty.wait_for("you said again");
    pty.type_in("impossible\n");
    pty.wait_for("error: messages: it is too long");
    pty.type_in("/reset\n");
    pty.wait_for("the conversation is forgotten");
    pty.type_in("anew\n");
    pty.wait_for("you said anew");
    pty.type_in("\x04");
    assert_eq!(pty.end(), Some(0));
    let lengths: Vec<usize> =
        fake.world().inferences.iter().map(|request| super::chat::said(request).len()).collect();
    assert_eq!(lengths, [1, 3, 5, 1], "what was refused was not said, and a reset forgets");
}

#[test]
fn ctrl_c_at_the_prompt_does_not_leave() {
    let fake = Fake::start();
    fake.world().add(job(1, "x", State::Succeeded));
    let mut pty = Pty::start(ftl(&fake, &["chat", "x"]));
    pty.wait_for("\n>");
    pty.type_in("\x03");
    pty.wait_for("/exit or Ctrl-D leaves");
    pty.type_in("/exit\n");
    assert_eq!(pty.end(), Some(0));
}
