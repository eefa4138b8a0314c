use ftl_core::event::NoteLevel;
use ftl_core::job::{Artifact, Attempt, Exit, Job, Phase, Progress, State};
use ftl_core::{Event, Problem, ProblemKind};

use super::fake::Fake;
use super::{BEGIN, Ran, evaluated, id, job, run, state, stepped};

/// A fake with a job that runs and one that is done.
fn two_jobs() -> Fake {
    let fake = Fake::start();
    let progress = |step| Progress {
        step,
        total_steps: Some(300),
        loss_nats: Some(1.25),
        eval_loss_before_nats: Some(3.0),
        eval_loss_nats: Some(1.5),
    };
    fake.world().add(Job {
        progress: progress(300),
        started_unix_ms: Some(BEGIN),
        ended_unix_ms: Some(BEGIN + 65_000),
        ..job(1, "first", State::Succeeded)
    });
    fake.world().add(Job {
        progress: progress(120),
        phase: Some(Phase::Training),
        started_unix_ms: Some(BEGIN),
        ..job(2, "second", State::Running)
    });
    fake
}

#[test]
fn list_is_a_table_of_the_newest_jobs() {
    let ran = run(&two_jobs(), &["jobs", "ls"]).ended(0);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "NAME", "STATE", "STEPS", "LOSS", "HELD-OUT", "CREATED"]);
    assert_eq!(lines[1][..6], [id(2).as_str(), "second", "RUNNING", "120/300", "1.2500", "1.5000"]);
    assert_eq!(lines[2][..4], [id(1).as_str(), "first", "SUCCEEDED", "300/300"]);
    assert!(ran.stdout.lines().nth(1).is_some_and(|line| line.ends_with(" d ago")), "{ran:?}");
}

#[test]
fn list_can_be_limited_to_states_and_a_number() {
    let fake = two_jobs();
    let ids = |ran: Ran| -> Vec<String> {
        let jobs = ran.json()["jobs"].as_array().expect("a list").clone();
        jobs.iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
    };
    let only = run(&fake, &["jobs", "ls", "--state", "SUCCEEDED", "--state", "failed", "--json"]).ended(0);
    assert_eq!(ids(only), [id(1).to_string()]);
    let ran = run(&fake, &["jobs", "ls", "--limit", "1"]).ended(0);
    assert_eq!(ran.stdout.lines().count(), 2);
    assert_eq!(ran.stderr, "there are older ones; see --limit\n");
    let ran = run(&fake, &["jobs", "ls", "--limit", "1", "--json"]).ended(0);
    assert_eq!(ran.json()["more"], true);
    let ran = run(&fake, &["jobs", "ls", "--state", "done"]).ended(2);
    assert!(ran.stderr.contains("invalid value 'done'") && ran.stderr.contains("succeeded"), "{ran:?}");
    let ran = run(&Fake::start(), &["jobs", "ls"]).ended(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "no jobs; `ftl train SPEC` makes one\n"));
}

#[test]
fn long_lists_are_asked_for_in_pages() {
    let fake = Fake::start();
    for n in 0..2_500 {
        fake.world().add(job(n, "x", State::Succeeded));
    }
    let ran = run(&fake, &["jobs", "ls", "--limit", "2400", "--json"]).ended(0);
    assert_eq!(ran.json()["jobs"].as_array().expect("a list").len(), 2_400);
    assert_eq!(fake.world().n_further_pages, 2);
}

#[test]
fn job_is_found_by_id_beginning_name_or_last() {
    let fake = Fake::start();
    fake.world().add(job(1 << 45, "old", State::Succeeded));
    fake.world().add(job((1 << 45) + 1, "twin", State::Succeeded));
    fake.world().add(job(1 << 49, "twin", State::Succeeded));
    let (old, newest) = (id(1 << 45), id(1 << 49));
    let digits = newest.as_str().strip_prefix("job-").expect("an id");
    for text in [newest.as_str(), &newest.as_str()[..6], &digits[..1], digits, "last"] {
        let ran = run(&fake, &["jobs", "show", text, "--json"]).ended(0);
        assert_eq!(ran.json()["job"]["id"], newest.as_str(), "{text}");
    }
    assert_eq!(run(&fake, &["jobs", "show", "old", "--json"]).ended(0).json()["job"]["id"], old.as_str());
}

