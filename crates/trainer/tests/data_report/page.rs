//! The page: what a person reads first, and that nothing of a file's text reaches the terminal as it is.

use ftl_core::spec::resolved::DataFormat;
use tempfile::TempDir;

use crate::{encoder, file, model, report_of_text, report_on};

#[test]
fn the_verdict_comes_first_and_errors_before_warnings() {
    let text = "{\"text\":\"a\"}\n{\"text\":\"a\"}\n{\"text\":1}\n";
    let page = report_of_text("rows.jsonl", text).to_string();
    assert!(page.starts_with("NOT FIT: 1 of 3 rows can't be trained on\n\nerrors\n  1 row "), "{page}");
    let places: Vec<_> =
        ["row 3 of `rows.jsonl`", "warnings", "row 2 of `rows.jsonl` says the same as row 1", "file\n"]
            .map(|words| page.find(words).unwrap_or_else(|| panic!("{words}: {page}")))
            .into();
    assert!(places.is_sorted(), "{page}");
    assert!(!page.ends_with('\n'));
}

#[test]
fn many_findings_are_five_examples_and_a_number() {
    let page = report_of_text("rows.jsonl", &"{\"text\":1}\n".repeat(1200)).to_string();
    assert!(page.contains("1,200 rows ") && page.contains("… and 1,195 more"), "{page}");
    assert_eq!(page.matches("of `rows.jsonl`").count(), 5);
}

#[test]
fn lines_fit_a_terminal_of_80_columns() {
    let dir = TempDir::new().expect("a directory");
    let rows: String = (1..200)
        .map(|n| format!("{{\"prompt\":\"{}\",\"completion\":\"</s>\"}}\n", "word ".repeat(n)))
        .collect();
    let data = ftl_trainer::data::report::plain([file(&dir, "rows.jsonl", &rows)], DataFormat::Auto);
    let encoder = encoder();
    let page = report_on(&data, Some(model(&encoder, &data, 100))).to_string();
    let wide: Vec<&str> = page.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(wide, [""; 0]);
    assert!(page.contains("rows by tokens") && page.contains("max_length 100"), "{page}");
}

#[test]
fn text_of_a_file_does_not_act_on_the_terminal() {
    let page = report_of_text("rows.jsonl", "{\"\\u001b[2J\\u0007\":\"a\"}\n{\"\\u202e\":1}\n").to_string();
    assert!(page.contains("NOT FIT"), "{page}");
    assert!(!page.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202E}'), "{page:?}");
}
