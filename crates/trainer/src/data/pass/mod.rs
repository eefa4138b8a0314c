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

use std::path::Path;

use ftl_core::job::Phase;
use ftl_core::spec::resolved::{Data, Eval};
use ftl_core::{Event, Observer, StopSignal};
use rayon::prelude::*;

use super::fault::Fault;
use super::format::Asked;
use super::judge::Spellings;
pub use learn::{Learned, Lost, Model, Piece};
pub use row::{Judged, Wanted};
pub use source::Opened;
use source::Source;

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
    /// Read at most this many of its rows.
    pub max_rows: u64,
}

/// What rows are judged by.
#[derive(Clone, Debug)]
pub struct Pass<'a> {
    /// What is said of the rows of all files before anyone looks at them.
    pub asked: Asked,
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
    fn broken(&mut self, fault: Fault);
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

/// The files of a job in order, with the side that each is on and the limit of its own.
pub fn inputs(data: &Data) -> impl Iterator<Item = (&Path, Part, Option<u64>)> {
    let train = data.train.iter().map(|file| (file.path.as_path(), Part::Train, file.max_samples));
    let eval = match &data.eval {
        Eval::File(path) => Some((path.as_path(), Part::Eval, None)),
        Eval::Never | Eval::Fraction(_) => None,
    };
    train.chain(eval)
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
        for (path, part, own_limit) in inputs(data) {
            let max_rows = match part {
                Part::Train => left.min(own_limit.unwrap_or(u64::MAX)),
                Part::Eval => u64::MAX,
            };
            let input = Input { path, part, max_rows };
            let (n_read, ended) = self.file(&input, consumer, (&mut progress, observer, stop));
            match part {
                Part::Train => left -= n_read,
                Part::Eval => {}
            }
            match ended {
                Ended::Complete => {}
                Ended::Hopeless | Ended::Stopped => return ended,
            }
        }
        Ended::Complete
    }

    /// Goes through a file. Gives back how many rows were read.
    pub fn file(
        &self,
        input: &Input<'_>,
        consumer: &mut dyn Consumer,
        (progress, observer, stop): (&mut Progress, &mut dyn Observer, &StopSignal),
    ) -> (u64, Ended) {
        consumer.begin(input);
        let mut source = match Source::open(input.path, input.max_rows) {
            Ok(source) => source,
            Err(fault) => {
                consumer.broken(fault);
                return (0, Ended::Complete);
            }
        };
        let mut lot = source.lot();
        let opened = match source.opened(&lot, &self.asked) {
            Ok(opened) => opened,
            Err(fault) => {
                consumer.broken(fault);
                return (lot.len() as u64, Ended::Complete);
            }
        };
        consumer.opened(&opened);
        let mut n_read = 0;
        let mut judged: Vec<Judged> = Vec::new();
        loop {
            let n_lot = lot.len() as u64;
            let rows = std::mem::take(&mut judged);
            let (next, (now, ())) = rayon::join(
                || source.lot(),
                || {
                    rayon::join(
                        || lot.into_par_iter().map(|row| self.judge(row, &opened.format.layout)).collect(),
                        || rows.into_iter().for_each(|row| consumer.row(row)),
                    )
                },
            );
            (lot, judged) = (next, now);
            n_read += n_lot;
            progress.n_rows += n_lot;
            if n_lot > 0 {
                observer.observe(&Event::Phase {
                    phase: self.phase,
                    done: Some(progress.n_rows),
                    total: None,
                    unit: Some("rows".to_owned()),
                });
            }
            let ended = match () {
                () if stop.raised().is_some() => Some(Ended::Stopped),
                () if consumer.is_hopeless() => Some(Ended::Hopeless),
                () if lot.is_empty() => Some(Ended::Complete),
                () => None,
            };
            if let Some(ended) = ended {
                judged.into_iter().for_each(|row| consumer.row(row));
                if let (Some(fault), Ended::Complete) = (source.fault(), ended) {
                    consumer.broken(fault);
                }
                return (n_read, ended);
            }
        }
    }
}
