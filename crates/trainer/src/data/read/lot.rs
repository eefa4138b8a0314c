//! A lot: the raw bytes of many rows, cut from a file by one thread and parsed by whichever thread has time.

use std::path::Path;
use std::sync::Arc;

use ftl_core::dataset::Code;
use serde_json::Value;

use super::cells::Records;
use super::limits::MAX_ROW_BYTES;
use super::{Fault, Place, json, schema};

/// How much of a bad row is kept to be shown.
const SHOWN_BYTES: usize = 1 << 16;

/// Many rows of a file, in order.
pub struct Lot {
    pub(super) path: Arc<Path>,
    pub(super) body: Body,
}

/// What a lot holds.
pub(super) enum Body {
    /// Whole lines, each of them a row or blank.
    Lines { bytes: Vec<u8>, first_line: u64, n_lines: u64 },
    /// JSON values at known places.
    Elements { bytes: Vec<u8>, spans: Vec<Span>, wrapping: Wrapping },
    /// A row that is too large to be read.
    TooLarge(At),
    /// Rows of a table.
    Table(Records),
    /// Rows of a Parquet file.
    Parquet { rows: Vec<parquet::record::Row>, first_number: u64 },
    /// Values that are there already.
    Values(Vec<(At, Value)>),
}

/// Number and line of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub number: u64,
    pub line: Option<u64>,
}

/// A value within the bytes of a lot.
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
    pub at: At,
}

/// What is around each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    /// Nothing.
    Bare,
    /// `{"row_idx": 0, "row": {…}}`, as the data set viewer of Hugging Face answers.
    Viewer,
}

/// A row after parsing.
pub(super) struct Parsed {
    pub place: Place,
    pub row: Result<Value, Fault>,
    /// How it is written, if it could not be parsed.
    pub written: Option<Vec<u8>>,
}

impl Lot {
    /// Parses the rows, in order. Costs far more than cutting the lot did: call it in parallel.
    pub fn rows(self) -> Vec<(Place, Result<Value, Fault>)> {
        self.parse().into_iter().map(|Parsed { place, row, written: _ }| (place, row)).collect()
    }

    /// The number of the last row that may be in it.
    pub(super) fn last_number(&self) -> u64 {
        match &self.body {
            Body::Lines { first_line, n_lines, .. } => first_line + n_lines - 1,
            Body::Elements { spans, .. } => spans.last().map_or(0, |span| span.at.number),
            Body::TooLarge(at) => at.number,
            Body::Parquet { rows, first_number } => first_number + rows.len() as u64 - 1,
            Body::Table(records) => records.last_number(),
            Body::Values(values) => values.last().map_or(0, |(at, _)| at.number),
        }
    }

    pub(super) fn parse(self) -> Vec<Parsed> {
        let path = self.path;
        let place = |at: At| Place { path: Arc::clone(&path), number: at.number, line: at.line };
        let one = |at: At, written: &[u8], row: Result<Value, Fault>| {
            let shown = row.is_err().then(|| written[..written.len().min(SHOWN_BYTES)].to_vec());
            Parsed { place: place(at), row, written: shown }
        };
        match self.body {
            Body::Lines { bytes, first_line, n_lines: _ } => (first_line..)
                .zip(lines(&bytes))
                .filter(|(_, line)| !line.is_empty())
                .map(|(number, line)| one(At { number, line: None }, line, json::parse(line, None)))
                .collect(),
            Body::Elements { bytes, spans, wrapping } => spans
                .into_iter()
                .map(|Span { start, end, at }| {
                    let written = &bytes[start..end];
                    let row = json::parse(written, at.line).and_then(|row| wrapping.inner(row));
                    one(at, written, row)
                })
                .collect(),
            Body::TooLarge(at) => vec![one(at, b"", Err(too_large()))],
            Body::Table(records) => records.rows().map(|(at, row, written)| one(at, written, row)).collect(),
            Body::Parquet { rows, first_number } => (first_number..)
                .zip(rows)
                .map(|(number, row)| one(At { number, line: None }, b"", schema::value(row)))
                .collect(),
            Body::Values(values) => values.into_iter().map(|(at, value)| one(at, b"", Ok(value))).collect(),
        }
    }
}

impl Wrapping {
    /// The row itself.
    fn inner(self, row: Value) -> Result<Value, Fault> {
        match (self, row) {
            (Self::Bare, row) => Ok(row),
            (Self::Viewer, Value::Object(mut fields)) if fields.contains_key("row") => {
                Ok(fields.remove("row").expect("it is there"))
            }
            (Self::Viewer, _) => Err(Fault::new(Code::MissingField, "has no `row`, as those before it do")),
        }
    }
}

/// What is said of a row beyond the limit.
pub(super) fn too_large() -> Fault {
    let limit = MAX_ROW_BYTES >> 20;
    Fault::new(Code::TooLarge, format!("is larger than {limit} MiB; split it into several rows"))
}

/// Lines without their ends and surrounding blanks.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', bytes).chain((!bytes.ends_with(b"\n")).then_some(bytes.len()));
    ends.map(move |end| {
        let line = &bytes[start..end];
        start = end + 1;
        // Files with a byte order mark are often put together from several.
        line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line).trim_ascii()
    })
}
