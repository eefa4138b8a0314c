//! Checkpoints of runs: asked for by a person, pinned, and damaged in every way.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use ftl_core::{Event, ProblemKind, Signals, StopSignal};
use ftl_trainer::checkpoint::layout::{MANIFEST_JSON, pin_name};
use ftl_trainer::checkpoint::{Pinning, newest_valid, pin, verify};
use ftl_trainer::error::TrainError;
use ftl_trainer::train::{Begin, Outcome, train};
use serde_json::json;

use crate::job::{Job, Ran, files};
use crate::resume::differing;

fn lora() -> Job {
    Job::small(16).set("adapter.lora_dropout", 0.1).set("train.save_steps", 4).set("train.max_steps", 12)
}

fn full() -> Job {
    lora().set("adapter", json!({"kind": "none"}))
}

fn eight_bit() -> Job {
    full().set("train.optim", "adamw_8bit")
}

fn stopped(job: &Job, out: &str, step: u64) {
    let outcome =
        job.stop_at((out, Begin::New), |event| matches!(event, Event::Stepped(s) if s.step == step));
    assert!(matches!(outcome, Outcome::Stopped { .. }), "{outcome:?}");
}

/// Runs it to the end and gives back what was told of checkpoints.
fn resumed(job: &Job, out: &str) -> Vec<Event> {
    let mut told = Vec::new();
    let mut observer = |event: &Event| {
        if matches!(event, Event::Saved { .. } | Event::Removed { .. } | Event::Damaged { .. }) {
            told.push(event.clone());
        }
    };
    let outcome = job.train((out, Begin::Resume), &mut observer, &StopSignal::new());
    assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
    told
}

#[test]
fn damage_anywhere_in_any_file_is_noticed_and_the_previous_checkpoint_used() {
    for (kind, job) in [("lora", lora()), ("full", full()), ("8-bit", eight_bit())] {
        stopped(&job, "out", 6);
        let (out, newest) = (job.path("out"), job.path("out/checkpoint-6"));
        let previous = |what: &str| {
            let found = newest_valid(&out).expect("a list");
            assert_eq!(found.newest.map(|newest| newest.step), Some(4), "{kind}: {what}");
            assert_eq!(found.damaged.len(), 1, "{kind}: {what}");
        };
        let intact = files(&newest);
        assert!(intact.len() >= 6, "{kind}: {:?}", intact.keys());
        let mut n_cases = 0;
        for (name, bytes) in &intact {
            let path = newest.join(name);
            let last = bytes.len() - 1;
            // The header of a tensor file, its numbers, and the ends of all.
            for position in [0, 1, 8, 9, last / 4, last / 2, last * 3 / 4, last] {
                let mut flipped = bytes.clone();
                flipped[position.min(last)] ^= 1 << (position % 8);
                fs::write(&path, flipped).expect("damaged");
                previous(&format!("a bit of byte {position} of {name}"));
                n_cases += 1;
            }
            for length in [0, 1, last / 2, last] {
                fs::write(&path, &bytes[..length]).expect("damaged");
                previous(&format!("{name} cut to {length} bytes"));
            }
            fs::write(&path, [bytes, &b"\n"[..]].concat()).expect("damaged");
            previous(&format!("{name} with a byte more"));
            fs::remove_file(&path).expect("damaged");
            previous(&format!("{name} gone"));
            fs::create_dir(&path).expect("damaged");
            previous(&format!("{name} as a directory"));
            fs::remove_dir(&path).expect("mended");
            #[cfg(unix)]
            {
                let elsewhere = job.path("elsewhere");
                fs::write(&elsewhere, bytes).expect("a copy");
                std::os::unix::fs::symlink(&elsewhere, &path).expect("damaged");
                previous(&format!("{name} as a link to the same bytes"));
                fs::remove_file(&path).expect("mended");
            }
            fs::write(&path, bytes).expect("mended");
            n_cases += 8;
        }
        fs::write(newest.join("more.bin"), "x").expect("damaged");
        previous("a file more");
        fs::remove_file(newest.join("more.bin")).expect("mended");
        assert_eq!(newest_valid(&out).expect("a list").newest.map(|newest| newest.step), Some(6), "{kind}");
        println!("{kind}: {n_cases} cases in {} files", intact.len());
    }
}

