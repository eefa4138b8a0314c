//! Cuts CSV, TSV and tables with semicolons (RFC 4180): quoted cells may hold separators and line breaks, the first line
//! names the columns. What cells become as JSON is `cells`' business.

use std::sync::Arc;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use ftl_core::dataset::Code;

use super::Refusal;
use super::cells::{Columns, Record, Records};
use super::header::Dialect;
use super::limits::{LOT_BYTES, MAX_ROW_BYTES};
use super::lot::{At, Body};
use super::stream::{Cut, Input};

/// More cells than any table has columns: a row with that many has lost its line end.
const MAX_CELLS: usize = 1 << 16;

/// The rows of a table.
pub(super) struct Table {
    input: Input,
    reader: Reader,
    /// Read and not gone through from `used` on.
    bytes: Vec<u8>,
    used: usize,
    columns: Arc<Columns>,
    /// Rows so far, without the header.
    number: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Within,
    Ended,
}

impl Table {
    /// Reads the header.
    ///
    /// # Errors
    /// A header that names no columns, or one of them twice.
    pub(super) fn new(input: Input, dialect: Dialect, notes: &mut Vec<String>) -> Result<Self, Refusal> {
        let mut reader = ReaderBuilder::new().delimiter(dialect.separator).build();
        if dialect.n_before > 0 {
            reader.set_line(2);
        }
        let columns = Arc::new(Columns::default());
        let state = State::Within;
        let mut table = Self { input, reader, bytes: Vec::new(), used: 0, columns, number: 0, state };
        let mut header = Records::new(Arc::clone(&table.columns));
        table.record(&mut header)?;
        table.columns = Arc::new(Columns::of(table.input.path(), &header, notes)?);
        table.number = 0;
        Ok(table)
    }

    /// Appends the next record to `records`; says whether there was one.
    fn record(&mut self, records: &mut Records) -> Result<Next, Refusal> {
        self.skip_line_ends()?;
        let line = self.reader.line();
        let (first_cell, first_byte) = (records.ends.len(), records.cells.len());
        let (mut n_bytes, mut n_cells, mut n_quotes) = (0, 0, 0);
        let mut is_too_large = false;
        loop {
            if self.used == self.bytes.len() {
                self.bytes.clear();
                self.used = 0;
                self.input.fill(&mut self.bytes, LOT_BYTES)?;
            }
            let input = &self.bytes[self.used..];
            let is_end = input.is_empty();
            // Cells are never longer than what they are read from.
            records.cells.resize(first_byte + n_bytes + input.len().min(LOT_BYTES) + 1, 0);
            records.ends.resize(first_cell + n_cells + 64, 0);
            let (result, n_used, n_written, n_ended) = self.reader.read_record(
                input,
                &mut records.cells[first_byte + n_bytes..],
                &mut records.ends[first_cell + n_cells..],
            );
            n_quotes += memchr::memchr_iter(b'"', &input[..n_used]).count();
            self.used += n_used;
            n_bytes += n_written;
            n_cells += n_ended;
            if n_bytes > MAX_ROW_BYTES || n_cells > MAX_CELLS {
                is_too_large = true;
            }
            if is_too_large {
                // Goes on to the end of the record, without keeping any of it.
                (n_bytes, n_cells) = (0, 0);
            }
            match result {
                ReadRecordResult::InputEmpty
                | ReadRecordResult::OutputFull
                | ReadRecordResult::OutputEndsFull => {}
                ReadRecordResult::End => {
                    records.cells.truncate(first_byte);
                    records.ends.truncate(first_cell);
                    return Ok(Next::End);
                }
                ReadRecordResult::Record => {
                    records.cells.truncate(first_byte + n_bytes);
                    records.ends.truncate(first_cell + n_cells);
                    self.number += 1;
                    let at = At { number: self.number, line: Some(line) };
                    let is_open = is_end && n_quotes % 2 == 1;
                    let record = match () {
                        () if is_too_large => Record::TooLarge(at),
                        () if is_open => Record::OpenQuote(at),
                        () => Record::Cells { at, first_byte, cells: first_cell..first_cell + n_cells },
                    };
                    records.records.push(record);
                    return Ok(Next::Record);
                }
            }
        }
    }

    /// Goes to where the next record begins, so that its line is known.
    fn skip_line_ends(&mut self) -> Result<(), Refusal> {
        loop {
            let rest = &self.bytes[self.used..];
            let n_blank = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let n_lines = memchr::memchr_iter(b'\n', &rest[..n_blank]).count() as u64;
            self.used += n_blank;
            self.reader.set_line(self.reader.line() + n_lines);
            if n_blank < rest.len() {
                return Ok(());
            }
            self.bytes.clear();
            self.used = 0;
            if self.input.fill(&mut self.bytes, LOT_BYTES)? == 0 {
                return Ok(());
            }
        }
    }
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Record,
    End,
}

impl Cut for Table {
    fn cut(&mut self, _: &mut Vec<String>) -> Result<Option<Body>, Refusal> {
        if self.state == State::Ended {
            return Ok(None);
        }
        let mut records = Records::new(Arc::clone(&self.columns));
        records.cells.reserve(LOT_BYTES * 2);
        while records.cells.len() < LOT_BYTES {
            if self.record(&mut records)? == Next::End {
                self.state = State::Ended;
                break;
            }
        }
        if self.number == 0 {
            let what = "has no rows, only a header";
            return Err(Refusal::new(Code::EmptyFile, self.input.path(), what));
        }
        Ok((!records.records.is_empty()).then_some(Body::Table(records)))
    }
}
