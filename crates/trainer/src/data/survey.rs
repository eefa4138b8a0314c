//! What a data file holds, found out without a model: its facts, and single rows for a person to look at.
//!
//! Streams JSON Lines, so a file may be larger than memory. Whether a row fits a model's chat template and context is
//! judged later, with the model.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;
use std::thread;

use ftl_core::dataset::{DatasetFacts, PreviewRow};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Problem, ProblemKind};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::format::{Asked, RowLayout, SHOWN_ROWS, example};
use super::load::{LISTED_PROBLEMS, fault_of, found_layout};
use super::read::{Row, Rows, file_name};
use crate::sha256::hex;

/// All rows of a preview together. Each gets a fair share of it, so that one huge row does not crowd out the others.
const PREVIEW_BYTES: usize = 2 << 20;

/// Reads the whole file and judges every row by `format`; `Auto` is found out from the first row.
///
/// # Errors
/// The rows that can't be used, 20 of them one by one, and a file that can't be read or changes meanwhile.
pub fn survey(path: &Path, format: DataFormat) -> Result<DatasetFacts, Vec<Problem>> {
    let before = metadata(path).map_err(|problem| vec![problem])?;
    // Hashing takes about as long as reading the rows does.
    let (judged, hashed) = thread::scope(|scope| {
        let hashed = scope.spawn(|| hash(path));
        (judge(path, format), hashed.join().expect("hashing a file does not panic"))
    });
    let (format, n_rows) = judged?;
    let (sha256, bytes) = hashed.map_err(|error| vec![unread(path, &error)])?;
    let after = metadata(path).map_err(|problem| vec![problem])?;
    let is_same = bytes == before.len()
        && bytes == after.len()
        && match (before.modified(), after.modified()) {
            (Ok(before), Ok(after)) => before == after,
            // A file system that keeps no times.
            (Ok(_) | Err(_), Err(_)) | (Err(_), Ok(_)) => true,
        };
    if !is_same {
        let message = format!("`{}` changed while it was read", file_name(path));
        let problem = Problem::new(ProblemKind::BadData, message).at(path.display().to_string());
        return Err(vec![problem.hint("try again when nothing writes to it")]);
    }
    Ok(DatasetFacts { format, n_rows, bytes, sha256 })
}

/// At most `n_rows` rows after the one with number `after_row`, each with what is wrong with it.
///
/// # Errors
/// A file that can't be read, or that shows no format.
pub fn preview(
    path: &Path,
    format: DataFormat,
    (after_row, n_rows): (u64, u32),
) -> Result<Vec<PreviewRow>, Problem> {
    metadata(path)?;
    let layout = first_layout(path, &Asked::of(format))?;
    let mut rows = Rows::open(path)?;
    rows.skip_to(after_row)?;
    let mut shown = Vec::new();
    let mut budget = PREVIEW_BYTES;
    for rows_left in (1..=n_rows as usize).rev() {
        let Some(row) = rows.next() else { break };
        let (value, problem) = match row {
            Ok(row) => {
                let problem = layout.as_ref().and_then(|layout| example(&row.value, layout).err());
                (row.value, problem.map(|what| format!("{} {what}", row.place)))
            }
            Err(problem) => {
                let line = rows.line().unwrap_or_default().trim_ascii_end();
                (Value::String(String::from_utf8_lossy(line).into_owned()), Some(problem.message))
            }
        };
        let json = shortened(&value, budget / rows_left);
        budget -= json.len().min(budget);
        shown.push(PreviewRow { number: rows.number(), json, problem });
    }
    Ok(shown)
}

/// The row as JSON; one that is too long becomes a JSON string with its beginning.
fn shortened(value: &Value, limit: usize) -> String {
    let json = value.to_string();
    if json.len() <= limit {
        return json;
    }
    let beginning = match value {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => &json,
    };
    // Quotes and the like take two bytes again.
    let kept = beginning.floor_char_boundary((limit / 2).min(4096));
    Value::String(format!("{}… ({} bytes)", &beginning[..kept], beginning.len())).to_string()
}

/// The layout that the first rows show; `None` where no row is JSON.
fn first_layout(path: &Path, asked: &Asked) -> Result<Option<RowLayout>, Problem> {
    let first: Vec<Row> = Rows::open(path)?.flatten().take(SHOWN_ROWS).collect();
    if first.is_empty() { Ok(None) } else { found_layout(&first, asked).map(Some) }
}

/// The format and the number of rows.
fn judge(path: &Path, asked: DataFormat) -> Result<(DataFormat, u64), Vec<Problem>> {
    let layout = first_layout(path, &Asked::of(asked)).map_err(|problem| vec![problem])?;
    let (mut n_rows, mut problems, mut n_unlisted) = (0, Vec::new(), 0u64);
    for row in Rows::open(path).map_err(|problem| vec![problem])? {
        n_rows += 1;
        // Without a layout there is no row, only problems.
        let judged = row.and_then(|row| match &layout {
            Some(layout) => {
                example(&row.value, layout).map(|_| ()).map_err(|fault| fault_of(&row.place, fault))
            }
            None => Ok(()),
        });
        if let Err(problem) = judged {
            if problems.len() < LISTED_PROBLEMS {
                problems.push(problem);
            } else {
                n_unlisted += 1;
            }
        }
    }
    if n_unlisted > 0 {
        let what = if n_unlisted == 1 { "1 more row".to_owned() } else { format!("{n_unlisted} more rows") };
        let problem = Problem::new(ProblemKind::BadData, format!("{what} can't be used"));
        problems.push(problem.at(path.display().to_string()));
    }
    match layout {
        Some(layout) if problems.is_empty() => Ok((layout.format, n_rows)),
        Some(_) | None => Err(problems),
    }
}

/// Of a file; directories, pipes and devices are refused, since reading one may never end.
fn metadata(path: &Path) -> Result<Metadata, Problem> {
    let metadata = std::fs::metadata(path).map_err(|error| unread(path, &error))?;
    if metadata.is_file() {
        return Ok(metadata);
    }
    let message = format!("`{}` is not a file", file_name(path));
    Err(Problem::new(ProblemKind::BadData, message).at(path.display().to_string()).hint("name a data file"))
}

fn hash(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut n_bytes = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex(hash), n_bytes));
        }
        hash.update(&buffer[..n]);
        n_bytes += n as u64;
    }
}

fn unread(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("the file can't be read: {error}"))
        .at(path.display().to_string())
}
