//! The one pass over data: files to lots of rows, rows to what became of them, in order, on all cores.
//!
//! ```text
//! lot 3 is read  |  lot 2 is judged, row by row  |  lot 1 is taken in, in order
//! ```
//!
//! The report, training and the service all see the same verdicts, since there is no other judge. Three lots are held
//! at once, whatever the size of the file. Knows neither counts nor caches: those are [`Consumer`]s.

mod learn;
mod row;
mod source;

use std::path::{Path, PathBuf};

use ftl_core::job::Phase;
use ftl_core::spec::resolved::{Data, Eval};
use ftl_core::{Event, Observer, ProblemKind, StopSignal};
use rayon::prelude::*;

use super::fault::Fault;
use super::format::{self, Asked};
use super::judge::Spellings;
use super::read::expand;
pub use learn::{Learned, Lost, Model, Piece};
pub use row::{Judged, Wanted};
pub use source::{Broken, Opened};
use source::{Portion, Source};

/// Rows that one thread judges at once, at least: fewer would cost more to hand out than to judge without a model.
const ROWS_AT_ONCE: usize = 16;

/// Which side of the data a file is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Trained on.
    Train,
    /// Held out.
    Eval,
}

/// A file to go through.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// Which side it is on.
    pub part: Part,
    /// The place among what the job names, from 0; the files of a folder have the same.
    pub entry: usize,
    /// Read at most this many of its rows.
    pub max_rows: u64,
    /// What is said of its rows before anyone looks at them.
    pub asked: &'a Asked,
}

/// What rows are judged by.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// What makes tokens of them; `None`: they are judged without.
    pub model: Option<Model<'a>>,
    /// Control tokens that should not stand in texts.
    pub spellings: Spellings,
    /// What consumers need of a row beside what was found.
    pub wanted: Wanted,
    /// What progress is told as.
    pub phase: Phase,
}

/// Takes in what became of the rows, in the order of the files.
pub trait Consumer: Send {
    /// A file begins.
    fn begin(&mut self, input: &Input<'_>);
    /// What was seen of it before its first row.
    fn opened(&mut self, opened: &Opened);
    /// The file can't be read, or not any further. It ends.
    fn broken(&mut self, broken: Broken);
    /// What was done to read it, one sentence each; told after its last row, in one or several parts.
    fn closed(&mut self, notes: Vec<String>);
    /// The next row.
    fn row(&mut self, row: Judged);
    /// Whether the rest can't change what comes of it.
    fn is_hopeless(&self) -> bool {
        false
    }
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With the last row.
    Complete,
    /// Where a consumer had seen enough.
    Hopeless,
    /// Where it was asked to stop.
    Stopped,
}

/// Rows judged so far, for progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    n_rows: u64,
}

/// A file of a job, on the side that it is on; a fault: it can't be found, as its list of datasets has it.
pub type Named = (Part, Result<format::Source, (PathBuf, Fault)>);

/// The files of a job in order.
pub fn inputs(data: &Data) -> Vec<Named> {
    let at = |path: &Path, fault| (path.to_owned(), fault);
    let train = data.train.iter().map(|file| {
        (Part::Train, format::Source::of_train(data, file).map_err(|fault| at(&file.path, fault)))
    });
    let eval = match &data.eval {
        Eval::File(path) => {
            let source = format::Source::of(path, None, data.format, &data.columns);
            Some((Part::Eval, source.map_err(|fault| at(path, fault))))
        }
        Eval::Never | Eval::Fraction(_) => None,
    };
    train.chain(eval).collect()
}

