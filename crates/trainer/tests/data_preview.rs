//! Rows of a data file as they are written, with what is wrong with them.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::ProblemKind;
use ftl_core::dataset::PreviewRow;
use ftl_core::spec::resolved::DataFormat;
use ftl_trainer::data::preview::preview;
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file");
    path
}

#[test]
fn a_preview_goes_on_after_a_row() {
    let dir = TempDir::new().expect("a directory");
    let text: String = (1..=9).map(|n| format!("{{\"text\":\"{n}\"}}\n")).collect();
    let lines = file(&dir, "rows.jsonl", &text);
    let array = file(&dir, "rows.json", &format!("[{}]", text.trim().replace('\n', ",\n")));
    for path in [lines, array] {
        let numbers = |after, n| -> Vec<u64> {
            let rows = preview(&path, DataFormat::Auto, (after, n)).expect("rows");
            rows.iter().map(|row| row.number).collect()
        };
        assert_eq!(numbers(0, 3), [1, 2, 3]);
        assert_eq!(numbers(7, 5), [8, 9]);
        assert_eq!(numbers(9, 5), [0; 0]);
        assert_eq!(numbers(50, 5), [0; 0]);
        assert_eq!(numbers(0, 0), [0; 0]);
    }
}

#[test]
fn bad_rows_are_shown_as_they_are() {
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, "rows.jsonl", "{\"text\":1}\n{\"text\":\"a\"}\n[1\n");
    let rows = preview(&path, DataFormat::Text, (0, 9)).expect("rows");
    let row = |number, json: Value, problem: Option<&str>| PreviewRow {
        number,
        json: json.to_string(),
        problem: problem.map(str::to_owned),
    };
    assert_eq!(
        rows,
        [
            row(1, json!({"text": 1}), Some("row 1 of `rows.jsonl` has a number as `text`; expected text")),
            row(2, json!({"text": "a"}), None),
            row(
                3,
                json!("[1"),
                Some(
                    "row 3 of `rows.jsonl` is not valid JSON: it ends before it is complete (was it cut off, or written over several lines?) at column 2"
                ),
            ),
        ]
    );
}

#[test]
fn a_huge_row_is_shown_by_its_beginning_and_leaves_room_for_the_others() {
    let dir = TempDir::new().expect("a directory");
    let huge = json!({"text": "\"".repeat(5_000_000)});
    let small = json!({"text": "b"});
    let path = file(&dir, "rows.jsonl", &format!("{huge}\n{small}\n{huge}\n{small}\n"));
    let rows = preview(&path, DataFormat::Text, (0, 4)).expect("rows");
    let values: Vec<Value> = rows.iter().map(|row| serde_json::from_str(&row.json).expect("JSON")).collect();
    assert_eq!((&values[1], &values[3]), (&small, &small));
    let shown = values[0].as_str().expect("a beginning");
    assert!(shown.starts_with("{\"text\":\"\\\"") && shown.ends_with("… (10000011 bytes)"), "{shown}");
    assert!(rows.iter().map(|row| row.json.len()).sum::<usize>() < 2 << 20);
}

#[test]
fn a_list_of_datasets_beside_the_file_says_how_its_rows_are_read() {
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, "rows.jsonl", "{\"frage\":\"a\",\"antwort\":\"b\"}\n");
    let problem = || preview(&path, DataFormat::Auto, (0, 1)).map(|rows| rows[0].problem.clone());
    assert!(problem().is_err(), "its keys say nothing by themselves");
    let list =
        json!({"mine": {"file_name": "rows.jsonl", "columns": {"prompt": "frage", "response": "antwort"}}});
    file(&dir, "dataset_info.json", &list.to_string());
    assert_eq!(problem(), Ok(None));
}

#[test]
fn what_is_no_file_is_refused() {
    let dir = TempDir::new().expect("a directory");
    let kind = |path: &Path| preview(path, DataFormat::Text, (0, 5)).expect_err("a refusal").kind;
    assert_eq!(kind(&dir.path().join("nothing")), ProblemKind::NotFound);
    assert_eq!(kind(dir.path()), ProblemKind::BadData);
}
