//! The program under signals, and what it prints.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ftl_trainer::checkpoint::{newest_valid, verify};
use ftl_trainer::train::Begin;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::json;

use crate::digests::digests;
use crate::job::{Job, Ran};

const N_KILLS: usize = 20;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn killed_and_resumed_run_equals_a_run_left_alone() {
    let plain = Job::small(40)
        .set("adapter.lora_dropout", 0.1)
        .set("data.eval", json!({"fraction": 0.1}))
        .set("train.max_steps", 1500)
        .set("train.save_steps", 7)
        .set("train.eval_steps", 50);
    kill_and_resume(&plain);
}

#[test]
fn killed_run_with_packed_rows_noise_answers_and_a_best_goes_on_the_same() {
    let job = Job::small(40)
        .set("data.packing", true)
        .set("data.max_length", 24)
        .set("data.eval", json!({"fraction": 0.1}))
        .set("train.neftune_noise_alpha", 5)
        .set("train.max_steps", 1000)
        .set("train.save_steps", 7)
        .set("train.eval_steps", 40)
        .set("train.load_best_model_at_end", true)
        .set("train.early_stopping_patience", 100)
        .set("predictions", json!({"count": 1, "max_new_tokens": 3, "every_steps": 90}));
    kill_and_resume(&job);
}

fn kill_and_resume(job: &Job) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    job.finish("whole", Begin::New);
    let mut n_kills = 0;
    loop {
        let mut child = start(job, "killed", if n_kills == 0 { &[] } else { &["--resume"] });
        if n_kills < N_KILLS {
            // The first steps are taken some 30 ms after the start.
            thread::sleep(Duration::from_micros(10_000 + random.next_u64() % 100_000));
            child.kill().expect("a process of ours");
        }
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        match ran.code {
            None => n_kills += 1,
            Some(0) => break,
            Some(_) => panic!("seed {seed}, after {n_kills} kills: {ran:?}"),
        }
        // Before the first events there is no directory.
        if let Ok(found) = newest_valid(&job.path("killed")) {
            assert_eq!(found.damaged, [], "seed {seed}, after {n_kills} kills");
        }
    }
    println!("killed {n_kills} times");
    assert!(n_kills >= N_KILLS / 2, "the run finished too early to be killed as often");
    assert_eq!(job.result("killed"), job.result("whole"), "seed {seed}");
    assert_eq!(digests(job, "killed"), digests(job, "whole"), "seed {seed}");
    assert!(!job.names("killed").iter().any(|name| name.starts_with(".tmp-")), "{:?}", job.names("killed"));
    let numbers: Vec<u64> = job.events("killed").iter().map(|record| record.seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "seed {seed}");
}

