//! Whether two runs are the same run, and whether a run's directories are what was written.
//!
//! Runs are equal where they took the same steps to the same weights, to the last bit. Their specs may differ in what does
//! not touch that, such as the name; differences are listed, as they may explain others.

mod run;
mod weights;
mod whole;

use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde::Serialize;

use crate::error::TrainError;
use crate::train::digests::StepDifference;
use crate::train::snapshot::spec_differences;
use run::TakenRun;

pub use weights::{TensorDifference, WeightComparison};
pub use whole::{Checked, Wholeness, check};

/// What [`compare`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Whether nothing differs but the specs.
    pub equal: bool,
    /// Keys of the specs that differ.
    pub spec: Vec<KeyDifference>,
    /// The steps.
    pub steps: StepComparison,
    /// The checkpoints that both have.
    pub checkpoints: CheckpointComparison,
    /// The newest weights that both have; `None`: there are none.
    pub weights: Option<WeightComparison>,
}

/// A key of the spec whose value differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyDifference {
    /// The key, with dots.
    pub key: String,
    /// The first run's value, as JSON; `nothing` where it has none.
    pub a: String,
    /// The second run's.
    pub b: String,
}

/// Steps side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepComparison {
    /// The steps after which the first run stands.
    pub a: u64,
    /// Those after which the second one does.
    pub b: u64,
    /// Steps of which both kept what they came to.
    pub compared: u64,
    /// The first of them that differs.
    pub first_difference: Option<StepDifference>,
}

/// Checkpoints side by side, by their manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointComparison {
    /// Steps after which both have one.
    pub compared: Vec<u64>,
    /// The first of them whose weights or moments differ.
    pub first_difference: Option<FileDifference>,
}

/// A file of a checkpoint that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// The checkpoint's step.
    pub step: u64,
    /// The file.
    pub file: String,
}

/// Compares the runs in two directories.
///
/// # Errors
/// `NotFound` where a directory holds no run, `BrokenCheckpoint` where what would be compared is damaged, and
/// `InvalidValue` where the runs have neither steps nor weights in common.
pub fn compare(a: &Path, b: &Path) -> Result<Comparison, TrainError> {
    let (of_a, of_b) = (TakenRun::open(a)?, TakenRun::open(b)?);
    let spec: Vec<_> = spec_differences(&of_a.spec, &of_b.spec)
        .into_iter()
        .map(|difference| KeyDifference { key: difference.key, a: difference.was, b: difference.is })
        .collect();
    let steps = run::compare_steps(&of_a, &of_b);
    let checkpoints = run::compare_checkpoints(&of_a, &of_b)?;
    let weights = weights::compare(&of_a, &of_b, &checkpoints)?;
    if steps.compared == 0 && weights.is_none() {
        let message = format!(
            "the runs have neither steps nor weights in common: `{}` stands after step {}, `{}` after step {}",
            a.display(),
            steps.a,
            b.display(),
            steps.b
        );
        return Err(Problem::new(ProblemKind::InvalidValue, message).into());
    }
    let equal = steps.a == steps.b
        && steps.first_difference.is_none()
        && checkpoints.first_difference.is_none()
        && weights.as_ref().is_none_or(|weights| weights.first_difference.is_none());
    Ok(Comparison { equal, spec, steps, checkpoints, weights })
}