#[test]
fn damaged_checkpoint_is_kept_aside_and_the_run_is_the_same() {
    for job in [lora(), full(), eight_bit()] {
        job.finish("whole", Begin::New);
        stopped(&job, "out", 6);
        let file = job.path("out/checkpoint-6/optimizer.safetensors");
        let mut bytes = fs::read(&file).expect("a file of the checkpoint");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs::write(&file, &bytes).expect("damaged");
        let told = resumed(&job, "out");
        let (path, kept_at) = (job.path("out/checkpoint-6"), job.path("out/damaged-checkpoint-6"));
        let damaged = Event::Damaged {
            step: 6,
            path: path.display().to_string(),
            kept_at: kept_at.display().to_string(),
            message: "`optimizer.safetensors` was changed after it was written (SHA-256 differs)".to_owned(),
        };
        assert_eq!(told[0], damaged);
        assert_eq!(fs::read(kept_at.join("optimizer.safetensors")).expect("nothing is lost"), bytes);
        assert_eq!(differing(&job, "out", &job.result("whole")), [""; 0]);
    }
}

#[test]
fn run_whose_checkpoints_are_all_damaged_does_not_begin_anew_by_itself() {
    let job = lora();
    job.finish("whole", Begin::New);
    stopped(&job, "out", 6);
    for (step, file) in [(4, "adapter_model.safetensors"), (6, MANIFEST_JSON)] {
        fs::write(job.path(&format!("out/checkpoint-{step}/{file}")), "x").expect("damaged");
    }
    let before = job.names("out");
    for _ in 0..2 {
        let mut told = Vec::new();
        let mut observer = |event: &Event| {
            if let Event::Damaged { step, path, kept_at, .. } = event {
                assert_eq!(path, kept_at);
                told.push(*step);
            }
        };
        let outcome = job.train(("out", Begin::Resume), &mut observer, &StopSignal::new());
        let Err(TrainError::Refused(problems)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((problems.len(), problems[0].kind), (1, ProblemKind::BrokenCheckpoint));
        let text = problems[0].to_string();
        for part in
            ["all 2 checkpoints", "checkpoint-6 its `MANIFEST.json`", "checkpoint-4 `adapter_model", "delete"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert_eq!(told, [6, 4]);
        assert_eq!(job.names("out"), before, "nothing is moved, so that the next attempt says the same");
    }
    for step in [4, 6] {
        fs::remove_dir_all(job.path(&format!("out/checkpoint-{step}"))).expect("as the hint says");
    }
    job.finish("out", Begin::Resume);
    assert_eq!(differing(&job, "out", &job.result("whole")), [""; 0]);
}

#[test]
fn checkpoint_that_is_asked_for_is_of_the_step_under_way_and_changes_nothing_else() {
    for job in [lora(), full(), eight_bit()] {
        job.finish("whole", Begin::New);
        let signals = Signals::default();
        let save = signals.save.clone();
        let mut saved = Vec::new();
        let mut observer = |event: &Event| match event {
            // Twice within a step, and once where the spec saves anyway.
            Event::Stepped(stepped) if stepped.step == 5 || stepped.step == 8 => {
                save.raise();
                save.raise();
            }
            Event::Saved { step, .. } => saved.push(*step),
            _ => {}
        };
        let spec = job.checked().expect("a spec");
        let outcome = train(&spec, (&job.path("asked"), Begin::New), &mut observer, &signals);
        assert!(matches!(outcome, Ok(Outcome::Finished(_))), "{outcome:?}");
        assert_eq!(saved, [4, 5, 8, 12]);
        assert!(!signals.save.take());
        verify(&job.path("asked/checkpoint-5")).expect("a whole checkpoint");
        assert_eq!(differing(&job, "asked", &job.result("whole")), [""; 0]);
        // And a run that goes on from it is the same run.
        for name in ["final", "checkpoint-8", "checkpoint-12"] {
            fs::remove_dir_all(job.path("asked").join(name)).expect("removed");
        }
        job.finish("asked", Begin::Resume);
        assert_eq!(differing(&job, "asked", &job.result("whole")), [""; 0]);
    }
}

#[test]
fn running_job_respects_a_pin_that_is_set_meanwhile() {
    let job = lora().set("train.save_steps", 1).set("train.save_total_limit", 2);
    job.finish("whole", Begin::New);
    let out = job.path("out");
    let mut told = Vec::new();
    let mut observer = |event: &Event| match event {
        Event::Saved { step: 3, .. } => {
            assert_eq!(pin(&out, 3).expect("a pin"), Pinning::Pinned);
        }
        Event::Removed { step, path } => {
            assert!(!Path::new(path).exists());
            told.push(*step);
        }
        _ => {}
    };
    job.train(("out", Begin::New), &mut observer, &StopSignal::new()).expect("a run");
    assert_eq!(told, [1, 2, 4, 5, 6, 7, 8, 9, 10]);
    let mut names = job.names("out");
    names.retain(|name| name.starts_with("checkpoint-"));
    assert_eq!(names, ["checkpoint-11", "checkpoint-12", "checkpoint-3", &pin_name(3)]);
    verify(&job.path("out/checkpoint-3")).expect("as it was written");
    assert_eq!(differing(&job, "out", &job.result("whole")), [""; 0]);
}

#[cfg(unix)]
#[test]
fn program_saves_and_goes_on_when_it_gets_sigusr1() {
    let job = lora().set("train.save_steps", 0).set("train.max_steps", 1_000_000);
    let child = job.command("out", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the program starts");
    let wait_for = |what: &dyn Fn() -> bool| {
        for _ in 0..600 {
            if what() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("nothing in a minute");
    };
    let n_saved = || {
        let text = fs::read_to_string(job.path("out/events.jsonl")).unwrap_or_default();
        text.matches("\"type\":\"saved\"").count()
    };
    let has_begun = || {
        let text = fs::read_to_string(job.path("out/events.jsonl")).unwrap_or_default();
        text.contains("\"type\":\"stepped\"")
    };
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    };
    wait_for(&has_begun);
    for n in 1..=2 {
        signal("-USR1");
        wait_for(&|| n_saved() == n);
    }
    signal("-TERM");
    let ran = Ran::of(child.wait_with_output().expect("the program ends"));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(n_saved(), 3);
}

#[cfg(unix)]
#[test]
fn full_disk_while_saving_leaves_no_half_checkpoint_and_the_run_goes_on_when_there_is_room() {
    let job = full().set("train.save_steps", 2);
    job.finish("whole", Begin::New);
    let sizes: Vec<u64> =
        files(&job.path("whole/checkpoint-12")).values().map(|bytes| bytes.len() as u64).collect();
    let largest = sizes.iter().max().expect("files");
    // A limit on file sizes stands for a full disk: the same `write` fails, half way through one file after the other.
    for kib in [largest / 1024 - 1, largest / 2048, 8, 1] {
        let out = format!("full-{kib}");
        let (spec, path) = (job.spec_file(), job.path(&out));
        let script =
            format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" run \"$1\" --out \"$2\" --json", kib * 2);
        let mut limited = Command::new("dash");
        if Command::new("dash").arg("-c").arg("true").status().is_err() {
            println!("skipped: no shell whose `ulimit -f` counts 512 bytes");
            return;
        }
        limited.args(["-c", &script, env!("CARGO_BIN_EXE_ftl-train")]).arg(spec).arg(&path);
        let ran = Ran::of(limited.output().expect("the program starts"));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("can't write"), "{ran:?}");
        for name in job.names(&out) {
            assert!(!name.starts_with("checkpoint-") && !name.starts_with(".tmp-"), "{kib} KiB left {name}");
        }
        job.finish(&out, Begin::Resume);
        assert_eq!(differing(&job, &out, &job.result("whole")), [""; 0], "{kib} KiB");
    }
}
