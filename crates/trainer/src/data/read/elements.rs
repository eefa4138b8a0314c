//! Cuts JSON that is not by the line: the elements of one array, or values one after another. Elements are found without
//! parsing them, so an array may be larger than memory, and a bad element is a bad row and no more.

use std::mem;

use ftl_core::dataset::Code;

use super::limits::{LOT_BYTES, MAX_ROW_BYTES};
use super::lot::{At, Body, Span, Wrapping};
use super::scan::Scan;
use super::stream::{Cut, Input};
use super::{Refusal, columnar, file_name, json, keys};

/// What is around the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// Nothing: values one after another.
    Nothing,
    /// The brackets of an array, which is the whole file.
    Array,
    /// The brackets of an array within an object.
    Object,
}

/// The elements of a file.
pub(super) struct Elements {
    input: Input,
    around: Around,
    wrapping: Wrapping,
    /// Read and not given; begins with an element or before one.
    carry: Vec<u8>,
    /// The line that `carry` begins in.
    line: u64,
    /// Elements so far.
    number: u64,
    comma: Comma,
    state: State,
}

/// What stands before the next element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comma {
    /// It is the first.
    NotNeeded,
    Needed,
    Seen,
}

enum State {
    Within,
    /// This is to be said after the last lot.
    Fails(Refusal),
    Ended,
}

impl Elements {
    /// `input` begins after the opening bracket, in `line`.
    pub(super) fn new(input: Input, (around, wrapping): (Around, Wrapping), line: u64) -> Self {
        Self {
            input,
            around,
            wrapping,
            carry: Vec::new(),
            line,
            number: 0,
            comma: Comma::NotNeeded,
            state: State::Within,
        }
    }

    /// Goes over what is between elements; says what follows it.
    fn between(&mut self, bytes: &[u8], at: &mut usize) -> Result<Between, Refusal> {
        while let Some(byte) = bytes.get(*at) {
            match (byte, self.around) {
                (b' ' | b'\t' | b'\n' | b'\r', _) => {}
                (b',', Around::Array | Around::Object) if self.comma == Comma::Needed => {
                    self.comma = Comma::Seen
                }
                (b',', Around::Array | Around::Object) => {
                    return Err(self.bad(&bytes[..*at], "has a comma too many"));
                }
                (b']', Around::Array | Around::Object) => return Ok(Between::Bracket),
                _ if self.around != Around::Nothing && self.comma == Comma::Needed => {
                    let refusal = self.bad(&bytes[..*at], "has no comma between two rows of its array");
                    return Err(refusal.hint("without the first `[` and the last `]` it may be JSON Lines"));
                }
                _ => return Ok(Between::Element),
            }
            *at += 1;
        }
        Ok(Between::Unknown)
    }

    /// The file is no JSON after `before`, which the carry began with.
    fn bad(&self, before: &[u8], what: &str) -> Refusal {
        let line = self.line + newlines(before);
        let path = self.input.path();
        let what = format!("{what}, after row {} in line {line}", self.number);
        Refusal::new(Code::NotJson, path, what).in_line(path, line)
    }

    /// After the closing bracket.
    fn close(&mut self, bytes: &[u8], at: usize, notes: &mut Vec<String>) -> Result<(), Refusal> {
        let name = file_name(self.input.path());
        if self.comma == Comma::Seen {
            notes.push(format!(
                "`{name}` has a comma after its last row, which is not valid JSON; it is ignored"
            ));
        }
        match self.around {
            Around::Nothing => {}
            Around::Array => {
                let mut rest = bytes[at..].to_vec();
                loop {
                    if !rest.trim_ascii().is_empty() {
                        let refusal = self.bad(&bytes[..at], "goes on after the end of its array");
                        return Err(refusal.hint("several arrays in one file can't be read; make it one"));
                    }
                    rest.clear();
                    if self.input.fill(&mut rest, LOT_BYTES)? == 0 {
                        break;
                    }
                }
            }
            Around::Object => {
                let mut rest = bytes[at..].to_vec();
                while rest.len() <= LOT_BYTES && self.input.fill(&mut rest, LOT_BYTES)? > 0 {}
                notes.extend(keys::of_more_rows(&rest).iter().map(|key| not_read(&name, key)));
                if rest.len() > LOT_BYTES {
                    notes.push(format!("what comes after the rows of `{name}` is not read"));
                } else if Scan::default().end(&[b"{", &rest[..]].concat()).is_none() {
                    let refusal = self.bad(&bytes[..at], "is cut off: its object does not end");
                    return Err(refusal.hint("download or write it again"));
                }
            }
        }
        Ok(())
    }

