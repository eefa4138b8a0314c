//! What a data file holds, without a model.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::dataset::PreviewRow;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::data::survey::{preview, survey};
use serde_json::{Value, json};
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file");
    path
}

fn refused(path: &Path, format: DataFormat) -> Vec<String> {
    let problems = survey(path, format).expect_err("a refusal");
    problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn facts_are_those_of_the_bytes() {
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, "rows.jsonl", "{\"text\":\"abc\"}\n\n{\"text\":\"d\"}\n");
    for asked in [DataFormat::Auto, DataFormat::Text] {
        let facts = survey(&path, asked).expect("good rows");
        assert_eq!((facts.format, facts.n_rows, facts.bytes), (DataFormat::Text, 2, 29));
        // From sha256sum.
        assert_eq!(facts.sha256, "9757c5dbd5c106b4c63f69d8c62112b1ab9a8ca1e534457208b15d3dd01700d6");
    }
    let array = file(&dir, "rows.json", "[{\"question\":\"a\",\"answer\":\"b\"}]");
    let facts = survey(&array, DataFormat::Auto).expect("good rows");
    assert_eq!((facts.format, facts.n_rows), (DataFormat::QuestionAnswer, 1));
}

#[test]
fn files_that_can_not_be_used_say_why() {
    let dir = TempDir::new().expect("a directory");
    let strange = file(&dir, "strange.jsonl", &"{\"a\":1}\n".repeat(30));
    let mixed = file(&dir, "mixed.jsonl", "x\n{\"text\":\"a\"}\n{\"prompt\":\"a\"}\n");
    let one_more = file(&dir, "more.jsonl", &"{\"text\":1}\n".repeat(21));
    let expected = "is in no known format: its rows have the key `a`; expected one of: messages, conversations, \
                    instruction + output, prompt + completion, question + answer, text, chosen + rejected, input_ids";
    assert_eq!(refused(&strange, DataFormat::Auto), [format!("`strange.jsonl` {expected}")]);
    let expected = ["row 1 of `mixed.jsonl` is not valid JSON", "row 3 of `mixed.jsonl` "];
    let problems = refused(&mixed, DataFormat::Auto);
    assert_eq!(problems.len(), 2);
    assert!(
        problems.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)),
        "{problems:?}"
    );
    let more = refused(&one_more, DataFormat::Text);
    assert_eq!(
        (more.len(), more[20].as_str()),
        (21, "1 more row can't be used; in all: 21 with a field that can't be used")
    );
    let name = dir.path().file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(refused(dir.path(), DataFormat::Auto), [format!("`{name}` is not a file")]);
    assert_eq!(refused(&file(&dir, "empty.jsonl", ""), DataFormat::Auto), ["`empty.jsonl` is empty"]);
    let nothing = preview(&dir.path().join("nothing"), DataFormat::Text, (0, 5));
    assert!(matches!(nothing, Err(Problem { kind: ProblemKind::NotFound, .. })), "{nothing:?}");
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
