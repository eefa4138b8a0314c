//! One file in two: what is trained on, and what is held out. Which row goes where is what a run with
//! `data.eval.fraction` decides, so the same content is on the same side, whatever else is in the file, and rows that say
//! the same, or nearly, stay together.
//!
//! Rows are copied byte by byte from JSON Lines; from anything else they are written as JSON Lines.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use ftl_core::dataset::{Container, Encoding, Layout};
use ftl_core::job::Phase;
use ftl_core::spec::resolved::{DataFormat, Eval};
use ftl_core::{Observer, Problem, ProblemKind, StopSignal};

use super::format::Asked;
use super::judge::Spellings;
use super::pass::{Broken, Consumer, Ended, Input, Judged, Opened, Pass, Wanted};
use super::read::{self, file_name};
use super::report::{Conclusion, Remember, Tally, conclude, plain, problems};

/// What is to be split.
#[derive(Clone, Copy, Debug)]
pub struct SplitRequest<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its format; `Auto`: it is found out.
    pub format: DataFormat,
    /// The share that is held out, more than 0 and less than 1.
    pub fraction: f64,
    /// Decides which rows that are.
    pub seed: u64,
    /// Where the others go; nothing may be there.
    pub train: &'a Path,
    /// Where they go; nothing may be there.
    pub eval: &'a Path,
}

/// How many rows went where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitRows {
    /// To train on.
    pub train: u64,
    /// Held out.
    pub eval: u64,
}

/// Splits a file of which every row can be trained on. Both files are there when it is done, or neither is.
///
/// # Errors
/// The rows that can't be used, a fraction that can't be held out, files that are there already, and what the operating
/// system says.
pub fn split(
    request: &SplitRequest<'_>,
    observer: &mut dyn Observer,
    stop: &StopSignal,
) -> Result<SplitRows, Vec<Problem>> {
    let SplitRequest { path, format, fraction, seed, train, eval } = *request;
    for target in [train, eval] {
        if target.symlink_metadata().is_ok() {
            return Err(vec![exists(target)]);
        }
    }
    let mut data = plain([path.to_owned()], format);
    data.eval = Eval::Fraction(fraction);
    let pass = Pass {
        asked: Asked::of(format),
        model: None,
        spellings: Spellings::common(),
        wanted: Wanted::Verdicts,
        phase: Phase::Validating,
    };
    let mut rows = RowsByLine { tally: Tally::new(None, Remember::Samples), layout: None, are_lines: true };
    match pass.all(&data, &mut rows, (observer, stop)) {
        Ended::Complete | Ended::Hopeless => {}
        Ended::Stopped => {
            return Err(vec![Problem::new(ProblemKind::BadData, "stopped before all rows were read")]);
        }
    }
    let RowsByLine { tally, layout, are_lines } = rows;
    let Conclusion { report, held, .. } = conclude(tally, &data, seed);
    let problems = problems(&report);
    let (Some(held), true) = (held, problems.is_empty()) else { return Err(problems) };
    let copied = match layout {
        Some(Layout {
            container: Container::JsonLines,
            compression: None,
            encoding: Encoding::Utf8 | Encoding::Utf8Bom,
        }) if are_lines => Copied::Lines,
        Some(_) | None => Copied::Values,
    };
    let written = (Target::create(train), Target::create(eval));
    let (mut to_train, mut to_eval) = match written {
        (Ok(train), Ok(eval)) => (train, eval),
        (Err(problem), _) | (_, Err(problem)) => return Err(vec![problem]),
    };
    copy(path, copied, &held, (&mut to_train, &mut to_eval)).map_err(|problem| vec![problem])?;
    to_train.publish().map_err(|problem| vec![problem])?;
    if let Err(problem) = to_eval.publish() {
        // Neither without the other. Nothing more can be done where this fails too.
        let _ = fs::remove_file(train);
        return Err(vec![problem]);
    }
    let n_eval = held.iter().filter(|held| **held).count() as u64;
    Ok(SplitRows { train: held.len() as u64 - n_eval, eval: n_eval })
}

