//! The end of a report: what is held out, and what is left to train on.

use ftl_core::dataset::{Code, DatasetReport, HeldOut};
use ftl_core::spec::resolved::{Data, Eval};

use super::tally::{Kept, Tally};
use crate::data::fault::Fault;
use crate::data::holdout::held_out;

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
pub fn conclude(mut tally: Tally, data: &Data, seed: u64) -> Conclusion {
    let kept = tally.take_kept();
    let held = match data.eval {
        Eval::Fraction(fraction) => {
            let held = split(&kept, fraction, seed);
            if held.is_none() && !kept.is_empty() {
                tally.find_in_all(nothing_to_hold_out());
            }
            held
        }
        Eval::Never | Eval::File(_) => None,
    };
    let (n_eval, overlap) = tally.held_out();
    let mut report = tally.report();
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

fn nothing_to_hold_out() -> Fault {
    Fault::new(
        Code::NothingToHoldOut,
        "has only samples that say the same; holding out a fraction needs at least two different ones",
    )
    .hint("leave `data.eval` out, or give it a file of its own")
}
