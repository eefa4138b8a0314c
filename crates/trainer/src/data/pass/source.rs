//! Where lots of rows come from: the seam between the pass, the readers and the formats.

use ftl_core::Problem;
use ftl_core::dataset::{Code, Layout};
use serde_json::Value;
use std::path::Path;

use crate::data::fault::Fault;
use crate::data::format::{self, Asked, Example, FileFormat, RowLayout, SHOWN_ROWS};
use crate::data::read::{self, Lot, Place, Refusal, file_name};

/// What is known of a file before its first row is judged.
#[derive(Clone, Debug)]
pub struct Opened {
    /// How rows lie in it.
    pub layout: Layout,
    /// The format that its rows are read as.
    pub format: FileFormat,
}

/// Why a file can't be read, or not any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The end of a sentence that begins with the file's name.
    pub fault: Fault,
    /// The line where it breaks off, where that is known.
    pub line: Option<u64>,
}

/// A row as it was read.
pub(super) type Raw = (Place, Result<Value, Fault>);

/// Rows that are judged by one thread.
pub(super) enum Portion {
    /// Not parsed yet.
    Lot(Lot),
    /// The first of a file, which were looked at to see its format.
    Parsed(Vec<Raw>),
}

impl Portion {
    /// The rows, in order.
    pub(super) fn rows(self) -> Vec<Raw> {
        match self {
            Self::Lot(lot) => lot.rows(),
            Self::Parsed(rows) => rows,
        }
    }
}

/// A file that is read in portions.
pub(super) struct Source {
    reader: read::Opened,
    /// Looked at already.
    first: Vec<Portion>,
    broken: Option<Broken>,
}

/// Lots that are looked at to see a file's format: where rows are large, fewer of them have to do.
const SHOWN_LOTS: usize = 4;

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Broken> {
        let reader = read::open(path).map_err(|refusal| broken(path, refusal))?;
        Ok(Self { reader, first: Vec::new(), broken: None })
    }

    /// What the first rows say of the file.
    pub(super) fn opened(&mut self, path: &Path, asked: &Asked) -> Result<Opened, Broken> {
        let mut shown: Vec<Vec<Raw>> = Vec::new();
        while shown.len() < SHOWN_LOTS && shown.iter().map(Vec::len).sum::<usize>() < SHOWN_ROWS {
            match self.reader.next() {
                None => break,
                Some(Ok(lot)) => shown.push(lot.rows()),
                Some(Err(refusal)) => {
                    self.broken = Some(broken(path, refusal));
                    break;
                }
            }
        }
        let rows: Vec<&Value> = shown.iter().flatten().filter_map(|(_, row)| row.as_ref().ok()).collect();
        let format = if rows.is_empty() {
            // Then every row says itself why it can't be read.
            FileFormat {
                layout: asked.layout(asked.format),
                confidence: 0.0,
                others: Vec::new(),
                notes: Vec::new(),
            }
        } else {
            FileFormat::detect(rows, asked).map_err(|fault| Broken { fault, line: None })?
        };
        self.first = shown.into_iter().map(Portion::Parsed).collect();
        Ok(Opened { layout: self.reader.layout, format })
    }

    /// The next portions, at most so many; none: it is at its end.
    pub(super) fn portions(&mut self, path: &Path, most: usize) -> Vec<Portion> {
        if !self.first.is_empty() {
            return std::mem::take(&mut self.first);
        }
        let mut portions = Vec::new();
        while portions.len() < most && self.broken.is_none() {
            match self.reader.next() {
                None => break,
                Some(Ok(lot)) => portions.push(Portion::Lot(lot)),
                Some(Err(refusal)) => self.broken = Some(broken(path, refusal)),
            }
        }
        portions
    }

    /// What was done to read it, and why it can't be read any further.
    pub(super) fn closed(self) -> (Vec<String>, Option<Broken>) {
        (self.reader.notes, self.broken)
    }
}

fn broken(path: &Path, refusal: Refusal) -> Broken {
    let Refusal { code, problem } = refusal;
    let name = format!("`{}` ", file_name(path));
    let what = problem.message.strip_prefix(&name).or_else(|| problem.message.strip_prefix("the file "));
    let what = what.unwrap_or(&problem.message).to_owned();
    // `path:line`, where there is a line.
    let place =
        problem.field.as_deref().and_then(|field| field.strip_prefix(path.to_str()?)?.strip_prefix(':'));
    Broken { fault: Fault { code, what, hint: problem.hint }, line: place.and_then(|line| line.parse().ok()) }
}

/// A folder, or a pattern, that names no data.
pub(super) fn broken_folder(path: &Path, problem: Problem) -> Broken {
    let refusal = Refusal { code: Code::UnreadableFile, problem };
    let Broken { fault, line } = broken(path, refusal);
    let folder = format!("the folder `{}` ", file_name(path));
    let what = fault.what.strip_prefix(&folder).unwrap_or(&fault.what).to_owned();
    Broken { fault: Fault { what, ..fault }, line }
}

/// A row as an example; what is no error goes to `faults`.
pub(super) fn example(
    row: Result<Value, Fault>,
    layout: &RowLayout,
    faults: &mut Vec<Fault>,
) -> Result<Example, Fault> {
    let (example, mut notices) = format::example(&row?, layout)?;
    faults.append(&mut notices);
    Ok(example)
}
