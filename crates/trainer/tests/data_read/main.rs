//! Reading data files: every way that people keep rows in, what is refused and in which words, damaged files, folders.

mod containers;
mod damage;
mod folders;
mod parquet;
mod properties;
mod real_files;
mod refusals;
mod rows;
mod tables;
mod throughput;

use std::io::Write;
use std::path::Path;

use ftl_core::dataset::{Code, Container, Layout};
use ftl_trainer::data::read::{self, Opened, Refusal};
use serde_json::Value;

/// All that is said of a file of this name.
struct Seen {
    layout: Layout,
    notes: Vec<String>,
    rows: Vec<Value>,
    /// Number, line, code and message of rows that can't be used.
    bad: Vec<(u64, Option<u64>, Code, String)>,
    /// Line of each good row.
    lines: Vec<Option<u64>>,
    /// What ended the file.
    refusal: Option<Refusal>,
}

fn see(opened: Opened) -> Seen {
    let mut opened = opened;
    let layout = opened.layout;
    let mut seen = Seen {
        layout,
        notes: Vec::new(),
        rows: Vec::new(),
        bad: Vec::new(),
        lines: Vec::new(),
        refusal: None,
    };
    for lot in opened.by_ref() {
        match lot {
            Err(refusal) => seen.refusal = Some(refusal),
            Ok(lot) => {
                for (place, row) in lot.rows() {
                    match row {
                        Ok(value) => {
                            seen.rows.push(value);
                            seen.lines.push(place.line);
                        }
                        Err(fault) => seen.bad.push((place.number, place.line, fault.code, fault.what)),
                    }
                }
            }
        }
    }
    seen.notes = opened.notes;
    seen
}

fn open(name: &str, bytes: &[u8]) -> Result<Opened, Refusal> {
    read::open_bytes(Path::new(name), bytes.to_vec())
}

fn read(name: &str, bytes: &[u8]) -> Seen {
    see(open(name, bytes).unwrap_or_else(|refusal| panic!("{name}: {refusal}")))
}

/// The rows of a file in which nothing is wrong, and how they lie in it.
fn good(name: &str, bytes: &[u8]) -> (Container, Vec<Value>) {
    let seen = read(name, bytes);
    assert!(seen.refusal.is_none() && seen.bad.is_empty(), "{name}: {:?} {:?}", seen.refusal, seen.bad);
    (seen.layout.container, seen.rows)
}

/// Why a file is refused, when it is opened or later.
fn refused(name: &str, bytes: &[u8]) -> (Code, String) {
    let refusal = match open(name, bytes) {
        Err(refusal) => refusal,
        Ok(opened) => see(opened).refusal.unwrap_or_else(|| panic!("{name} is not refused")),
    };
    (refusal.code, refusal.problem.message)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("in memory")
}

fn utf16(text: &str, bytes_of: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes_of).collect()
}
