use ftl_client::terminal::{Run, Summary};
use ftl_core::job::{Artifact, Job, Progress, State};
use ftl_core::{Event, Problem, ProblemKind};

use super::{BEGIN, assert_golden, evaluated, event, job, stepped};

fn text(summary: &Summary) -> String {
    format!("{}\n{}\n", summary.text, summary.hints())
}

fn ended(state: State) -> Job {
    let progress = Progress {
        step: 300,
        total_steps: Some(300),
        loss_nats: Some(1.2),
        eval_loss_before_nats: Some(3.0),
        eval_loss_nats: Some(1.5),
    };
    Job { state, progress, started_unix_ms: Some(BEGIN), ended_unix_ms: Some(BEGIN + 725_000), ..job() }
}

#[test]
fn success_shows_both_losses_the_result_and_what_to_try() {
    let job = ended(State::Succeeded);
    let mut run = Run::new(&job);
    run.take(&event(BEGIN, evaluated(0, 3.0)));
    run.take(&event(BEGIN, Event::Stepped(stepped(1, 3.2))));
    run.take(&event(BEGIN, Event::Stepped(stepped(300, 1.2))));
    run.take(&event(BEGIN, evaluated(300, 1.5)));
    let artifact =
        Artifact { kind: "peft".to_owned(), path: "/data/final".into(), bytes: 9, created_unix_ms: BEGIN };
    assert_golden("succeeded.txt", &text(&Summary::new(&job, &[artifact], Some(&run))));
}

#[test]
fn failure_shows_its_problems() {
    let problem = Problem::new(ProblemKind::OutOfMemory, "the GPU has too little memory")
        .at("device.kind")
        .hint("halve `train.per_device_train_batch_size`");
    let job = Job { problems: vec![problem], ..ended(State::Failed) };
    assert_golden("failed.txt", &text(&Summary::new(&job, &[], None)));
}

#[test]
fn stopped_job_can_be_resumed() {
    let summary = Summary::new(&ended(State::Stopped), &[], None);
    let id = job().id;
    assert_eq!(summary.next[0].0, format!("ftl jobs resume {id} --follow"));
}

#[test]
fn job_without_numbers_has_a_summary_too() {
    let job = Job { state: State::Cancelled, ..job() };
    let summary = Summary::new(&job, &[], None);
    assert!(summary.text.starts_with(&format!("{} CANCELLED, created ", job.id)), "{}", summary.text);
    assert!(!summary.text.contains("loss"), "{}", summary.text);
}
