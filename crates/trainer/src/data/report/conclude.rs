//! The end of a report: what is held out, and what is left to train on.

use ftl_core::dataset::{Code, CodeCount, DatasetReport, Finding, HeldOut};
use ftl_core::spec::resolved::{Data, Eval};
use serde::{Deserialize, Serialize};

use super::tally::Kept;
use crate::data::fault::Fault;
use crate::data::holdout::held_out;
use crate::data::read::file_name;

/// What was counted, before anyone decides what is held out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    /// The report so far.
    pub report: DatasetReport,
    /// Rows of the evaluation file that are used.
    pub n_held_out: u64,
    /// Those of them that are trained on too.
    pub n_overlap: u64,
}

/// A report, and what becomes of each sample.
pub struct Conclusion {
    /// The report, without steps.
    pub report: DatasetReport,
    /// The samples of the training files in order, where they are remembered.
    pub kept: Vec<Kept>,
    /// For each of them whether it is held out; `None`: no fraction is.
    pub held: Option<Vec<bool>>,
}

/// Decides what is held out.
pub fn conclude(gathered: Gathered, kept: Vec<Kept>, data: &Data, seed: u64) -> Conclusion {
    let Gathered { mut report, n_held_out: n_eval, n_overlap: overlap } = gathered;
    let held = match data.eval {
        Eval::Fraction(fraction) => {
            let held = split(&kept, fraction, seed);
            if held.is_none() && !kept.is_empty() {
                find_in_all(&mut report, nothing_to_hold_out());
            }
            held
        }
        Eval::Never | Eval::File(_) => None,
    };
    report.held_out = match data.eval {
        Eval::Never => None,
        Eval::File(_) => {
            Some(HeldOut { train: report.rows.accepted.saturating_sub(n_eval), eval: n_eval, overlap })
        }
        Eval::Fraction(_) => held.as_ref().map(|held| {
            let rows = |side: bool| {
                let of_side = kept.iter().zip(held).filter(|(kept, held)| kept.begins_row && **held == side);
                of_side.count() as u64
            };
            HeldOut { train: rows(false), eval: rows(true), overlap: 0 }
        }),
    };
    if let (Some(tokens), Some(held)) = (&mut report.tokens, &held) {
        let trained = remaining(&kept, Some(held));
        tokens.samples = trained.len() as u64;
        tokens.total = trained.iter().map(|kept| u64::from(kept.n_tokens)).sum();
        tokens.supervised = trained.iter().map(|kept| u64::from(kept.n_supervised)).sum();
    }
    Conclusion { report, kept, held }
}

/// What is trained on.
pub fn remaining(kept: &[Kept], held: Option<&[bool]>) -> Vec<Kept> {
    let is_trained = |index: usize| held.is_none_or(|held| !held[index]);
    kept.iter().enumerate().filter(|(index, _)| is_trained(*index)).map(|(_, kept)| *kept).collect()
}

/// For each sample whether it is held out. Samples of one row stay together, unless the row is all there is.
fn split(kept: &[Kept], fraction: f64, seed: u64) -> Option<Vec<bool>> {
    let rows: Vec<u64> = kept.iter().map(|kept| kept.row).collect();
    held_out(&rows, fraction, seed).or_else(|| {
        let pieces: Vec<u64> = kept.iter().map(|kept| kept.piece).collect();
        held_out(&pieces, fraction, seed)
    })
}

/// Adds an error of the files together, which is named after the first.
fn find_in_all(report: &mut DatasetReport, Fault { code, what, hint }: Fault) {
    let Some(path) = report.files.first().map(|file| file.path.clone()) else { return };
    let severity = code.severity();
    report.counts.insert(0, CodeCount { code, severity, rows: 1 });
    // Where the list is full, it is the last thing in it that can be done without.
    report.findings.truncate(DatasetReport::LISTED - 1);
    report.findings.push(Finding {
        code,
        severity,
        path: path.display().to_string(),
        row: None,
        line: None,
        message: format!("`{}` {what}", file_name(&path)),
        hint,
    });
}

fn nothing_to_hold_out() -> Fault {
    Fault::new(
        Code::NothingToHoldOut,
        "has only samples that say the same; holding out a fraction needs at least two different ones",
    )
    .hint("leave `data.eval` out, or give it a file of its own")
}