impl Pass<'_> {
    /// Goes through all files of a job, those to train on first.
    pub fn all(
        &self,
        data: &Data,
        consumer: &mut dyn Consumer,
        (observer, stop): (&mut dyn Observer, &StopSignal),
    ) -> Ended {
        let mut progress = Progress::default();
        let mut left = data.max_samples.unwrap_or(u64::MAX);
        for (entry, (part, source)) in inputs(data).into_iter().enumerate() {
            let format::Source { path, asked, max_samples, notes: of_entry } = match source {
                Ok(source) => source,
                Err((path, fault)) => {
                    let asked = Asked::of(data.format);
                    consumer.begin(&Input { path: &path, part, entry, max_rows: 0, asked: &asked });
                    consumer.broken(Broken { fault, line: None });
                    continue;
                }
            };
            let max_rows = match part {
                Part::Train => left.min(max_samples.unwrap_or(u64::MAX)),
                Part::Eval => u64::MAX,
            };
            let (files, mut notes) = match expand(&path) {
                Ok(expanded) => expanded,
                // Whoever opens it says why it can't be read.
                Err(problem) if problem.kind == ProblemKind::NotFound && !path.is_dir() => {
                    (vec![path.clone()], Vec::new())
                }
                Err(problem) => {
                    consumer.begin(&Input { path: &path, part, entry, max_rows, asked: &asked });
                    consumer.broken(source::broken_folder(&path, problem));
                    continue;
                }
            };
            notes.extend(of_entry);
            let mut n_left = max_rows;
            for path in &files {
                let input = Input { path, part, entry, max_rows: n_left, asked: &asked };
                let (n_read, ended) = self.file(&input, consumer, (&mut progress, observer, stop));
                consumer.closed(std::mem::take(&mut notes));
                n_left -= n_read;
                match ended {
                    Ended::Complete => {}
                    Ended::Hopeless | Ended::Stopped => return ended,
                }
            }
            match part {
                Part::Train => left -= max_rows - n_left,
                Part::Eval => {}
            }
        }
        Ended::Complete
    }

    /// Goes through a file. Gives back how many rows were taken in.
    pub(super) fn file(
        &self,
        input: &Input<'_>,
        consumer: &mut dyn Consumer,
        (progress, observer, stop): (&mut Progress, &mut dyn Observer, &StopSignal),
    ) -> (u64, Ended) {
        consumer.begin(input);
        let mut source = match Source::open(input.path) {
            Ok(source) => source,
            Err(broken) => {
                consumer.broken(broken);
                return (0, Ended::Complete);
            }
        };
        let layout = match source.opened(input.path, input.asked) {
            Ok(opened) => {
                consumer.opened(&opened);
                opened.format.layout
            }
            Err(broken) => {
                consumer.broken(broken);
                return (0, Ended::Complete);
            }
        };
        let at_once = rayon::current_num_threads().max(2);
        let mut portions = source.portions(input.path, at_once);
        let mut judged: Vec<Vec<Judged>> = Vec::new();
        let mut n_left = input.max_rows;
        let mut n_told = progress.n_rows;
        let ended = loop {
            let lots = std::mem::take(&mut judged);
            let judge = |portion: Portion| -> Vec<Judged> {
                // Nobody takes in what is judged after a stop.
                let rows = if stop.raised().is_some() { Vec::new() } else { portion.rows() };
                // A small file is one lot, and tokenizing it is work for all cores.
                rows.into_par_iter().with_min_len(ROWS_AT_ONCE).map(|row| self.judge(row, &layout)).collect()
            };
            let take_in = || {
                for row in lots.into_iter().flatten().take(usize::try_from(n_left).unwrap_or(usize::MAX)) {
                    consumer.row(row);
                    n_left -= 1;
                    progress.n_rows += 1;
                }
            };
            let (next, (now, ())) = rayon::join(
                || source.portions(input.path, at_once),
                || rayon::join(|| portions.into_par_iter().map(judge).collect(), take_in),
            );
            (portions, judged) = (next, now);
            if progress.n_rows > n_told {
                n_told = progress.n_rows;
                observer.observe(&Event::Phase {
                    phase: self.phase,
                    done: Some(progress.n_rows),
                    total: None,
                    unit: Some("rows".to_owned()),
                });
            }
            if stop.raised().is_some() {
                break Ended::Stopped;
            } else if consumer.is_hopeless() {
                break Ended::Hopeless;
            } else if n_left == 0 || portions.is_empty() && judged.is_empty() {
                break Ended::Complete;
            }
        };
        let (notes, broken) = source.closed();
        consumer.closed(notes);
        if let (Some(broken), Ended::Complete) = (broken.filter(|_| n_left > 0), ended) {
            consumer.broken(broken);
        }
        (input.max_rows - n_left, ended)
    }
}
