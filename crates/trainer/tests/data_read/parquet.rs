//! Against files that pyarrow wrote, and its own reading of them: `tests/fixtures/parquet/make.py`.

use std::path::PathBuf;

use ftl_core::dataset::{Code, Container};
use ftl_trainer::data::read::{self, Rows};
use serde_json::Value;

use super::{read as read_bytes, refused, see};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).expect("a fixture")
}

#[test]
fn rows_are_those_that_pyarrow_reads() {
    let expected: Value = serde_json::from_slice(&bytes("expected.json")).expect("JSON");
    for (name, rows) in expected.as_object().expect("an object") {
        let rows = rows.as_array().expect("rows");
        if rows.is_empty() {
            assert_eq!(refused(name, &bytes(name)), (Code::EmptyFile, format!("`{name}` is empty")));
            continue;
        }
        for seen in
            [see(read::open(&fixture(name)).expect("opens")), read_bytes("whatever.jsonl", &bytes(name))]
        {
            assert!(
                seen.refusal.is_none() && seen.bad.is_empty(),
                "{name}: {:?} {:?}",
                seen.refusal,
                seen.bad
            );
            assert_eq!(seen.layout.container, Container::Parquet);
            assert_eq!(seen.rows.len(), rows.len(), "{name}");
            for (found, expected) in seen.rows.iter().zip(rows) {
                assert_eq!(found, expected, "{name}");
            }
        }
    }
    let notes = see(read::open(&fixture("types.parquet")).expect("opens")).notes;
    assert_eq!(
        notes,
        ["binary data, such as images, is read as null in these columns of `types.parquet`: `image.bytes`"]
    );
}

#[test]
fn rows_are_numbered_across_row_groups() {
    let mut rows = Rows::open(&fixture("messages.parquet")).expect("opens");
    rows.skip_to(45).expect("skips");
    let row = rows.next().expect("a row").expect("good");
    assert_eq!((row.place.number, row.place.line), (46, None));
    assert_eq!(row.value["messages"][0]["content"], "Wie viel ist 45 + 45?");
}

#[test]
fn files_that_are_cut_off_or_damaged_are_refused() {
    let whole = bytes("messages.parquet");
    for length in [4, 11, whole.len() / 2, whole.len() - 1] {
        let (code, message) = refused("a.parquet", &whole[..length]);
        assert_eq!(code, Code::UnreadableFile);
        assert_eq!(
            message,
            "`a.parquet` is cut off: a Parquet file ends in `PAR1`, after the list of its columns"
        );
    }
    // Every byte of the footer and some of the pages, one after another: rows or a refusal, but no panic.
    let mut n_refused = 0;
    for at in (4..whole.len() - 4).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        match read::open_bytes(&fixture("a.parquet"), bytes) {
            Ok(opened) => n_refused += usize::from(see(opened).refusal.is_some()),
            Err(refusal) => {
                n_refused += 1;
                assert!(refusal.problem.message.starts_with("`a.parquet` "), "{refusal}");
            }
        }
    }
    assert!(n_refused > 50, "{n_refused}");
}
