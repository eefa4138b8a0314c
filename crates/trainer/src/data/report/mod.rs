//! The dataset report: what [`check`] finds in files, with or without a model.
//!
//! Counts are of all rows; the first [`DatasetReport::LISTED`] findings are listed one by one. A file that is missing, that
//! holds something else than data or that breaks off is a finding too, so that one report names all that is wrong.

mod conclude;
mod model;
mod problems;
mod seen;
mod spread;
mod tally;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;

use ftl_core::dataset::{DatasetReport, Steps};
use ftl_core::job::Phase;
use ftl_core::spec::resolved::{
    Data, DataFormat, Eval, ExcessLength, LossOn, Rows, SampleOrder, Train, TrainFile,
};
use ftl_core::{Observer, Problem, ProblemKind, StopSignal};
use sha2::{Digest, Sha256};

use super::format::Asked;
use super::judge::Spellings;
use super::order::{Plan, Pool};
use super::pass::{Ended, Model, Pass, Wanted, inputs};
use super::read::expand;
use crate::sha256::hex;

pub use conclude::{Conclusion, conclude, remaining};
pub use model::ModelFiles;
pub use problems::{LISTED_PROBLEMS, problems};
pub use tally::{Fate, Kept, Remember, Tally};

/// What is to be checked.
#[derive(Clone, Copy, Debug)]
pub struct CheckRequest<'a> {
    /// The files, and what a job would do with them; see [`plain`] where there is no job.
    pub data: &'a Data,
    /// The model that they are for; `None`: they are judged without.
    pub model: Option<Model<'a>>,
    /// How long training would go on; with a model, the report tells the steps.
    pub train: Option<&'a Train>,
    /// Decides which fraction is held out.
    pub seed: u64,
    /// Whether files are told by the hash of their bytes.
    pub fingerprint: Fingerprint,
}

/// Whether the SHA-256 of a file is told, which takes another reading of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// It is not.
    Absent,
    /// It is.
    Sha256,
}

/// Files without a job: all their rows, no model's limit, nothing held out.
pub fn plain(files: impl IntoIterator<Item = PathBuf>, format: DataFormat) -> Data {
    Data {
        train: files.into_iter().map(|path| TrainFile { path, weight: None, max_samples: None }).collect(),
        format,
        eval: Eval::Never,
        max_length: None,
        excess_length_strategy: ExcessLength::Error,
        loss_on: LossOn::AssistantTokens,
        rows: Rows::Samples,
        order: SampleOrder::File,
        max_samples: None,
        chat_template: None,
    }
}

/// Judges every row of all files.
///
/// # Errors
/// Nothing could be judged: no file is named, or it was asked to stop. All else is in the report.
pub fn check(
    request: &CheckRequest<'_>,
    observer: &mut dyn Observer,
    stop: &StopSignal,
) -> Result<DatasetReport, Vec<Problem>> {
    let CheckRequest { data, model, train, seed, fingerprint } = *request;
    if data.train.is_empty() {
        let problem = Problem::new(ProblemKind::MissingKey, "no data file is named").at("data.train");
        return Err(vec![problem.hint("name at least one")]);
    }
    let remember = match (&data.eval, train) {
        (Eval::Fraction(_), _) | (_, Some(_)) => Remember::Samples,
        (Eval::Never | Eval::File(_), None) => Remember::Nothing,
    };
    let mut tally = Tally::new(model.as_ref(), remember);
    let pass = Pass {
        asked: Asked::of(data.format),
        spellings: if model.is_some() { Spellings::none() } else { Spellings::common() },
        model,
        wanted: Wanted::Verdicts,
        phase: Phase::Validating,
    };
    let (ended, hashes) = thread::scope(|scope| {
        let hashes = match fingerprint {
            Fingerprint::Absent => None,
            // Reading twice at once costs little: what one has read, the other finds in memory.
            Fingerprint::Sha256 => Some(scope.spawn(|| sha256_of_all(data, stop))),
        };
        let ended = pass.all(data, &mut tally, (observer, stop));
        (ended, hashes.map(|hashes| hashes.join().expect("hashing a file does not panic")))
    });
    match ended {
        Ended::Complete | Ended::Hopeless => {}
        Ended::Stopped => {
            return Err(vec![Problem::new(ProblemKind::BadData, "stopped before all rows were judged")]);
        }
    }
    let Conclusion { mut report, held, kept } = conclude(tally, data, seed);
    if let (Some(train), Some(model)) = (train, model) {
        report.steps = steps(data, train, model.max_length, &remaining(&kept, held.as_deref()));
    }
    if let Some(mut hashes) = hashes {
        report.files.iter_mut().for_each(|file| file.sha256 = hashes.remove(&file.path));
    }
    Ok(report)
}

/// How long training over the samples of `kept` would take; `None`: there are none.
pub fn steps(data: &Data, train: &Train, max_length: usize, kept: &[Kept]) -> Option<Steps> {
    if kept.is_empty() {
        return None;
    }
    let lengths = kept.iter().map(|kept| kept.n_tokens as usize).collect();
    let mut per_file = vec![0; data.train.len()];
    kept.iter().for_each(|kept| per_file[kept.file as usize] += 1);
    Some(Plan::new(Pool::of(data, lengths, &per_file, max_length), train).steps())
}

/// SHA-256 of the files in hexadecimal, without those that can't be read, which the pass finds too.
fn sha256_of_all(data: &Data, stop: &StopSignal) -> HashMap<PathBuf, String> {
    let files =
        inputs(data).flat_map(|(path, ..)| expand(path).map_or_else(|_| Vec::new(), |(files, _)| files));
    files.filter_map(|path| sha256(&path, stop).ok().flatten().map(|hash| (path, hash))).collect()
}

/// `None`: it was asked to stop.
fn sha256(path: &Path, stop: &StopSignal) -> io::Result<Option<String>> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    // A pipe may never end.
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut buffer = vec![0; 1 << 18];
    while stop.raised().is_none() {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(hex(hash))),
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
