//! Files as they come: exports that were cut, mixed, edited by hand or never downloaded.

use ftl_core::dataset::{Code, Compression, Container, DatasetReport, Encoding};
use serde_json::Value;

use crate::{count, real_files, refused, report_of, rows_with};

fn dirty(name: &str) -> Option<DatasetReport> {
    Some(report_of(&real_files()?.join("dirty").join(name)))
}

fn expected() -> Option<Value> {
    let text = std::fs::read_to_string(real_files()?.join("dirty/EXPECTED.json")).expect("what is expected");
    Some(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn good_rows_stay_and_bad_lines_are_named() {
    let Some(expected) = expected() else { return };
    for (name, expected) in expected.as_object().expect("an object") {
        let Some(good) = expected.get("rows_good").and_then(Value::as_u64) else { continue };
        let report = dirty(name).expect("there are files");
        assert_eq!(report.rows.accepted, good, "{name}: {:#?}", report.counts);
        let bad = expected.get("bad").and_then(Value::as_array);
        for line in bad.into_iter().flatten().filter_map(|bad| bad["line"].as_u64()) {
            assert!(refused(&report).contains(&line), "{name}: line {line}");
        }
    }
}

#[test]
fn repeated_rows_are_counted_by_how_alike_they_are() {
    let (Some(report), Some(expected)) = (dirty("duplicates.jsonl"), expected()) else { return };
    let n = |key: &str| expected["duplicates.jsonl"][key].as_u64().expect("a count");
    assert_eq!(report.rows.read, n("rows"));
    assert_eq!(report.duplicates.exact, n("exact_duplicates") + n("same_with_other_key_order"));
    assert_eq!(report.duplicates.near, n("near_duplicates_space"));
    assert_eq!(rows_with(&report, Code::Duplicate), (21..=28).collect::<Vec<_>>());
    let last = report.findings.last().expect("findings");
    assert_eq!(
        last.message,
        "row 30 of `duplicates.jsonl` says the same as row 10 but for spaces and capitals"
    );
    assert!(report.is_fit());
}

#[test]
fn rows_of_an_unusual_order_are_told_from_ones_that_can_not_be_used() {
    let Some(report) = dirty("bad_roles.jsonl") else { return };
    assert_eq!(report.rows.read, 13);
    for row in [1, 2, 6] {
        assert!(rows_with(&report, Code::RoleOrder).contains(&row), "row {row}: {:#?}", report.findings);
    }
    let refused = refused(&report);
    for row in [7, 8, 9, 10] {
        assert!(refused.contains(&row), "row {row}: {:#?}", report.findings);
    }
    for row in [5, 11, 13] {
        assert!(!report.findings.iter().any(|finding| finding.row == Some(row)), "row {row} is good");
    }
    // An empty reply, and no answer at all: neither goes by without a word.
    for row in [4, 12] {
        assert!(report.findings.iter().any(|finding| finding.row == Some(row)), "row {row}");
    }
}

#[test]
fn missing_fields_are_named_row_by_row() {
    let Some(report) = dirty("missing_fields_alpaca.json") else { return };
    assert_eq!(report.rows.read, 12);
    for row in [2, 3, 4, 5, 6, 7, 10] {
        assert!(refused(&report).contains(&row), "row {row}: {:#?}", report.findings);
    }
    for row in [1, 8, 9, 12] {
        assert!(!refused(&report).contains(&row), "row {row}: {:#?}", report.findings);
    }
    let Some(report) = dirty("dpo_bad.json") else { return };
    assert_eq!((report.rows.read, refused(&report)), (6, vec![2, 3, 4, 6]));
    assert_eq!(rows_with(&report, Code::SamePair), [2]);
}

#[test]
fn rows_of_other_formats_are_not_dropped_in_silence() {
    let Some(report) = dirty("mixed_schemas.jsonl") else { return };
    assert_eq!(report.rows.read, 10);
    assert_eq!(report.rows.accepted + report.rows.rejected, 10);
    assert!(!report.is_fit());
    assert!(report.files[0].confidence < 1.0, "{}", report.files[0].confidence);
}

#[test]
fn files_without_data_are_findings_of_the_file() {
    for (name, code) in [
        ("empty.jsonl", Code::EmptyFile),
        ("only_bom.jsonl", Code::EmptyFile),
        ("only_newlines.jsonl", Code::EmptyFile),
        ("html_error_page.jsonl", Code::NotData),
        ("lfs_pointer_dataset.jsonl", Code::NotData),
    ] {
        let Some(report) = dirty(name) else { return };
        assert_eq!((report.rows.read, count(&report, code)), (0, 1), "{name}: {:#?}", report.findings);
        assert_eq!(report.findings[0].row, None);
        assert!(!report.is_fit());
    }
}

#[test]
fn a_file_that_is_missing_is_a_finding_too() {
    let report = report_of("/nowhere/rows.jsonl".as_ref());
    assert_eq!(count(&report, Code::UnreadableFile), 1);
    assert!(report.findings[0].message.starts_with("`rows.jsonl` can't be read: "), "{:?}", report.findings);
    assert_eq!(report.files.len(), 1);
}

#[test]
fn what_is_wrapped_or_encoded_in_another_way_is_read() {
    for (name, container, compression, encoding, rows) in [
        ("utf16le.jsonl", Container::JsonLines, None, Encoding::Utf16Le, None),
        ("gzip_named_jsonl.jsonl", Container::JsonLines, Some(Compression::Gzip), Encoding::Utf8, None),
        ("alpaca_export.csv", Container::Csv, None, Encoding::Utf8, Some(20)),
        ("array_named_jsonl.jsonl", Container::JsonArray, None, Encoding::Utf8, Some(8)),
        ("bom_crlf.jsonl", Container::JsonLines, None, Encoding::Utf8Bom, Some(40)),
    ] {
        let Some(report) = dirty(name) else { return };
        let layout = report.files[0].layout.unwrap_or_else(|| panic!("{name}: {:#?}", report.findings));
        assert_eq!((layout.container, layout.compression), (container, compression), "{name}");
        assert_eq!(layout.encoding, encoding, "{name}");
        assert!(report.is_fit() && report.rows.read > 0, "{name}: {:#?}", report.findings);
        assert!(rows.is_none_or(|rows| report.rows.read == rows), "{name}: {:?}", report.rows);
    }
}

#[test]
fn control_tokens_in_texts_are_pointed_out() {
    let Some(report) = dirty("special_tokens_in_text.jsonl") else { return };
    assert_eq!(rows_with(&report, Code::SpecialTokensInText), [1, 2, 3, 5]);
    assert!(report.is_fit());
}
