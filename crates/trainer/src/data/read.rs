//! Dataset files: JSON Lines, JSON arrays and plain text.
//!
//! What a file is follows from its content, not its name (except for .txt). JSON Lines are streamed; an array is
//! held in memory. Knows JSON values and lines, not formats.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};
use serde_json::Value;

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// What it says. The content of a text file is `{"text": …}`.
    pub value: Value,
}

/// Where a row stands. Written as ``row 7 of `train.jsonl` ``; in JSON Lines the number is that of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Counts from 1.
    pub number: u64,
}

impl Place {
    /// A problem with this row; `what` ends the sentence that begins with its name.
    pub fn problem(&self, what: impl fmt::Display) -> Problem {
        Problem::new(ProblemKind::BadData, format!("{self} {what}")).at(self.at())
    }

    /// `path:number`, as editors understand it.
    pub fn at(&self) -> String {
        format!("{}:{}", self.path.display(), self.number)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} of `{}`", self.number, file_name(&self.path))
    }
}

/// The rows of a file. A bad line is a problem and the next line follows; a bad file is one problem.
pub struct Rows {
    path: PathBuf,
    source: Source,
}

enum Source {
    Lines { reader: BufReader<File>, number: u64, line: Vec<u8>, any: bool },
    Values { values: std::vec::IntoIter<Value>, number: u64 },
    Done,
}

/// Longest line that is read, so that a file without line ends is refused and not held in memory.
const LONGEST_LINE_BYTES: u64 = 1 << 30;
/// How much of a file is looked at to see what it is.
const SNIFFED_BYTES: usize = 4096;

impl Rows {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`ProblemKind::NotFound`], [`ProblemKind::NotAvailable`] or [`ProblemKind::BadData`], naming the file.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let source = open(path)?;
        Ok(Self { path: path.to_owned(), source })
    }

    /// The number of the row that was given last, or 0 before the first. Also that of a row that could not be read.
    pub fn number(&self) -> u64 {
        match &self.source {
            Source::Lines { number, .. } | Source::Values { number, .. } => *number,
            Source::Done => 0,
        }
    }

    /// The line that the last row was read from; `None` where the file has no rows by the line.
    pub fn line(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Lines { line, .. } => Some(line),
            Source::Values { .. } | Source::Done => None,
        }
    }

    /// Leaves out all rows up to this number, without judging them.
    ///
    /// # Errors
    /// A file that can't be read any further.
    pub fn skip_to(&mut self, last: u64) -> Result<(), Problem> {
        match &mut self.source {
            Source::Done => {}
            Source::Values { values, number } => {
                while *number < last && values.next().is_some() {
                    *number += 1;
                }
            }
            Source::Lines { reader, number, line, any } => {
                while *number < last {
                    line.clear();
                    if read_line(&self.path, reader, line)? == 0 {
                        break;
                    }
                    *number += 1;
                    *any = true;
                }
            }
        }
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Done => None,
            Source::Values { values, number } => {
                *number += 1;
                let place = Place { path: self.path.clone(), number: *number };
                values.next().map(|value| Ok(Row { place, value }))
            }
            Source::Lines { reader, number, line, any } => {
                let next = next_line(&self.path, reader, (number, line));
                match &next {
                    Some(Ok(_)) => *any = true,
                    Some(Err(_)) => *any = true,
                    None if *any => {}
                    None => {
                        self.source = Source::Done;
                        return Some(Err(empty(&self.path)));
                    }
                }
                next
            }
        }
    }
}

fn open(path: &Path) -> Result<Source, Problem> {
    let file = File::open(path).map_err(|error| {
        let kind = ProblemKind::NotFound;
        Problem::new(kind, format!("the file can't be read: {error}")).at(path.display().to_string())
    })?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut head = Vec::new();
    reader
        .by_ref()
        .take(SNIFFED_BYTES as u64)
        .read_to_end(&mut head)
        .map_err(|error| unread(path, &error))?;
    refuse_strangers(path, &head)?;
    let mark = if head.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    rewind(path, &mut reader, mark)?;

    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("").to_lowercase();
    if matches!(extension.as_str(), "txt" | "text" | "md") {
        let text = read_all(path, &mut reader)?;
        if text.trim().is_empty() {
            return Err(empty(path));
        }
        let values = vec![serde_json::json!({"text": text.replace("\r\n", "\n")})].into_iter();
        return Ok(Source::Values { values, number: 0 });
    }
    let first = loop {
        let mut line = Vec::new();
        if read_line(path, &mut reader, &mut line)? == 0 {
            return Err(empty(path));
        }
        if !line.trim_ascii().is_empty() {
            break line;
        }
    };
    let is_array = match first.trim_ascii() {
        // Each line may be a list of messages, or the first line the beginning of one array.
        line if line.starts_with(b"[") => {
            serde_json::from_slice::<Value>(line).is_err() || is_last(path, &mut reader)?
        }
        b"{" => {
            return Err(bad(
                path,
                "is one JSON object over several lines; expected one object per line, or an array",
            ));
        }
        line if line.starts_with(b"{") => false,
        line => {
            let shown: String = String::from_utf8_lossy(line).chars().take(20).collect();
            return Err(bad(
                path,
                &format!("is neither JSON Lines nor a JSON array; it begins with `{shown}`"),
            )
            .hint("one JSON object per line, one JSON array of objects, or a .txt file"));
        }
    };
    rewind(path, &mut reader, mark)?;
    if !is_array {
        return Ok(Source::Lines { reader, number: 0, line: Vec::new(), any: false });
    }
    let text = read_all(path, &mut reader)?;
    match serde_json::from_str::<Vec<Value>>(&text) {
        Ok(values) if values.is_empty() => Err(empty(path)),
        Ok(values) => Ok(Source::Values { values: values.into_iter(), number: 0 }),
        Err(error) => Err(bad(path, &format!("is not valid JSON: {error}")).at(format!(
            "{}:{}",
            path.display(),
            error.line()
        ))),
    }
}

