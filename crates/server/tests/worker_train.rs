//! Trainings in worker processes: what they make, report and leave behind, however they end.

mod worker_support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ftl_core::job::Exit;
use ftl_core::{Event, JobSpec, ProblemKind, StopSignal};
use ftl_server::worker::journal::{log_path, read_journal};
use ftl_server::worker::lock::{Holder, LockError, take};
use ftl_server::worker::{Report, TrainTask, Training, Workers};
use ftl_trainer::train::{Begin, Outcome, train};
use tempfile::TempDir;
use worker_support::{adapter, events, is_there, reports, spec, task, until, workers};

/// The weights of the job when nothing disturbs it.
fn undisturbed(spec: &JobSpec, directory: &Path) -> Vec<u8> {
    let spec = spec.check().expect("a good spec");
    let outcome = train(&spec, (directory, Begin::New), &mut |_: &Event| {}, &StopSignal::new());
    assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
    adapter(directory)
}

/// Waits until a step of at least `step` is reported.
async fn reach(training: &mut Training, step: u64) {
    while let Some(report) = training.next().await {
        if let Report::Events(events) = report
            && events.iter().any(|record| matches!(&record.event, Event::Stepped(s) if s.step >= step))
        {
            return;
        }
    }
    panic!("the training ended before step {step}");
}

#[tokio::test]
async fn a_worker_trains_the_same_weights_as_this_process() {
    let dir = TempDir::new().expect("a directory");
    let (spec, other) = (spec(&[]), spec(&["train.seed=7"]));
    let job = dir.path().join("job");
    let mut training = workers(dir.path()).train(task(&spec, &job, 1)).await.expect("a worker");
    let reports = reports(&mut training).await;
    let ending = training.wait().await;
    assert_eq!((ending.exit, ending.finished), (Exit::Ok, true), "{ending:?}");
    assert_eq!((ending.problems.len(), ending.log_tail), (0, None));

    assert_eq!(adapter(&job), undisturbed(&spec, &dir.path().join("here")));
    assert_ne!(adapter(&job), undisturbed(&other, &dir.path().join("other")));

    assert_eq!(reports.first(), Some(&Report::Started));
    assert!(reports.iter().any(|report| matches!(report, Report::Heartbeat { .. })));
    let events = events(&reports);
    let numbers: Vec<u64> = events.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(!events.iter().any(|record| matches!(record.event, Event::State { .. })));
    let last = events.last().map(|record| &record.event);
    assert!(matches!(last, Some(Event::Exported { kind, .. }) if kind == "peft"), "{last:?}");
    let written = read_journal(&job, 1, 0).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    assert_eq!(written.expect("a journal"), events);
    // A first attempt is not told that there is nothing to resume.
    let notes = events.iter().filter_map(|record| match &record.event {
        Event::Note { message, .. } => Some(message.as_str()),
        _ => None,
    });
    assert!(!notes.into_iter().any(|note| note.contains("there is no checkpoint")));
}

#[tokio::test]
async fn a_stopped_training_goes_on_to_the_same_weights() {
    let dir = TempDir::new().expect("a directory");
    let spec = spec(&[]);
    let workers = workers(dir.path());
    for (name, stop) in [("by a frame", Training::stop as fn(&Training)), ("by SIGTERM", Training::terminate)]
    {
        let job = dir.path().join(name);
        let mut training = workers.train(task(&spec, &job, 1)).await.expect("a worker");
        reach(&mut training, 2).await;
        stop(&training);
        // Once more: a shutdown sends several.
        stop(&training);
        let stopped_after = events(&reports(&mut training).await);
        let ending = training.wait().await;
        assert_eq!((ending.exit, ending.finished), (Exit::Stopped, false), "{name}: {ending:?}");
        assert!(stopped_after.iter().any(|record| matches!(record.event, Event::Saved { .. })), "{name}");
        assert!(!job.join("final").exists(), "{name}");

        let mut training = workers.train(task(&spec, &job, 2)).await.expect("a worker");
        let events = events(&reports(&mut training).await);
        let ending = training.wait().await;
        assert_eq!(ending.exit, Exit::Ok, "{name}: {ending:?}");
        assert!(events.iter().any(|record| matches!(&record.event,
            Event::Note { message, .. } if message.starts_with("going on after step"))));
        assert_eq!(adapter(&job), undisturbed(&spec, &dir.path().join("whole").join(name)), "{name}");
    }
}