#[test]
fn text_that_means_no_job_or_several_is_refused() {
    let fake = Fake::start();
    let ran = run(&fake, &["jobs", "show", "last"]).ended(2);
    assert_eq!(ran.stderr, "error: there is no job yet; make one with `ftl train SPEC`\n");
    for n in 0..7 {
        fake.world().add(job(n, "twin", State::Succeeded));
    }
    let ran = run(&fake, &["jobs", "show", "twin"]).ended(2);
    assert!(ran.stderr.starts_with("error: `twin` stands for 7 jobs: "), "{ran:?}");
    assert!(ran.stderr.ends_with(", …; give the id, or more of its beginning\n"), "{ran:?}");
    let ran = run(&fake, &["jobs", "show", "zebra"]).ended(2);
    let expected =
        "error: there is no job whose id begins with `zebra` or whose name it is; see `ftl jobs ls`\n";
    assert_eq!(ran.stderr, expected);
    let missing = id(99);
    let ran = run(&fake, &["jobs", "show", missing.as_str(), "--json"]).ended(2);
    assert_eq!(ran.json()["problem"]["kind"], "not_found");
    assert_eq!(ran.json()["problem"]["message"], format!("there is no job `{missing}`"));
    run(&fake, &["jobs", "show", ""]).ended(2);
}

#[test]
fn show_tells_everything_of_a_job() {
    let fake = two_jobs();
    fake.append(&id(2), (1..=5).map(|step| stepped(step, 2.0)));
    fake.world().artifacts.push(Artifact {
        kind: "peft".to_owned(),
        path: "/data/final".into(),
        bytes: 1,
        created_unix_ms: BEGIN,
    });
    let ran = run(&fake, &["jobs", "show", "second"]).ended(0);
    let field = |name: &str| {
        let line = ran
            .stdout
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {ran:?}"));
        line[name.len()..].trim().to_owned()
    };
    assert_eq!(field("id"), id(2).as_str());
    assert_eq!(field("state"), "RUNNING");
    assert_eq!(field("phase"), "training");
    assert_eq!(field("steps"), "120/300");
    assert_eq!(field("ETA"), "0.0 s (from 5 steps measured)");
    assert_eq!(field("held-out loss"), "3.0000 → 1.5000");
    assert_eq!(field("result"), "/data/final (peft)");
    assert_eq!(field("directory"), format!("/data/jobs/{}", id(2)));
    let document = run(&fake, &["jobs", "show", "second", "--json"]).ended(0).json();
    assert_eq!(document["job"]["phase"], "TRAINING");
    assert_eq!((&document["job"]["step"], &document["job"]["total_steps"]), (&120.into(), &300.into()));
}

#[test]
fn show_tells_why_a_job_failed() {
    let fake = Fake::start();
    let problem =
        Problem::new(ProblemKind::OutOfMemory, "out of \x1b[2Jmemory").at("device.kind").hint("use less");
    fake.world().add(Job { problems: vec![problem], ..job(1, "x", State::Failed) });
    let ran = run(&fake, &["jobs", "show", "x"]).ended(0);
    assert!(ran.stdout.contains("device.kind: out of \u{fffd}[2Jmemory; use less\n"), "{ran:?}");
}

#[test]
fn stop_resume_and_cancel_change_states() {
    let fake = two_jobs();
    let ran = run(&fake, &["jobs", "stop", "second"]).ended(0);
    assert_eq!(ran.stdout, format!("{} STOPPING\n", id(2)));
    fake.world().jobs[0].state = State::Stopped;
    let ran = run(&fake, &["jobs", "resume", "second", "--json"]).ended(0);
    assert_eq!(ran.json()["job"]["state"], "QUEUED");
    let ran = run(&fake, &["jobs", "cancel", "second", "--json"]).ended(0);
    assert_eq!(ran.json()["jobs"][0]["state"], "CANCELLED");
}

#[test]
fn what_a_state_does_not_allow_fails_and_the_rest_is_done() {
    let fake = two_jobs();
    let ran = run(&fake, &["jobs", "cancel", "first", "second", "second"]).ended(1);
    assert_eq!(ran.stdout, format!("{} CANCELLED\n", id(2)), "each once");
    let expected = format!("error: {}: a job that is SUCCEEDED can't become CANCELLED\n", id(1));
    assert_eq!(ran.stderr, expected);
    let ran = run(&fake, &["jobs", "stop", "first", "--json"]).ended(1);
    let document = ran.json();
    assert_eq!(document["jobs"], serde_json::json!([]));
    assert_eq!(document["problem"]["message"], "a job that is SUCCEEDED can't become STOPPING");
}

#[test]
fn nothing_is_done_where_one_of_several_means_nothing() {
    let fake = two_jobs();
    run(&fake, &["jobs", "rm", "first", "zebra"]).ended(2);
    assert_eq!(fake.world().jobs.len(), 2);
}

