//! Rows of a data file for a person to look at, each with what is wrong with it.
//!
//! Streams, so a file may be larger than memory. What all rows come to is the [report](super::report)'s business, and how a
//! model sees one [`render`](super::render)'s.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use ftl_core::dataset::PreviewRow;
use ftl_core::spec::Columns;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Problem, ProblemKind};
use serde_json::Value;

use super::fault::Fault;
use super::format::{Asked, FileFormat, RowLayout, SHOWN_ROWS, Source, example};
use super::read::{Row, Rows, file_name};

/// All rows of a preview together. Each gets a fair share of it, so that one huge row does not crowd out the others.
const PREVIEW_BYTES: usize = 2 << 20;

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
    let source = Source::of(path, None, format, &Columns::default()).map_err(|fault| named(path, fault))?;
    let layout = first_layout(path, &source.asked)?;
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
    if first.is_empty() {
        return Ok(None);
    }
    let found = FileFormat::detect(first.iter().map(|row| &row.value), asked);
    Ok(Some(found.map_err(|fault| named(path, fault))?.layout))
}

fn named(path: &Path, fault: Fault) -> Problem {
    let problem = Problem::new(ProblemKind::BadData, format!("`{}` {fault}", file_name(path)));
    Problem { hint: fault.hint, ..problem.at(path.display().to_string()) }
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

fn unread(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("the file can't be read: {error}"))
        .at(path.display().to_string())
}