#[test]
fn signalled_run_saves_exits_with_3_and_goes_on() {
    for signal in ["-INT", "-TERM"] {
        let job = Job::small(40).set("train.max_steps", 600).set("train.save_steps", 0);
        job.finish("whole", Begin::New);
        let child = start(&job, "stopped", &["--json"]);
        wait_for_steps(&job, "stopped");
        send(&child, signal);
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        assert_eq!(ran.code, Some(3), "{ran:?}");
        let document = ran.json();
        assert_eq!(document["state"], "STOPPED", "{document}");
        let step = document["step"].as_u64().expect("a step");
        assert!(step > 0 && step < 600, "{step}");
        let checkpoint = job.path("stopped").join(format!("checkpoint-{step}"));
        assert_eq!(document["checkpoint"].as_str(), checkpoint.to_str());
        verify(&checkpoint).expect("a whole checkpoint");
        assert!(ran.stderr.contains(&format!("stopped after step {step}, saved in ")), "{}", ran.stderr);
        assert!(ran.stderr.contains("go on with --resume"), "{}", ran.stderr);
        let last = job.events("stopped").pop().expect("events");
        assert_eq!(serde_json::to_value(last).expect("plain data")["state"], "STOPPED");

        let ran = job.program("stopped", &["--json", "--resume"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let document = ran.json();
        assert_eq!(document["state"], "SUCCEEDED", "{document}");
        assert_eq!(document["summary"]["steps"], 600, "{document}");
        assert_eq!(job.result("stopped"), job.result("whole"), "{signal}");
    }
}

#[test]
fn second_signal_ends_the_program_at_once() {
    // One microbatch takes long enough for two signals to come within it.
    let ids: Vec<u64> = (0..120).map(|i| 4 + i * 7 % 100).collect();
    let rows = format!("{}\n", json!({"input_ids": ids})).repeat(512);
    let job = Job::small(1)
        .set("train.per_device_train_batch_size", 512)
        .set("train.max_steps", 1000)
        .set("train.save_steps", 0);
    job.write("train.jsonl", &rows);
    let child = start(&job, "out", &[]);
    wait_for_steps(&job, "out");
    thread::sleep(Duration::from_millis(50));
    send(&child, "-INT");
    thread::sleep(Duration::from_millis(20));
    send(&child, "-INT");
    let start = Instant::now();
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    println!("ended after {:?}", start.elapsed());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    let checkpoints = newest_valid(&job.path("out")).expect("a directory");
    assert_eq!((checkpoints.newest, checkpoints.damaged), (None, Vec::new()));
}

#[test]
fn program_and_library_give_the_same_files() {
    let job = Job::small(12);
    job.finish("library", Begin::New);
    let ran = job.program("program", &["--json", "--events", job.path("events").to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(job.result("program"), job.result("library"));
    let summary = &ran.json()["summary"];
    assert_eq!(summary["steps"], 18);
    assert_eq!(summary["path"].as_str(), job.path("program/final").to_str());
    let events = fs::read_to_string(job.path("events")).expect("events");
    assert!(events.lines().count() > 18, "{events}");
}

#[test]
fn what_is_set_on_the_command_line_beats_the_spec() {
    let job = Job::small(12);
    let ran = job.program("out", &["--set", "train.max_steps=2", "--device", "cpu"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(job.steps("out").len(), 2);
    let resolved = fs::read_to_string(job.path("out/spec.resolved.json")).expect("the resolved spec");
    let resolved: serde_json::Value = serde_json::from_str(&resolved).expect("JSON");
    assert_eq!((&resolved["train"]["max_steps"], &resolved["device"]["kind"]), (&json!(2), &json!("cpu")));
}

#[test]
fn events_are_not_written_over_a_file_of_something_else() {
    let job = Job::small(4);
    job.write("notes", "bread\nbutter\n");
    let notes = job.path("notes");
    let ran = job.program("out", &["--events", notes.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("it holds no events"), "{ran:?}");
    assert_eq!(fs::read_to_string(&notes).expect("a file"), "bread\nbutter\n");
    assert!(!job.path("out").exists());
}

#[test]
fn refused_run_leaves_no_file_of_events() {
    let job = Job::small(4).set("train.seed", -1);
    let events = job.path("events");
    let ran = job.program("out", &["--events", events.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(!events.exists());
}

#[test]
fn events_file_of_the_run_itself_is_refused() {
    let job = Job::small(4);
    fs::create_dir(job.path("out")).expect("a directory");
    let events = job.path("out/events.jsonl");
    let ran = job.program("out", &["--events", events.to_str().expect("UTF-8")]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("the run writes that file by itself"), "{ran:?}");
}

fn start(job: &Job, out: &str, arguments: &[&str]) -> Child {
    let mut command = job.command(out, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Waits until a run has taken some steps.
fn wait_for_steps(job: &Job, out: &str) {
    let start = Instant::now();
    let path = job.path(out).join("events.jsonl");
    while !fs::read_to_string(&path).is_ok_and(|text| text.contains("\"type\":\"stepped\"")) {
        assert!(start.elapsed() < PATIENCE, "no step was taken");
        thread::sleep(Duration::from_millis(1));
    }
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("`kill` is there").success());
}
