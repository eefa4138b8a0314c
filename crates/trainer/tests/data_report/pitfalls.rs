//! What went wrong elsewhere and must not here: each test fails on the old behaviour.

use std::collections::BTreeSet;

use ftl_core::dataset::Code;
use ftl_core::spec::resolved::{DataFormat, Eval};
use ftl_core::{Event, StopSignal};
use ftl_trainer::data::split::{SplitRequest, split};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{count, encoder, file, model, report_of_text, report_on, rows_with};

fn numbered(n: usize) -> String {
    (0..n).map(|n| format!("{}\n", json!({"prompt": format!("q{n}"), "completion": "a"}))).collect()
}

/// The prompts that a split holds out.
fn held_out(text: &str, fraction: f64) -> BTreeSet<String> {
    let dir = TempDir::new().expect("a directory");
    let (path, train, eval) =
        (file(&dir, "rows.jsonl", text), dir.path().join("train"), dir.path().join("eval"));
    let request =
        SplitRequest { path: &path, format: DataFormat::Auto, fraction, seed: 1, train: &train, eval: &eval };
    split(&request, &mut |_: &Event| {}, &StopSignal::new()).expect("a split");
    let rows = std::fs::read_to_string(eval).expect("written");
    let prompt = |line: &str| {
        serde_json::from_str::<Value>(line).expect("JSON")["prompt"].as_str().expect("text").to_owned()
    };
    rows.lines().map(prompt).collect()
}

#[test]
fn what_is_held_out_is_no_tail_of_the_file() {
    let held = held_out(&numbered(400), 0.1);
    let tail: BTreeSet<String> = (400 - held.len()..400).map(|n| format!("q{n}")).collect();
    assert!((20..70).contains(&held.len()), "{}", held.len());
    assert!(held.intersection(&tail).count() * 2 < held.len(), "{held:?}");
    // Nor of its order: the same rows backwards give the same split, and more rows move none.
    let backwards: String = numbered(400).lines().rev().map(|line| format!("{line}\n")).collect();
    assert_eq!(held_out(&backwards, 0.1), held);
    assert!(held_out(&numbered(800), 0.1).is_superset(&held));
}

#[test]
fn a_conversation_is_not_trained_whole_where_no_marker_is_found() {
    // The template has no marker that could be searched for, and texts that look like one.
    let dir = TempDir::new().expect("a directory");
    let rows = concat!(
        r####"{"messages":[{"role":"user","content":"### Response: a question of some length"},{"role":"assistant","content":"yes"}]}"####,
        "\n",
        r####"{"messages":[{"role":"user","content":"nobody answers this"}]}"####,
        "\n",
    );
    let data = plain_of(&dir, rows);
    let encoder = encoder();
    let report = report_on(&data, Some(model(&encoder, &data, 512)));
    let tokens = report.tokens.as_ref().expect("a model");
    assert!(tokens.supervised > 0 && tokens.mask_coverage() < 0.5, "{tokens:?}");
    let answer = encoder.tokenizer.encode("yes", ftl_trainer::data::tokenize::Around::Nothing).expect("ids");
    assert_eq!(tokens.supervised, answer.len() as u64 + 1, "the answer and the token that ends it");
    assert_eq!((report.rows.accepted, report.rows.rejected), (1, 1));
    assert_eq!(rows_with(&report, Code::NoAnswer), [2]);
}

#[test]
fn pretty_printed_arrays_of_sharegpt_convert_all_rows() {
    let row = |n: usize| json!({"conversations": [{"from": "human", "value": format!("q{n}")}, {"from": "gpt", "value": "a"}]});
    let text = serde_json::to_string_pretty(&(0..7).map(row).collect::<Vec<_>>()).expect("JSON");
    let report = report_of_text("rows.json", &text);
    assert_eq!((report.files[0].format, report.rows.accepted), (Some(DataFormat::Sharegpt), 7));
}

#[test]
fn a_row_that_can_not_be_used_refuses_the_data_instead_of_going_missing() {
    let text = format!("{}{{\"prompt\":\"q\"}}\n{}", numbered(3), numbered(2));
    let report = report_of_text("rows.jsonl", &text);
    assert!(!report.is_fit());
    assert_eq!((report.rows.read, report.rows.rejected, count(&report, Code::MissingField)), (6, 1, 1));
    assert_eq!(report.findings[0].row, Some(4));
}

#[test]
fn held_out_rows_have_no_double_among_those_trained_on() {
    let mut rows: Vec<String> = numbered(60).lines().map(str::to_owned).collect();
    rows.extend((0..60).map(|n| json!({"completion": "A", "prompt": format!(" Q{n} ")}).to_string()));
    let held = held_out(&rows.join("\n"), 0.3);
    let plain = |prompt: &String| prompt.trim().to_lowercase();
    assert!(held.len() > 10);
    for prompt in held.iter().map(plain) {
        assert_eq!(held.iter().filter(|other| plain(other) == prompt).count(), 2, "{prompt}");
    }
}

#[test]
fn data_that_all_say_the_same_can_not_be_held_out_in_part() {
    let dir = TempDir::new().expect("a directory");
    let mut data = plain_of(&dir, &"{\"prompt\":\"a\",\"completion\":\"b\"}\n".repeat(5));
    data.eval = Eval::Fraction(0.5);
    let report = report_on(&data, None);
    assert_eq!(count(&report, Code::NothingToHoldOut), 1);
    assert!(!report.is_fit());
}

fn plain_of(dir: &TempDir, rows: &str) -> ftl_core::spec::resolved::Data {
    ftl_trainer::data::report::plain([file(dir, "rows.jsonl", rows)], DataFormat::Auto)
}