#[test]
fn jobs_at_rest_are_removed() {
    let fake = two_jobs();
    let ran = run(&fake, &["jobs", "rm", "first", "second", "--yes", "--json"]).ended(1);
    let document = ran.json();
    assert_eq!(document["removed"], serde_json::json!([id(1)]));
    assert_eq!(document["problems"][0]["message"], "the job is RUNNING; stop or cancel it first");
    assert_eq!(fake.world().jobs.len(), 1);
    fake.world().jobs[0].state = State::Stopped;
    let ran = run(&fake, &["jobs", "rm", "last"]).ended(0);
    assert_eq!(ran.stdout, format!("{} removed\n", id(2)));
    assert!(fake.world().jobs.is_empty());
}

#[test]
fn logs_are_printed_as_they_are_in_a_pipe() {
    let fake = two_jobs();
    fake.world().log = "loading\r\x1b[1mloaded\x1b[0m\nno end of line".to_owned();
    let ran = run(&fake, &["jobs", "logs", "last"]).ended(0);
    assert_eq!(ran.stdout, fake.world().log);
    let document = run(&fake, &["jobs", "logs", "last", "--attempt", "1", "--json"]).ended(0).json();
    assert_eq!(document["attempt"], 1);
    assert_eq!(document["text"], fake.world().log.as_str());
    let ran = run(&fake, &["jobs", "logs", "last", "--attempt", "7"]).ended(2);
    assert_eq!(ran.stderr, "error: there is no attempt `7`\n");
    fake.world().log.clear();
    assert_eq!(
        run(&fake, &["jobs", "logs", "last"]).ended(0).stderr,
        format!("attempt 1 of {} wrote nothing\n", id(2))
    );
}

#[test]
fn metrics_come_as_table_csv_json_lines_or_one_document() {
    let fake = two_jobs();
    fake.append(
        &id(2),
        [
            state(State::Running),
            evaluated(0, 3.5),
            stepped(1, 2.5),
            Event::Note { level: NoteLevel::Info, message: "no number".to_owned() },
            stepped(1_000, f64::NAN),
        ],
    );
    let table = run(&fake, &["jobs", "metrics", "last"]).ended(0).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["0", "3.5000"]);
    assert_eq!(lines[2], ["1", "0.50", "2.5000", "0.250", "2.00e-4", "100"]);
    assert_eq!(lines[3][..3], ["1,000", "0.50", "NaN"]);

    let csv = run(&fake, &["jobs", "metrics", "last", "--format", "csv"]).ended(0).stdout;
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{csv}");
    let cell = |row: usize, name: &str| {
        rows[row][rows[0].iter().position(|column| *column == name).expect("the column")]
    };
    assert_eq!((cell(1, "type"), cell(1, "loss_nats"), cell(1, "grad_norm")), ("evaluated", "3.5", ""));
    assert_eq!((cell(1, "perplexity"), cell(1, "tokens")), ("2.5", "64"));
    assert_eq!((cell(2, "type"), cell(2, "seq"), cell(2, "step")), ("stepped", "3", "1"));
    assert_eq!((cell(2, "learning_rate"), cell(2, "step_millis")), ("0.0002", "1000"));
    assert_eq!(cell(3, "loss_nats"), "NaN");

    let jsonl = run(&fake, &["jobs", "metrics", "last", "--format", "jsonl"]).ended(0).stdout;
    let lines: Vec<serde_json::Value> =
        jsonl.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[1]["type"], &lines[1]["attempt"]), (&"stepped".into(), &1.into()));
    assert_eq!(lines[2]["loss_nats"], serde_json::Value::Null, "JSON has no NaN");

    let document = run(&fake, &["jobs", "metrics", "last", "--json"]).ended(0).json();
    assert_eq!(document["metrics"], serde_json::Value::Array(lines));
    let ran = run(&fake, &["jobs", "metrics", "last", "--json", "--format", "csv"]).ended(2);
    assert_eq!(ran.json()["problem"]["field"], "--format");
}

#[test]
fn attempts_are_listed() {
    let fake = two_jobs();
    assert!(run(&fake, &["jobs", "attempts", "last"]).ended(0).stderr.contains("no worker has begun"));
    let attempt = |number, exit: Option<Exit>, log_tail: Option<&str>| Attempt {
        number,
        started_unix_ms: BEGIN,
        ended_unix_ms: exit.map(|_| BEGIN + 5_000),
        exit,
        log_tail: log_tail.map(str::to_owned),
    };
    fake.world().attempts = vec![
        attempt(1, Some(Exit::Crashed { signal: Some(9), code: None }), Some("one\nkilled\n")),
        attempt(2, None, None),
    ];
    let ran = run(&fake, &["jobs", "attempts", "last"]).ended(0);
    assert!(ran.stdout.contains("5 s  crashed, signal 9  killed\n"), "{ran:?}");
    assert!(ran.stdout.trim_end().ends_with("works"), "{ran:?}");
    let document = run(&fake, &["jobs", "attempts", "last", "--json"]).ended(0).json();
    assert_eq!(document["attempts"][0]["exit"]["class"], "CRASHED");
}
