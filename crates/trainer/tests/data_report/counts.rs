//! No row is lost on the way: counts add up for any file.

use ftl_core::dataset::{Code, DatasetReport, RowCounts, Severity};
use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::{Event, StopReason, StopSignal};
use ftl_trainer::data::report::{CheckRequest, Fingerprint, check, plain};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{count, encoder, file, model, report_of_text, report_on};

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]{1,3}".prop_map(|word| format!("{{\"prompt\":\"{word}\",\"completion\":\"{word} {word}\"}}")),
        1 => (1_usize..60).prop_map(|n| format!("{{\"prompt\":\"p\",\"completion\":\"{}\"}}", "w ".repeat(n))),
        1 => Just("{\"completion\":\"a\",\"prompt\":\"a\"}".to_owned()),
        1 => Just("{\"prompt\":1,\"completion\":\"b\"}".to_owned()),
        1 => Just("{\"text\":\"another format\"}".to_owned()),
        1 => Just("{\"prompt\":\"a\"".to_owned()),
        1 => Just("null".to_owned()),
        1 => Just("  ".to_owned()),
    ]
}

fn errors(report: &DatasetReport) -> u64 {
    report.counts.iter().filter(|count| count.severity == Severity::Error).map(|count| count.rows).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_row_is_accepted_rejected_or_dropped(
        first in prop::collection::vec(line(), 1..40),
        second in prop::collection::vec(line(), 1..40),
        strategy in prop::sample::select(vec![ExcessLength::Error, ExcessLength::Drop, ExcessLength::Truncate, ExcessLength::Split]),
    ) {
        let dir = TempDir::new().expect("a directory");
        // A file in which no line is a row at all is no data, whatever the number of its lines.
        let good = "{\"prompt\":\"x\",\"completion\":\"y\"}\n";
        let texts = [first, second].map(|lines| format!("{good}{}", lines.join("\n")));
        let paths = [file(&dir, "a.jsonl", &texts[0]), file(&dir, "b.jsonl", &texts[1])];
        let mut data = plain(paths, DataFormat::PromptCompletion);
        data.excess_length_strategy = strategy;
        let encoder = encoder();
        for model in [None, Some(model(&encoder, &data, 24))] {
            let report = report_on(&data, model);
            let written = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty()).count();
            let rows = report.rows;
            prop_assert_eq!(rows.read, written as u64);
            prop_assert_eq!(rows.read, rows.accepted + rows.rejected + rows.dropped);
            let parts: [fn(RowCounts) -> u64; 4] =
                [|rows| rows.read, |rows| rows.accepted, |rows| rows.rejected, |rows| rows.dropped];
            for part in parts {
                prop_assert_eq!(part(rows), report.files.iter().map(|file| part(file.rows)).sum::<u64>());
            }
            let n_empty = count(&report, Code::EmptyFile);
            prop_assert_eq!(errors(&report), rows.rejected + n_empty);
            prop_assert_eq!(rows.dropped, count(&report, Code::Dropped));
            prop_assert_eq!(report.characters.n, rows.accepted);
            prop_assert_eq!(report.counts.iter().map(|count| count.rows).sum::<u64>(), report.findings.len() as u64);
            if let Some(tokens) = &report.tokens {
                prop_assert!(tokens.supervised <= tokens.total);
                prop_assert!(tokens.samples >= rows.accepted);
                prop_assert_eq!(tokens.per_row.n, rows.accepted + rows.dropped + count(&report, Code::TooLong));
            }
        }
    }
}

#[test]
fn all_findings_are_counted_and_the_first_thousand_listed() {
    let mut text = "{\"text\":\"...\"}\n".repeat(1500);
    text.push_str(&"{\"text\":1}\n".repeat(30));
    let report = report_of_text("rows.jsonl", &text);
    assert_eq!((report.rows.accepted, report.rows.rejected), (1500, 30));
    assert_eq!(count(&report, Code::NearEmpty), 1500);
    assert_eq!(report.findings.len(), DatasetReport::LISTED);
    // Errors are not crowded out by the warnings before them.
    let n_errors = report.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    assert_eq!(n_errors, 30);
}

#[test]
fn a_stop_ends_a_check_within_a_lot() {
    let dir = TempDir::new().expect("a directory");
    let path = file(&dir, "rows.jsonl", &"{\"text\":\"a b c d e f g\"}\n".repeat(1 << 19));
    let data = plain([path], DataFormat::Auto);
    let stop = StopSignal::new();
    let request =
        CheckRequest { data: &data, model: None, train: None, seed: 0, fingerprint: Fingerprint::Absent };
    let mut n_told = 0;
    let mut observer = |event: &Event| {
        if let Event::Phase { done: Some(_), .. } = event {
            n_told += 1;
            stop.raise(StopReason::User);
        }
    };
    let problems = check(&request, &mut observer, &stop).expect_err("it was stopped");
    assert_eq!(problems[0].message, "stopped before all rows were judged");
    assert_eq!(n_told, 1);
}

#[test]
fn a_hash_of_the_file_is_told_where_it_is_asked_for() {
    let dir = TempDir::new().expect("a directory");
    let data =
        plain([file(&dir, "rows.jsonl", "{\"text\":\"abc\"}\n\n{\"text\":\"d\"}\n")], DataFormat::Auto);
    let request =
        CheckRequest { data: &data, model: None, train: None, seed: 0, fingerprint: Fingerprint::Sha256 };
    let report = check(&request, &mut |_: &Event| {}, &StopSignal::new()).expect("a report");
    // From sha256sum.
    let expected = "9757c5dbd5c106b4c63f69d8c62112b1ab9a8ca1e534457208b15d3dd01700d6";
    assert_eq!(report.files[0].sha256.as_deref(), Some(expected));
    assert_eq!((report.files[0].bytes, report.rows.read), (29, 2));
}
