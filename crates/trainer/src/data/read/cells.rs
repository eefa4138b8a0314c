//! From the cells of a table to JSON objects: texts, but lists and objects where a dataset has them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ftl_core::dataset::Code;
use serde_json::{Map, Value};

use super::lot::{At, too_large};
use super::{Fault, Refusal, file_name, json, keys};

/// Columns whose cells are lists or objects, written as JSON.
const JSON_COLUMNS: &[&str] = &[
    "messages",
    "conversations",
    "conversation",
    "tools",
    "functions",
    "history",
    "chosen_messages",
    "rejected_messages",
    "input_ids",
    "labels",
    "attention_mask",
    "chosen_input_ids",
    "rejected_input_ids",
];

/// Longest name of a column; beyond, the first line is a row.
const MAX_NAME_CHARS: usize = 200;

/// The names of a table's columns.
#[derive(Debug, Default)]
pub(super) struct Columns {
    names: Vec<String>,
}

/// Rows of a table as they are written, without quotes.
pub(super) struct Records {
    pub columns: Arc<Columns>,
    /// The cells of all rows, one after another.
    pub cells: Vec<u8>,
    /// Where cells end, from the first byte of their row on.
    pub ends: Vec<usize>,
    pub records: Vec<Record>,
}

/// A row.
pub(super) enum Record {
    /// It begins at this byte and has these cells.
    Cells {
        at: At,
        first_byte: usize,
        cells: Range<usize>,
    },
    TooLarge(At),
    /// The file ends within a quoted cell of it.
    OpenQuote(At),
}

impl Columns {
    /// The names in the first row of `header`.
    pub(super) fn of(path: &Path, header: &Records, notes: &mut Vec<String>) -> Result<Self, Refusal> {
        let bad = |what: String| {
            Refusal::new(Code::NotData, path, what)
                .hint("its first line has to name the columns, such as `prompt,completion`")
        };
        let cells: Vec<&[u8]> = match header.records.first() {
            Some(Record::Cells { first_byte, cells, at: _ }) => {
                header.cells_of(*first_byte, cells.clone()).collect()
            }
            Some(Record::TooLarge(_)) => return Err(bad("has a first line without an end".to_owned())),
            Some(Record::OpenQuote(_)) => {
                return Err(bad("has a quote in its header that is not closed".to_owned()));
            }
            None => return Err(Refusal::empty(path)),
        };
        let mut names = Vec::new();
        for (number, cell) in (1..).zip(cells) {
            let name = std::str::from_utf8(cell).map_err(|error| {
                let fault = json::not_utf8(cell, error.valid_up_to());
                Refusal::new(fault.code, path, format!("has a column {number} whose name {fault}"))
                    .hint("save it as UTF-8")
            })?;
            let name = name.trim();
            if name.chars().count() > MAX_NAME_CHARS || name.contains('\n') {
                let shown: String = name.chars().take(20).collect();
                return Err(bad(format!("begins with `{shown}…`, which is no name of a column")));
            }
            names.push(name.to_owned());
        }
        if names.iter().all(String::is_empty) {
            return Err(bad("names no columns in its first line".to_owned()));
        }
        for (index, name) in names.iter().enumerate() {
            if !name.is_empty() && names[..index].contains(name) {
                return Err(bad(format!("has two columns named `{name}`")));
            }
        }
        for (number, name) in (1..).zip(&mut names) {
            if name.is_empty() {
                *name = format!("column {number}");
                let file = file_name(path);
                notes.push(format!("column {number} of `{file}` has no name and is called `{name}`"));
            }
        }
        Ok(Self { names })
    }
}

impl Records {
    pub(super) fn new(columns: Arc<Columns>) -> Self {
        Self { columns, cells: Vec::new(), ends: Vec::new(), records: Vec::new() }
    }

    /// The number of the last row.
    pub(super) fn last_number(&self) -> u64 {
        match self.records.last() {
            Some(Record::Cells { at, .. } | Record::TooLarge(at) | Record::OpenQuote(at)) => at.number,
            None => 0,
        }
    }

    /// Each row as a JSON object, and how it is written.
    pub(super) fn rows(&self) -> impl Iterator<Item = (At, Result<Value, Fault>, &[u8])> {
        self.records.iter().map(|record| match record {
            Record::TooLarge(at) => (*at, Err(too_large()), &b""[..]),
            Record::OpenQuote(at) => {
                let what = "begins a quoted cell that no quote ends, so that the rest of the file is in it";
                (*at, Err(Fault::new(Code::WrongTable, what)), &b""[..])
            }
            Record::Cells { at, first_byte, cells } => {
                let n_bytes = cells.clone().next_back().map_or(0, |last| self.ends[last]);
                let written = &self.cells[*first_byte..first_byte + n_bytes];
                (*at, self.object(*first_byte, cells.clone()), written)
            }
        })
    }

    fn cells_of(&self, first_byte: usize, cells: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let ends = &self.ends[cells];
        let starts = [0].into_iter().chain(ends.iter().copied());
        starts.zip(ends).map(move |(start, end)| &self.cells[first_byte + start..first_byte + end])
    }

    fn object(&self, first_byte: usize, cells: Range<usize>) -> Result<Value, Fault> {
        let names = &self.columns.names;
        if cells.len() != names.len() {
            let count =
                |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
            let what =
                format!("has {}, its table has {}", count(cells.len(), "cell"), count(names.len(), "column"));
            return Err(Fault::new(Code::WrongTable, what));
        }
        let mut object = Map::with_capacity(names.len());
        for (name, cell) in names.iter().zip(self.cells_of(first_byte, cells)) {
            let text = std::str::from_utf8(cell).map_err(|error| {
                let fault = json::not_utf8(cell, error.valid_up_to());
                Fault::new(fault.code, format!("has a cell `{name}` that {fault}"))
            })?;
            object.insert(name.clone(), value(name, text.to_owned())?);
        }
        Ok(Value::Object(object))
    }
}

/// What a text in a column says.
pub(super) fn value(name: &str, text: String) -> Result<Value, Fault> {
    let trimmed = text.trim();
    if !trimmed.starts_with(['[', '{']) {
        return Ok(Value::String(text));
    }
    let is_json_column = JSON_COLUMNS.contains(&name.to_lowercase().as_str());
    let has_messages =
        trimmed.starts_with('[') && keys::is_message(&keys::of_first_element(&trimmed.as_bytes()[1..]));
    if !is_json_column && !has_messages {
        if is_python(trimmed) {
            return Err(python(name));
        }
        return Ok(Value::String(text));
    }
    match json::parse(trimmed.as_bytes(), None) {
        Ok(value) => Ok(value),
        Err(_) if is_python(trimmed) => Err(python(name)),
        Err(fault) => Err(Fault::new(fault.code, format!("has a cell `{name}` that {fault}"))),
    }
}

/// Whether a cell holds messages as Python prints them, which pandas does when it writes lists to CSV.
fn is_python(text: &str) -> bool {
    ["{'role'", "{'from'", "{'content'", "{'value'"]
        .iter()
        .any(|start| text.strip_prefix('[').unwrap_or(text).trim_start().starts_with(start))
}

fn python(name: &str) -> Fault {
    let what = format!(
        "has `{name}` as Python prints lists, with single quotes; write it with `json.dumps`, or save Parquet or JSON Lines"
    );
    Fault::new(Code::NotJson, what)
}
