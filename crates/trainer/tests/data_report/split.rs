//! A file in two files.

use std::path::{Path, PathBuf};

use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Event, Problem, ProblemKind, StopSignal};
use ftl_trainer::data::split::{SplitRequest, SplitRows, split};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{file, report_of};

fn halves(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("train.jsonl"), dir.join("eval.jsonl"))
}

fn split_in(dir: &TempDir, path: &Path) -> Result<SplitRows, Vec<Problem>> {
    let (train, eval) = halves(dir.path());
    let request =
        SplitRequest { path, format: DataFormat::Auto, fraction: 0.4, seed: 7, train: &train, eval: &eval };
    split(&request, &mut |_: &Event| {}, &StopSignal::new())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

#[test]
fn lines_are_copied_as_they_are_and_none_is_lost() {
    let dir = TempDir::new().expect("a directory");
    let lines: Vec<String> =
        (0..30).map(|n| format!("{{ \"text\" :\"row\\u0020{n}\",  \"id\":{n}.0}}")).collect();
    let path = file(&dir, "rows.jsonl", &format!("\u{feff}{}\r\n", lines.join("\r\n\r\n")));
    let rows = split_in(&dir, &path).expect("a split");
    let (train, eval) = halves(dir.path());
    let (train, eval) = (read(&train), read(&eval));
    assert_eq!((train.lines().count() as u64, eval.lines().count() as u64), (rows.train, rows.eval));
    assert!(rows.train > 0 && rows.eval > 0);
    let mut all: Vec<&str> = train.lines().chain(eval.lines()).collect();
    all.sort_by_key(|line| lines.iter().position(|known| known == line));
    assert_eq!(all, lines);
    // In the order of the file, and nothing else is left behind.
    let places: Vec<_> = eval.lines().map(|line| lines.iter().position(|known| known == line)).collect();
    assert!(places.is_sorted());
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 3);
}

#[test]
fn rows_of_other_layouts_are_written_as_lines() {
    let dir = TempDir::new().expect("a directory");
    let rows: Vec<Value> =
        (0..12).map(|n| json!({"text": format!("row {n}\nsecond line"), "b": {"z": 1, "a": 2}})).collect();
    let path = file(&dir, "rows.json", &serde_json::to_string_pretty(&rows).expect("JSON"));
    split_in(&dir, &path).expect("a split");
    let (train, eval) = halves(dir.path());
    let mut written: Vec<Value> =
        (read(&train) + &read(&eval)).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    written.sort_by_key(|row| rows.iter().position(|known| known == row));
    assert_eq!(written, rows);
    assert!(report_of(&train).is_fit() && report_of(&eval).is_fit());
}

#[test]
fn nothing_is_overwritten_and_a_refusal_leaves_nothing() {
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, "rows.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
    let there = file(&dir, "eval.jsonl", "mine");
    let problems = split_in(&dir, &path).expect_err("refused");
    assert_eq!(
        (problems[0].kind, problems[0].message.as_str()),
        (ProblemKind::OutputExists, "`eval.jsonl` exists already")
    );
    assert_eq!(read(&there), "mine");
    std::fs::remove_file(there).expect("removed");

    for (text, message) in [
        ("{\"text\":\"a\"}\n{\"text\":1}\n", "row 2 of `bad.jsonl`"),
        ("{\"text\":\"a\"}\n{\"text\":\" A\"}\n", "`bad.jsonl` has only samples that say the same"),
    ] {
        let bad = file(&dir, "bad.jsonl", text);
        let problems = split_in(&dir, &bad).expect_err("refused");
        assert!(problems[0].message.starts_with(message), "{problems:?}");
        let (train, eval) = halves(dir.path());
        assert!(!train.exists() && !eval.exists());
    }
    assert!(split_in(&dir, &path).is_ok());
}
