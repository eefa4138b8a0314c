//! `ftl-server demo`, on what it brings along and on somebody's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs the demo with a home and a place for temporary files of its own.
fn demo(home: &Path, arguments: &[&str]) -> Output {
    let temporary = home.join("tmp");
    fs::create_dir_all(&temporary).expect("a writable directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ftl-server"));
    command
        .arg("demo")
        .args(arguments)
        .env("HOME", home)
        .env("TMPDIR", &temporary)
        .env_remove("XDG_DATA_HOME");
    command.current_dir(home).stdin(Stdio::null()).output().expect("the program starts")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refusal(home: &Path, arguments: &[&str]) -> String {
    let output = demo(home, arguments);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(names(&home.join("tmp")), [""; 0]);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Held-out loss before and after.
fn losses(said: &str) -> (f64, f64) {
    let line =
        said.lines().find(|line| line.starts_with("held-out loss")).unwrap_or_else(|| panic!("{said}"));
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    (numbers.next().expect("before"), numbers.next().expect("after"))
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

#[test]
fn demo_shows_what_training_changes_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a directory");
    let said = said(&demo(home.path(), &[]));
    let (before, after) = losses(&said);
    assert!(after < before / 2.0, "{said}");
    assert!(said.contains("after     ANSWER: Max, the pig says oink. The end."), "{said}");
    assert!(!said.contains("before    ANSWER"), "{said}");
    assert!(
        said.contains("\nmemory     at most ") && said.contains(", planned before a weight is read"),
        "{said}"
    );
    assert_eq!(names(home.path()), ["tmp"]);
    assert_eq!(names(&home.path().join("tmp")), [""; 0]);
}

#[test]
fn demo_with_own_model_and_data_keeps_what_it_made_where_it_is_told_to() {
    let home = tempfile::tempdir().expect("a directory");
    let (model, data) = (example("base-model"), example("first-run/train.jsonl"));
    let arguments =
        ["--model", &model.to_string_lossy(), "--data", &data.to_string_lossy(), "--keep", "kept"];
    let said = said(&demo(home.path(), &arguments));
    let (before, after) = losses(&said);
    assert!(after < before, "{said}");
    assert!(said.contains("60 steps on at most 400 rows"), "{said}");
    let jobs = home.path().join("kept/data/jobs");
    let job = names(&jobs).pop().expect("one job");
    assert!(jobs.join(job).join("final/adapter_model.safetensors").is_file());
    assert_eq!(names(&home.path().join("tmp")), [""; 0]);
}

#[test]
fn demo_takes_plain_text() {
    let home = tempfile::tempdir().expect("a directory");
    let story = |name: &str| {
        format!("Once upon a time, there was a little dog named {name}. {name} saw a big ball in the park.")
    };
    let names = ["Max", "Sam", "Anna", "Tom", "Mia", "Sara", "Jack", "Ben", "Lily", "Tim", "Sue", "Kim"];
    let stories: Vec<String> = names.into_iter().map(story).collect();
    fs::write(home.path().join("story.txt"), stories.join("\n\n").repeat(8)).expect("a writable directory");
    let rows: Vec<String> =
        stories.iter().map(|story| serde_json::json!({"text": story}).to_string()).collect();
    fs::write(home.path().join("stories.jsonl"), rows.join("\n")).expect("a writable directory");

    let whole = said(&demo(home.path(), &["--data", "story.txt"]));
    assert!(whole.contains("asked     Once upon a time") && whole.contains("adapter"), "{whole}");
    let rows = said(&demo(home.path(), &["--data", "stories.jsonl"]));
    let (before, after) = losses(&rows);
    assert!(after < before, "{rows}");
}

#[test]
fn demo_refuses_what_it_cannot_use() {
    let home = tempfile::tempdir().expect("a directory");
    let full = home.path().to_string_lossy().into_owned();
    let kept = refusal(home.path(), &["--keep", &full]);
    assert!(kept.contains("--keep") && kept.contains("is not empty"), "{kept}");
    let missing = refusal(home.path(), &["--data", "nowhere.jsonl"]);
    assert!(missing.contains("nowhere.jsonl"), "{missing}");
    fs::write(home.path().join("bad.jsonl"), "{\"text\": 1}\n").expect("a writable directory");
    let bad = refusal(home.path(), &["--data", "bad.jsonl"]);
    assert!(bad.contains("bad.jsonl") && bad.contains("text"), "{bad}");
    let model = refusal(home.path(), &["--model", "tmp"]);
    assert!(model.contains("config.json"), "{model}");
}