fn next_line(
    path: &Path,
    reader: &mut BufReader<File>,
    (number, line): (&mut u64, &mut Vec<u8>),
) -> Option<Result<Row, Problem>> {
    loop {
        line.clear();
        match read_line(path, reader, line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(problem) => return Some(Err(problem)),
        }
        *number += 1;
        if !line.trim_ascii().is_empty() {
            break;
        }
    }
    let place = Place { path: path.to_owned(), number: *number };
    Some(match std::str::from_utf8(line) {
        Err(error) => Err(place.problem(format_args!("is not UTF-8 at byte {}", error.valid_up_to() + 1))),
        Ok(text) => match serde_json::from_str(text.trim_ascii_end()) {
            Ok(value) => Ok(Row { place, value }),
            Err(error) => {
                // serde_json counts lines within the row.
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default().to_owned();
                Err(place.problem(format_args!("is not valid JSON: {what} at column {}", error.column())))
            }
        },
    })
}

/// Reads up to a line end, which is kept; 0 bytes: the end.
fn read_line(path: &Path, reader: &mut BufReader<File>, line: &mut Vec<u8>) -> Result<usize, Problem> {
    let n_bytes = reader
        .by_ref()
        .take(LONGEST_LINE_BYTES)
        .read_until(b'\n', line)
        .map_err(|error| unread(path, &error))?;
    if n_bytes as u64 == LONGEST_LINE_BYTES {
        return Err(bad(path, "has a line of more than a gigabyte"));
    }
    Ok(n_bytes)
}

fn is_last(path: &Path, reader: &mut BufReader<File>) -> Result<bool, Problem> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if read_line(path, reader, &mut line)? == 0 {
            return Ok(true);
        }
        if !line.trim_ascii().is_empty() {
            return Ok(false);
        }
    }
}

fn read_all(path: &Path, reader: &mut BufReader<File>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|error| unread(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        bad(path, &format!("is not UTF-8 in line {line}")).at(format!("{}:{line}", path.display()))
    })
}

fn rewind(path: &Path, reader: &mut BufReader<File>, offset: u64) -> Result<(), Problem> {
    reader.seek(std::io::SeekFrom::Start(offset)).map(|_| ()).map_err(|error| unread(path, &error))
}

/// Refuses what is often found under the name of a dataset.
fn refuse_strangers(path: &Path, head: &[u8]) -> Result<(), Problem> {
    let is_text = |word: &[u8]| head.trim_ascii_start().to_ascii_lowercase().starts_with(word);
    let name = path.to_string_lossy().to_lowercase();
    let later = |what: &str| {
        let message = format!("`{}` is {what}, which this version does not read yet", file_name(path));
        Problem::new(ProblemKind::NotAvailable, message)
            .at(path.display().to_string())
            .hint("convert it to JSON Lines")
    };
    if head.starts_with(&[0x1F, 0x8B]) {
        return Err(later("compressed with gzip"));
    }
    if head.starts_with(b"PAR1") {
        return Err(later("a Parquet file"));
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
        return Err(bad(path, "is a compressed archive").hint("unpack it first"));
    }
    if head.starts_with(&[0xFF, 0xFE])
        || head.starts_with(&[0xFE, 0xFF])
        || head.iter().take(64).any(|byte| *byte == 0)
    {
        let is_utf16 = head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]);
        let what = if is_utf16 { "is UTF-16" } else { "is not text: it has zero bytes" };
        return Err(bad(path, what).hint("save it as UTF-8"));
    }
    if head.starts_with(b"version https://git-lfs") {
        return Err(
            bad(path, "is a git-lfs pointer, not the data itself").hint("fetch it with `git lfs pull`")
        );
    }
    if is_text(b"<!doctype") || is_text(b"<html") {
        return Err(
            bad(path, "is a web page, not data: a download may have failed").hint("download it again")
        );
    }
    if name.ends_with(".csv") || name.ends_with(".tsv") {
        return Err(later("a table of comma or tab separated values"));
    }
    Ok(())
}

fn empty(path: &Path) -> Problem {
    bad(path, "is empty")
}

fn bad(path: &Path, what: &str) -> Problem {
    Problem::new(ProblemKind::BadData, format!("`{}` {what}", file_name(path))).at(path.display().to_string())
}

fn unread(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("the file can't be read: {error}"))
        .at(path.display().to_string())
}

/// The last part of a path.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