/// How rows get from one file to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    /// A line each, as it is.
    Lines,
    /// Written anew.
    Values,
}

fn copy(
    path: &Path,
    copied: Copied,
    held: &[bool],
    (train, eval): (&mut Target, &mut Target),
) -> Result<(), Problem> {
    let mut sides = held.iter().map(|held| *held);
    let mut put = |row: &[u8]| match sides.next() {
        Some(true) => eval.line(row),
        Some(false) => train.line(row),
        None => Err(changed(path)),
    };
    match copied {
        Copied::Lines => {
            let mut reader =
                BufReader::with_capacity(1 << 18, File::open(path).map_err(|error| unread(path, &error))?);
            let mut line = Vec::new();
            loop {
                line.clear();
                if reader.read_until(b'\n', &mut line).map_err(|error| unread(path, &error))? == 0 {
                    break;
                }
                let row = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line).trim_ascii();
                if !row.is_empty() {
                    put(row)?;
                }
            }
        }
        Copied::Values => {
            for lot in read::open(path).map_err(Problem::from)? {
                for (_, value) in lot.map_err(Problem::from)?.rows() {
                    let value = value.map_err(|_| changed(path))?;
                    put(value.to_string().as_bytes())?;
                }
            }
        }
    }
    if sides.next().is_some() { Err(changed(path)) } else { Ok(()) }
}

/// A file that is not there before it is whole.
struct Target {
    path: PathBuf,
    unfinished: PathBuf,
    writer: BufWriter<File>,
}

impl Target {
    fn create(path: &Path) -> Result<Self, Problem> {
        let unfinished =
            path.with_file_name(format!(".{}.{}.unfinished", file_name(path), std::process::id()));
        let file = File::create_new(&unfinished).map_err(|error| unwritten(path, &error))?;
        Ok(Self { path: path.to_owned(), unfinished, writer: BufWriter::with_capacity(1 << 18, file) })
    }

    fn line(&mut self, row: &[u8]) -> Result<(), Problem> {
        let written = self.writer.write_all(row).and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|error| unwritten(&self.path, &error))
    }

    /// Gives it its name, unless there is something of that name.
    fn publish(&mut self) -> Result<(), Problem> {
        let synced = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        synced.map_err(|error| unwritten(&self.path, &error))?;
        // Unlike renaming, a link never replaces a file that was put there meanwhile.
        match fs::hard_link(&self.unfinished, &self.path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.path)),
            // File systems without links (exFAT).
            Err(_) if self.path.symlink_metadata().is_err() => {
                fs::rename(&self.unfinished, &self.path).map_err(|error| unwritten(&self.path, &error))
            }
            Err(_) => Err(exists(&self.path)),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It is gone already where it was renamed.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// Counts, and sees whether every row is a line of its own.
struct RowsByLine {
    tally: Tally,
    layout: Option<Layout>,
    are_lines: bool,
}

impl Consumer for RowsByLine {
    fn begin(&mut self, input: &Input<'_>) {
        self.tally.begin(input);
    }

    fn opened(&mut self, opened: &Opened) {
        self.layout = Some(opened.layout);
        self.tally.opened(opened);
    }

    fn broken(&mut self, broken: Broken) {
        self.tally.broken(broken);
    }

    fn closed(&mut self, notes: Vec<String>) {
        self.tally.closed(notes);
    }

    fn row(&mut self, mut row: Judged) {
        self.are_lines &= row.line.is_none();
        self.tally.take(&mut row);
    }
}

fn exists(path: &Path) -> Problem {
    Problem::new(ProblemKind::OutputExists, format!("`{}` exists already", file_name(path)))
        .at(path.display().to_string())
        .hint("choose another name, or remove the file")
}

fn changed(path: &Path) -> Problem {
    Problem::new(ProblemKind::BadData, format!("`{}` changed while it was split", file_name(path)))
        .at(path.display().to_string())
        .hint("try again when nothing writes to it")
}

fn unread(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("the file can't be read: {error}"))
        .at(path.display().to_string())
}

fn unwritten(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ProblemKind::Storage, format!("the file can't be written: {error}"))
        .at(path.display().to_string())
}