#[tokio::test]
async fn a_training_starts_from_another_jobs_checkpoint_in_whatever_attempt_begins_it() {
    let dir = TempDir::new().expect("a directory");
    let spec = spec(&[]);
    let workers = workers(dir.path());
    let other = dir.path().join("other");
    let whole = undisturbed(&spec, &other);
    let from = other.join("checkpoint-8");
    // The second is the first that gets so far as to write into the directory.
    for attempt in [1, 2] {
        let job = dir.path().join(format!("job-{attempt}"));
        let task = |attempt| TrainTask { from: Some(from.clone()), ..task(&spec, &job, attempt) };
        let mut training = workers.train(task(attempt)).await.expect("a worker");
        reach(&mut training, 9).await;
        training.stop();
        reports(&mut training).await;
        assert_eq!(training.wait().await.exit, Exit::Stopped);
        let mut training = workers.train(task(attempt + 1)).await.expect("a worker");
        let events = events(&reports(&mut training).await);
        assert_eq!(training.wait().await.exit, Exit::Ok);
        assert!(events.iter().any(|record| matches!(&record.event,
            Event::Note { message, .. } if message.starts_with("going on after step"))));
        assert_eq!(adapter(&job), whole, "begun by attempt {attempt}");
        let written = read_journal(&job, attempt, 0).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert!(written.expect("a journal").iter().all(|record| match &record.event {
            Event::Stepped(stepped) => stepped.step > 8,
            _ => true,
        }));
    }
}

#[tokio::test]
async fn a_killed_worker_leaves_its_checkpoints_and_every_event_it_wrote_down() {
    let dir = TempDir::new().expect("a directory");
    let spec = spec(&["train.max_steps=400"]);
    let job = dir.path().join("job");
    let workers = workers(dir.path());
    let mut training = workers.train(task(&spec, &job, 1)).await.expect("a worker");
    let pid = training.pid();
    let mut before = Vec::new();
    while !before.iter().any(|report| {
        matches!(report,
        Report::Events(events) if events.iter().any(|record| matches!(record.event, Event::Saved { .. })))
    }) {
        before.push(training.next().await.expect("it trains on"));
    }
    training.kill();
    let after = reports(&mut training).await;
    let ending = training.wait().await;
    assert_eq!(ending.exit, Exit::Crashed { signal: Some(9), code: None }, "{ending:?}");
    let [problem] = &ending.problems[..] else { panic!("{ending:?}") };
    assert_eq!(problem.kind, ProblemKind::Worker);
    assert_eq!(
        problem.to_string(),
        "the worker process was ended by signal 9 (SIGKILL); somebody killed it; resume the job"
    );
    assert!(!is_there(pid), "a zombie is left");

    let told = events(&[before, after].concat());
    let written = read_journal(&job, 1, 0).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    assert_eq!(told, written.expect("a journal"));

    let mut training = workers.train(task(&spec, &job, 2)).await.expect("a worker");
    reach(&mut training, 5).await;
    training.stop();
    assert_eq!(training.wait().await.exit, Exit::Stopped);
}

#[tokio::test]
async fn a_training_that_is_dropped_leaves_no_process() {
    let dir = TempDir::new().expect("a directory");
    let job = dir.path().join("job");
    let workers = workers(dir.path());
    let mut training =
        workers.train(task(&spec(&["train.max_steps=100000"]), &job, 1)).await.expect("a worker");
    reach(&mut training, 1).await;
    let pid = training.pid();
    assert!(!Workers::lock_is_free(&job).await.expect("a lock"));
    drop(training);
    until("the process is gone", || !is_there(pid));
    assert!(Workers::lock_is_free(&job).await.expect("a lock"));
}

#[tokio::test]
async fn a_server_that_takes_no_reports_does_not_hold_up_the_training() {
    let dir = TempDir::new().expect("a directory");
    let job = dir.path().join("job");
    // More events than the socket and the server's reader hold, at one frame for each.
    let changes = ["train.max_steps=1500", "train.save_steps=1500", "train.logging_steps=1"];
    let small = ["train.per_device_train_batch_size=1", "adapter.r=1", "adapter.lora_alpha=2"];
    let spec = spec(&[changes.as_slice(), &small].concat());
    let mut training = workers(dir.path()).train(task(&spec, &job, 1)).await.expect("a worker");
    until("the result is there", || job.join("final/MANIFEST.json").exists());
    let events = events(&reports(&mut training).await);
    let ending = training.wait().await;
    assert_eq!(ending.exit, Exit::Ok, "{ending:?}");
    let numbers: Vec<u64> = events.iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert!(numbers.len() > 1500, "{} events", numbers.len());
}

