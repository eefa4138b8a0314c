//! Jobs that are followed without a terminal.

use std::process::{Child, Stdio};

use ftl_core::job::{Artifact, Job, Phase, Progress, State};
use ftl_core::{Event, Problem, ProblemKind};
use rustix::process::{Pid, Signal, kill_process};

use super::fake::Fake;
use super::{BEGIN, Ran, evaluated, ftl, id, job, run, spec_file, state, stepped, wait_until};

fn training(total: u64) -> Event {
    Event::Phase { phase: Phase::Training, done: Some(0), total: Some(total), unit: Some("steps".to_owned()) }
}

/// A job that took three steps and is done.
fn whole_run(fake: &Fake) {
    let progress = Progress { step: 3, total_steps: Some(3), loss_nats: Some(1.0), ..Progress::default() };
    fake.world().add(Job { progress, ..job(1, "whole", State::Queued) });
    let artifact =
        Artifact { kind: "peft".to_owned(), path: "/data/final".into(), bytes: 1, created_unix_ms: BEGIN };
    fake.world().artifacts.push(artifact);
    let steps = (1..=3).map(|step| stepped(step, 4.0 - step as f64));
    let begin =
        [state(State::Queued), state(State::Starting), state(State::Running), training(3), evaluated(0, 3.5)];
    fake.append(&id(1), begin.into_iter().chain(steps).chain([evaluated(3, 1.5), state(State::Succeeded)]));
}

/// Starts the program with its output in pipes.
fn started(fake: &Fake, args: &[&str]) -> Child {
    let mut command = ftl(fake, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

fn ended(child: Child) -> Ran {
    child.wait_with_output().expect("the program ends").into()
}

#[test]
fn watch_replays_a_job_and_sums_it_up() {
    let fake = Fake::start();
    whole_run(&fake);
    let ran = run(&fake, &["jobs", "watch", "whole"]).ended(0);
    let told = [
        "QUEUED\n",
        "RUNNING\n",
        "training …\n",
        "step 0: held-out loss 3.5000",
        "step 1/3: loss 3.0000",
        "step 3/3: loss 1.0000",
        "SUCCEEDED\n",
        "ftl chat job-",
    ];
    let mut rest = ran.stderr.as_str();
    for text in told {
        let at = rest.find(text).unwrap_or_else(|| panic!("no `{text}` in its place: {ran:?}"));
        rest = &rest[at + text.len()..];
    }
    assert!(ran.stdout.starts_with(&format!("{} SUCCEEDED, 3 of 3 steps", id(1))), "{ran:?}");
    assert!(ran.stdout.contains("training loss   3.0000 → 1.0000 (-66.7 %)\n"), "{ran:?}");
    assert!(ran.stdout.contains("result          /data/final (peft)\n"), "{ran:?}");
    assert!(!ran.stderr.contains('\x1b') && !ran.stdout.contains('\x1b'), "no terminal, no escapes");
}

#[test]
fn json_of_a_followed_job_is_one_document_at_its_end() {
    let fake = Fake::start();
    whole_run(&fake);
    let ran = run(&fake, &["jobs", "watch", "whole", "--json"]).ended(0);
    assert_eq!(ran.json()["job"]["state"], "SUCCEEDED");
    assert_eq!(ran.json()["job"]["step"], 3);
}

#[test]
fn exit_code_says_how_the_job_ended() {
    for (end, code) in [(State::Failed, 1), (State::Cancelled, 1), (State::Stopped, 3)] {
        let fake = Fake::start();
        let problem = Problem::new(ProblemKind::Diverged, "the loss is no number any more");
        let problems = if end == State::Failed { vec![problem] } else { Vec::new() };
        fake.world().add(Job { problems, ..job(1, "x", State::Queued) });
        fake.append(&id(1), [state(State::Running), state(end)]);
        let ran = run(&fake, &["jobs", "watch", "x"]).ended(code);
        assert_eq!(
            ran.stdout.contains("problem         the loss is no number any more"),
            code == 1 && end == State::Failed
        );
    }
}

#[test]
fn train_and_resume_can_stay_with_the_job() {
    let fake = Fake::start();
    let spec = spec_file(fake.dir.path());
    let child = started(&fake, &["train", spec.to_str().expect("UTF-8"), "--follow"]);
    wait_until("somebody watches", || fake.world().n_watches == 1);
    let new = fake.world().jobs[0].id.clone();
    fake.append(&new, [state(State::Running), stepped(1, 2.0), state(State::Stopped)]);
    let ran = ended(child).ended(3);
    assert!(ran.stderr.contains(&format!("{new} is queued\n")), "{ran:?}");
    let child = started(&fake, &["jobs", "resume", "last", "--follow"]);
    wait_until("somebody watches", || fake.world().n_watches == 2);
    fake.append(&new, [state(State::Running), state(State::Succeeded)]);
    ended(child).ended(0);
}

#[test]
fn stream_that_breaks_off_is_taken_up_where_it_was() {
    let fake = Fake::start();
    whole_run(&fake);
    fake.world().break_after = Some(5);
    let ran = run(&fake, &["jobs", "watch", "whole"]).ended(0);
    assert_eq!(fake.world().n_watches, 2);
    let steps: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains(": loss "))
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(steps, ["step 1/3", "step 2/3", "step 3/3"], "no event lost, none doubled");
}

#[test]
fn signals_leave_the_view_and_not_the_job() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let fake = Fake::start();
        fake.world().add(job(1, "long", State::Queued));
        fake.append(&id(1), [state(State::Running), training(100), stepped(1, 2.0)]);
        let child = started(&fake, &["jobs", "watch", "long", "--json"]);
        wait_until("somebody watches", || fake.world().n_watches == 1);
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it can be sent");
        let ran = ended(child).ended(code);
        let id = id(1);
        let goodbye =
            format!("{id} goes on; `ftl jobs watch {id}` comes back to it, `ftl jobs stop {id}` stops it\n");
        assert!(ran.stderr.ends_with(&goodbye), "{signal:?}: {ran:?}");
        assert_eq!(ran.json()["job"]["state"], "RUNNING");
        assert_eq!(fake.world().jobs[0].state, State::Running);
    }
}

#[test]
fn job_that_is_not_there_can_not_be_watched() {
    let fake = Fake::start();
    let ran = run(&fake, &["jobs", "watch", id(5).as_str()]).ended(2);
    assert_eq!(ran.stderr, format!("error: there is no job `{}`\n", id(5)));
}