    /// Reads over the rest of an element that is too large; keeps what follows it.
    fn skip_element(&mut self, mut scan: Scan) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if self.input.fill(&mut bytes, LOT_BYTES)? == 0 {
                return Ok(());
            }
            if let Some(end) = scan.end(&bytes) {
                self.line += newlines(&bytes[..end]);
                self.carry = bytes.split_off(end);
                return Ok(());
            }
            self.line += newlines(&bytes);
        }
    }

    /// The end of the file, `at` which an element or a bracket is missing.
    fn cut_off(&self, before: &[u8]) -> Option<Refusal> {
        match self.around {
            Around::Nothing => None,
            Around::Array | Around::Object => Some(self.bad(before, "is cut off: its array does not end")),
        }
    }
}

/// What is said of a key with rows beside the one that is read.
pub(super) fn not_read(name: &str, key: &str) -> String {
    format!("`{name}` has rows under `{key}` too, which are not read; save them as a file of their own")
}

enum Between {
    Element,
    Bracket,
    /// More has to be read.
    Unknown,
}

impl Cut for Elements {
    fn cut(&mut self, notes: &mut Vec<String>) -> Result<Option<Body>, Refusal> {
        match mem::replace(&mut self.state, State::Within) {
            State::Within => {}
            State::Ended => {
                self.state = State::Ended;
                return Ok(None);
            }
            State::Fails(refusal) => {
                self.state = State::Ended;
                return Err(refusal);
            }
        }
        let mut bytes = mem::take(&mut self.carry);
        let mut spans = Vec::new();
        // `line` is that of `counted`.
        let (mut at, mut counted, mut line) = (0, 0, self.line);
        // How much of `bytes` belongs to the lot.
        let end_of_lot = loop {
            match self.between(&bytes, &mut at) {
                Err(refusal) => {
                    self.state = State::Fails(refusal);
                    break at;
                }
                Ok(Between::Bracket) => {
                    self.state = match self.close(&bytes, at + 1, notes) {
                        Ok(()) => State::Ended,
                        Err(refusal) => State::Fails(refusal),
                    };
                    break at;
                }
                Ok(Between::Unknown) => {
                    if at >= LOT_BYTES && !spans.is_empty() {
                        break at;
                    }
                    if self.input.fill(&mut bytes, LOT_BYTES)? == 0 {
                        self.state = self.cut_off(&bytes).map_or(State::Ended, State::Fails);
                        break at;
                    }
                    continue;
                }
                Ok(Between::Element) => {}
            }
            let start = at;
            if start >= LOT_BYTES && !spans.is_empty() {
                break start;
            }
            line += newlines(&bytes[counted..start]);
            counted = start;
            let (mut scan, mut scanned) = (Scan::default(), start);
            let end = loop {
                if let Some(n_bytes) = scan.end(&bytes[scanned..]) {
                    break Some(scanned + n_bytes);
                }
                scanned = bytes.len();
                if !spans.is_empty() && scanned >= LOT_BYTES {
                    // Goes to the next lot, from its start.
                    break None;
                }
                if scanned - start > MAX_ROW_BYTES {
                    // It is the only one: with others in the lot it would have gone to the next.
                    self.number += 1;
                    self.comma = Comma::Needed;
                    self.line = line + newlines(&bytes[counted..]);
                    self.skip_element(scan)?;
                    return Ok(Some(Body::TooLarge(At { number: self.number, line: Some(line) })));
                }
                if self.input.fill(&mut bytes, LOT_BYTES)? == 0 {
                    let is_whole = scan.may_end() && self.around == Around::Nothing;
                    if !is_whole {
                        // The end of the element is missing; as a row it says so.
                        self.state = self.cut_off(&bytes).map_or(State::Ended, State::Fails);
                    }
                    break Some(bytes.len());
                }
            };
            let Some(end) = end else { break start };
            self.number += 1;
            self.comma = Comma::Needed;
            spans.push(Span { start, end, at: At { number: self.number, line: Some(line) } });
            at = end;
            if !matches!(self.state, State::Within) {
                break end;
            }
        };
        self.carry = bytes.split_off(end_of_lot);
        self.line = line + newlines(&bytes[counted..]);
        if spans.is_empty() {
            return match mem::replace(&mut self.state, State::Ended) {
                State::Fails(refusal) => Err(refusal),
                State::Within | State::Ended if self.number == 0 => Err(Refusal::empty(self.input.path())),
                State::Within | State::Ended => Ok(None),
            };
        }
        if self.around == Around::Nothing
            && self.number == 1
            && matches!(self.state, State::Ended)
            && let Some(rows) = table(&bytes[spans[0].start..spans[0].end])
        {
            let (name, n_rows) = (file_name(self.input.path()), rows.len());
            notes.push(format!("`{name}` is a table written by columns, which was read as {n_rows} rows"));
            let at = |number| At { number, line: None };
            return Ok(Some(Body::Values((1..).map(at).zip(rows).collect())));
        }
        Ok(Some(Body::Elements { bytes, spans, wrapping: self.wrapping }))
    }
}

/// The rows of an object that is the whole file, if it holds a table.
fn table(written: &[u8]) -> Option<Vec<serde_json::Value>> {
    columnar::rows(&json::parse(written, None).ok()?)
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