#[tokio::test]
async fn what_the_trainer_refuses_comes_back_whole() {
    let dir = TempDir::new().expect("a directory");
    let rows = dir.path().join("rows.jsonl");
    fs::write(&rows, "{\"messages\": 1}\nno JSON\n").expect("a file");
    let spec = spec(&[&format!("data.train=[\"{}\"]", rows.display())]);
    let mut training =
        workers(dir.path()).train(task(&spec, &dir.path().join("job"), 1)).await.expect("a worker");
    assert_eq!(reports(&mut training).await.first(), Some(&Report::Started));
    let ending = training.wait().await;
    assert_eq!((ending.exit, ending.log_tail), (Exit::Data, None));
    let messages: Vec<&str> = ending.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "row 1 of `rows.jsonl` has a number as `messages`; expected a list",
            "row 2 of `rows.jsonl` is not valid JSON: it begins with `no JSON`, as if it were the rest of the row before, at column 2",
        ]
    );
    assert_eq!(ending.problems[0].kind, ProblemKind::BadData);
}

#[tokio::test]
async fn a_diverging_training_says_so() {
    let dir = TempDir::new().expect("a directory");
    let spec = spec(&["train.learning_rate=1.0", "train.weight_decay=1e22"]);
    let mut training =
        workers(dir.path()).train(task(&spec, &dir.path().join("job"), 1)).await.expect("a worker");
    reports(&mut training).await;
    let ending = training.wait().await;
    assert_eq!(ending.exit, Exit::Nan, "{ending:?}");
    assert_eq!(ending.problems[0].kind, ProblemKind::Diverged);
}

#[tokio::test]
async fn a_spec_that_can_not_be_sent_is_refused_before_a_process_is_started() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let dir = TempDir::new().expect("a directory");
    let task = task(&spec(&[]), &PathBuf::from(OsStr::from_bytes(b"/\xff")), 1);
    let error = workers(dir.path()).train(task).await.expect_err("no frame holds this path");
    assert_eq!(
        error.to_string(),
        "the request can't be passed on: path contains invalid UTF-8 characters; use paths that are UTF-8"
    );
}

#[test]
fn the_lock_says_who_holds_it() {
    let dir = TempDir::new().expect("a directory");
    let take = |attempt, give_up: bool| {
        let holder = Holder { pid: 4000 + attempt, attempt };
        take(dir.path(), &holder, std::time::Duration::from_millis(300), &|| give_up)
    };
    let held = take(1, false).expect("a free lock");
    let refused = take(2, false).expect_err("a lock that is held");
    assert_eq!(refused.to_string(), "process 4001 still works on this job, as attempt 1");
    assert!(matches!(take(2, true), Err(LockError::GivenUp)));
    drop(held);
    drop(take(2, false).expect("a free lock"));
}

/// A server in a process of its own: starts a training, says which process that is, and waits to be killed.
#[tokio::test]
#[ignore = "another test starts it"]
async fn server_that_will_be_killed() {
    let directory = PathBuf::from(std::env::var_os("JOB").expect("a directory"));
    let workers = workers(&directory);
    let spec = spec(&["train.max_steps=1000000", "train.save_steps=1000000"]);
    let mut training = workers.train(task(&spec, &directory.join("job"), 1)).await.expect("a worker");
    reach(&mut training, 3).await;
    println!("\nworker {}", training.pid());
    while training.next().await.is_some() {}
}

#[test]
fn a_worker_saves_and_ends_when_its_server_dies() {
    let dir = TempDir::new().expect("a directory");
    let mut server = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "server_that_will_be_killed", "--ignored", "--nocapture"])
        .env("JOB", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program again");
    let lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("worker ")?.parse::<u32>().ok());
    let pid = pid.expect("it says which process trains");
    server.kill().expect("SIGKILL");
    server.wait().expect("it is dead");

    until("the worker has ended", || !is_running(pid));
    let job = dir.path().join("job");
    let names = fs::read_dir(&job).expect("a directory").flatten();
    let has_checkpoint =
        names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("checkpoint-"));
    let log = fs::read_to_string(log_path(&job, 1)).unwrap_or_default();
    assert!(has_checkpoint, "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// Whether a process is there and no zombie: an orphan is reaped by whoever adopts it, or not.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}
