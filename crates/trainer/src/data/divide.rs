//! The rows of a data file in two new ones: what is trained on, and what is held out. Both are JSON Lines, whatever the
//! file was, and rows keep their order.
//!
//! By fraction, the side of a row follows from its content as in [`holdout`](super::holdout): the files hold what
//! `data.eval.fraction` with the same seed would train on and hold out. Reads the file twice rather than keep anything of
//! its rows.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use ftl_core::dataset::SplitBy;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{Problem, ProblemKind};
use serde_json::Value;

use super::format::{Asked, RowLayout, example};
use super::holdout::score;
use super::judge::Content;
use super::read::{Row, Rows, expand, file_name};
use super::survey::first_layout;

/// How many rows went where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Divided {
    /// Rows to train on.
    pub train: u64,
    /// Rows that are held out.
    pub eval: u64,
}

/// Divides the rows at `path`, a file or folder. `train` and `eval` must not be there yet.
///
/// # Errors
/// A row or file that can't be read, files that can't be written, and a side that would be empty.
pub fn divide(
    path: &Path,
    format: DataFormat,
    by: SplitBy,
    (train, eval): (&Path, &Path),
) -> Result<Divided, Problem> {
    let (files, _) = expand(path)?;
    let mut layouts = Vec::new();
    for file in &files {
        layouts.push(first_layout(file, &Asked::of(format))?);
    }
    let rows = || {
        files.iter().zip(&layouts).flat_map(|(file, layout)| {
            let rows: Box<dyn Iterator<Item = Result<Row, Problem>>> = match Rows::open(file) {
                Ok(rows) => Box::new(rows),
                Err(problem) => Box::new(std::iter::once(Err(problem))),
            };
            rows.map(move |row| Ok::<_, Problem>((row?, layout.as_ref())))
        })
    };
    let side = Side::choose(by, rows(), path)?;
    let mut outputs = [Output::make(train)?, Output::make(eval)?];
    for (index, row) in (0..).zip(rows()) {
        let (row, layout) = row?;
        outputs[usize::from(side.is_eval(index, &row.value, layout))].write(&row.value)?;
    }
    let [train, eval] = outputs;
    Ok(Divided { train: train.finish()?, eval: eval.finish()? })
}

/// How the side of a row is found.
enum Side {
    /// Rows from this place on, counted from 0, are held out.
    From(u64),
    /// Rows with lower scores are held out; the lowest always is, the highest never.
    Scores { limit: f64, lowest: u64, highest: u64, seed: u64 },
}

impl Side {
    fn choose<'a>(
        by: SplitBy,
        rows: impl Iterator<Item = Result<(Row, Option<&'a RowLayout>), Problem>>,
        path: &Path,
    ) -> Result<Self, Problem> {
        let refused = |field: &str, message: String, hint: &str| {
            Err(Problem::new(ProblemKind::BadData, message).at(field).hint(hint))
        };
        let name = file_name(path);
        match by {
            SplitBy::LastRows { eval } => {
                let mut n_rows = 0;
                for row in rows {
                    row?;
                    n_rows += 1;
                }
                if eval >= n_rows {
                    let message =
                        format!("{eval} rows can't be held out: `{name}` has {n_rows}, and one must stay");
                    return refused("place.eval_rows", message, "hold out fewer");
                }
                Ok(Self::From(n_rows - eval))
            }
            SplitBy::Fraction { eval, seed } => {
                let (mut lowest, mut highest) = (u64::MAX, 0);
                for row in rows {
                    let (row, layout) = row?;
                    let score = score(content(&row.value, layout), seed);
                    (lowest, highest) = (lowest.min(score), highest.max(score));
                }
                if lowest >= highest {
                    let message = format!("`{name}` has no two rows that differ, so none can be held out");
                    return refused("fraction.eval", message, "give it more rows");
                }
                Ok(Self::Scores { limit: eval * u64::MAX as f64, lowest, highest, seed })
            }
        }
    }

    fn is_eval(&self, index: u64, row: &Value, layout: Option<&RowLayout>) -> bool {
        match *self {
            Self::From(first) => index >= first,
            Self::Scores { limit, lowest, highest, seed } => {
                let score = score(content(row, layout), seed);
                ((score as f64) < limit || score == lowest) && score != highest
            }
        }
    }
}

/// What a row says; one that can't be trained on says what is written there.
fn content(row: &Value, layout: Option<&RowLayout>) -> u64 {
    let example = layout.and_then(|layout| example(row, layout).ok());
    match example {
        Some((example, _)) => Content::of(&example).near,
        None => Content::of(&super::format::Example::Text(row.to_string())).near,
    }
}

struct Output<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    n_rows: u64,
}

impl<'a> Output<'a> {
    fn make(path: &'a Path) -> Result<Self, Problem> {
        let file = File::create_new(path).map_err(|error| unwritten(path, &error))?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 18, file), n_rows: 0 })
    }

    fn write(&mut self, row: &Value) -> Result<(), Problem> {
        self.n_rows += 1;
        let written = serde_json::to_writer(&mut self.file, row).map_err(io::Error::from);
        written.and_then(|()| self.file.write_all(b"\n")).map_err(|error| unwritten(self.path, &error))
    }

    fn finish(self) -> Result<u64, Problem> {
        let Self { path, file, n_rows } = self;
        let synced =
            file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| unwritten(path, &error))?;
        Ok(n_rows)
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ProblemKind::Storage, format!("`{}` can't be written: {error}", file_name(path)))
        .hint("look whether the disk has room")
}
