//! What a data file holds, found out without a model: its facts, and single rows for a person to look at.
//!
//! Streams JSON Lines, so a file may be larger than memory. Whether a row fits a model's chat template and context is
//! judged later, with the model.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use ftl_core::dataset::{DatasetFacts, PreviewRow};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Event, Problem, ProblemKind, StopSignal};
use serde_json::Value;

use super::format::{Asked, FileFormat, RowLayout, SHOWN_ROWS, example};
use super::read::{Row, Rows, file_name};
use super::report::{CheckRequest, Fingerprint, check, plain, problems};

/// All rows of a preview together. Each gets a fair share of it, so that one huge row does not crowd out the others.
const PREVIEW_BYTES: usize = 2 << 20;

/// Reads the whole file and judges every row by `format`; `Auto` is found out from the file.
///
/// # Errors
/// The rows that can't be used, 20 of them one by one, and a file that can't be read or changes meanwhile.
pub fn survey(path: &Path, format: DataFormat) -> Result<DatasetFacts, Vec<Problem>> {
    let before = metadata(path).map_err(|problem| vec![problem])?;
    let data = plain([path.to_owned()], format);
    let request =
        CheckRequest { data: &data, model: None, train: None, seed: 0, fingerprint: Fingerprint::Sha256 };
    let report = check(&request, &mut |_: &Event| {}, &StopSignal::new())?;
    let problems = problems(&report);
    if !problems.is_empty() {
        return Err(problems);
    }
    let after = metadata(path).map_err(|problem| vec![problem])?;
    let is_same = before.len() == after.len()
        && match (before.modified(), after.modified()) {
            (Ok(before), Ok(after)) => before == after,
            // A file system that keeps no times.
            (Ok(_) | Err(_), Err(_)) | (Err(_), Ok(_)) => true,
        };
    let file = report.files.into_iter().next().expect("a file was named");
    match (file.format, file.sha256) {
        (Some(format), Some(sha256)) if is_same => {
            Ok(DatasetFacts { format, n_rows: file.rows.read, bytes: before.len(), sha256 })
        }
        (Some(_) | None, Some(_) | None) => {
            let message = format!("`{}` changed while it was read", file_name(path));
            let problem = Problem::new(ProblemKind::BadData, message).at(path.display().to_string());
            Err(vec![problem.hint("try again when nothing writes to it")])
        }
    }
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
pub(super) fn first_layout(path: &Path, asked: &Asked) -> Result<Option<RowLayout>, Problem> {
    let first: Vec<Row> = Rows::open(path)?.flatten().take(SHOWN_ROWS).collect();
    if first.is_empty() {
        return Ok(None);
    }
    let found = FileFormat::detect(first.iter().map(|row| &row.value), asked).map_err(|fault| {
        let problem = Problem::new(ProblemKind::BadData, format!("`{}` {fault}", file_name(path)));
        Problem { hint: fault.hint, ..problem.at(path.display().to_string()) }
    })?;
    Ok(Some(found.layout))
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
