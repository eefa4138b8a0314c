//! Where lots of rows come from: the seam between the pass, the readers and the formats.

use std::path::{Path, PathBuf};

use ftl_core::dataset::{Code, Layout};
use serde_json::Value;

use crate::data::fault::Fault;
use crate::data::format::{self, Asked, Example, FileFormat, RowLayout};
use crate::data::read::{Rows, file_name};
use ftl_core::{Problem, ProblemKind};

/// What is known of a file before its first row is judged.
#[derive(Clone, Debug)]
pub struct Opened {
    /// How rows lie in it.
    pub layout: Option<Layout>,
    /// The format that its rows are read as.
    pub format: FileFormat,
    /// What was done to read it, one sentence each.
    pub notes: Vec<String>,
}

/// A row as it was read.
pub(super) struct Raw {
    pub(super) number: u64,
    pub(super) line: Option<u64>,
    pub(super) value: Result<Value, Fault>,
}

/// A file that is read in lots.
pub(super) struct Source {
    rows: Rows,
    path: PathBuf,
    left: u64,
    fault: Option<Fault>,
}

/// Rows of a lot: between two of them progress is told and a stop is heeded.
const LOT_ROWS: usize = 2048;

impl Source {
    pub(super) fn open(path: &Path, max_rows: u64) -> Result<Self, Fault> {
        let name = format!("`{}` ", file_name(path));
        let refused = |problem: Problem| {
            let Problem { kind, message, hint, .. } = problem;
            let fault = match (kind, message.strip_prefix(&name)) {
                (ProblemKind::NotFound, _) => {
                    Fault::new(Code::UnreadableFile, message.trim_start_matches("the file "))
                }
                (_, Some("is empty")) => Fault::new(Code::EmptyFile, "is empty"),
                (_, what) => Fault::new(Code::NotData, what.unwrap_or(&message)),
            };
            Fault { hint, ..fault }
        };
        let rows = Rows::open(path).map_err(refused)?;
        Ok(Self { rows, path: path.to_owned(), left: max_rows, fault: None })
    }

    /// The next rows; none: it is at its end.
    pub(super) fn lot(&mut self) -> Vec<Raw> {
        let mut lot = Vec::new();
        while lot.len() < LOT_ROWS && self.left > 0 {
            let Some(row) = self.rows.next() else { break };
            let number = self.rows.number();
            let name = format!("row {number} of `{}` ", file_name(&self.path));
            let value = row.map(|row| row.value).map_err(|problem| {
                let what = problem.message.strip_prefix(&name).unwrap_or(&problem.message);
                let code = if what.starts_with("is not UTF-8") { Code::NotUtf8 } else { Code::NotJson };
                Fault::new(code, what)
            });
            if let (Err(fault), 0) = (&value, number) {
                self.fault = Some(Fault::new(Code::EmptyFile, "is empty"));
                debug_assert!(!fault.what.is_empty(), "a fault says something");
                break;
            }
            self.left -= 1;
            lot.push(Raw { number, line: None, value });
        }
        lot
    }

    /// What the first rows say of the file.
    pub(super) fn opened(&self, first: &[Raw], asked: &Asked) -> Result<Opened, Fault> {
        let rows: Vec<&Value> = first.iter().filter_map(|raw| raw.value.as_ref().ok()).collect();
        let format = if rows.is_empty() {
            // Then every row says itself why it can't be read.
            FileFormat {
                layout: asked.layout(asked.format),
                confidence: 0.0,
                others: Vec::new(),
                notes: Vec::new(),
            }
        } else {
            FileFormat::detect(rows, asked)?
        };
        Ok(Opened { layout: None, format, notes: Vec::new() })
    }

    /// Why it can't be read any further.
    pub(super) fn fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }
}

/// A row as an example; what is no error goes to `faults`.
pub(super) fn read(raw: Raw, layout: &RowLayout, faults: &mut Vec<Fault>) -> Result<Example, Fault> {
    let (example, mut notices) = format::example(&raw.value?, layout)?;
    faults.append(&mut notices);
    Ok(example)
}
