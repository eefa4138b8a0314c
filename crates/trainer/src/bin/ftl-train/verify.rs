//! `ftl-train verify`: whether two runs are the same run, or one's directories are whole.

use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};
use ftl_trainer::error::TrainError;
use ftl_trainer::verify::{
    Checked, CheckpointComparison, Comparison, FileDifference, KeyDifference, StepComparison,
    TensorDifference, WeightComparison, Wholeness, check, compare,
};
use serde::Serialize;

use crate::output::{CommandResult, Ended, Format, print};

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 equal (or whole), 1 different (or damaged), 2 can't be compared.")]
pub struct Args {
    /// A run's directory; alone, its checkpoints and its result are compared with their manifests.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another run's directory: whether both took the same steps to the same weights, bit by bit.
    #[arg(value_name = "B")]
    b: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: Args, format: Format) -> CommandResult {
    let Args { a, b } = args;
    let (is_good, text, document) = match b {
        Some(b) => {
            let comparison = compare(&a, &b).map_err(no_answer)?;
            (comparison.equal, comparison_text(&comparison), json(&comparison))
        }
        None => {
            let wholeness = check(&a).map_err(no_answer)?;
            (wholeness.whole, wholeness_text(&wholeness, &a), json(&wholeness))
        }
    };
    print(match format {
        Format::Text => &text,
        Format::Json => &document,
    });
    Ok(if is_good { Ended::Done } else { Ended::Negative })
}

/// A file that can't be read is no answer, and must not look like one by its exit code.
fn no_answer(error: TrainError) -> TrainError {
    match error {
        TrainError::Refused(_) | TrainError::Diverged(_) | TrainError::OutOfMemory { .. } => error,
        TrainError::File { action, path, source } => {
            let message = format!("can't {action} it: {source}");
            Problem::new(ProblemKind::Storage, message).at(path.display().to_string()).into()
        }
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what was found is plain data")
}

fn comparison_text(comparison: &Comparison) -> String {
    let Comparison { equal, spec, steps, checkpoints, weights } = comparison;
    let mut lines = Vec::new();
    match &spec[..] {
        [] => lines.push("the specs are the same".to_owned()),
        keys => {
            lines.push("the specs differ:".to_owned());
            lines.extend(keys.iter().map(|KeyDifference { key, a, b }| format!("  {key}: {a} and {b}")));
        }
    }
    lines.extend(steps_text(steps));
    lines.extend(checkpoints_text(checkpoints));
    lines.push(weights.as_ref().map_or_else(|| "weights: none that both have".to_owned(), weights_text));
    lines.push(if *equal { "the runs are equal" } else { "the runs differ" }.to_owned());
    lines.join("\n")
}

fn steps_text(steps: &StepComparison) -> Vec<String> {
    let StepComparison { a, b, compared, first_difference } = steps;
    let stand = match a == b {
        true => format!("both stand after step {a}"),
        false => format!("one stands after step {a}, the other after step {b}"),
    };
    let result = match (first_difference, compared) {
        (Some(difference), _) => format!("steps: {difference}"),
        (None, 0) => "steps: none of which both kept what it came to".to_owned(),
        (None, n) => format!("steps: {n} compared, all the same"),
    };
    vec![stand, result]
}

fn checkpoints_text(checkpoints: &CheckpointComparison) -> Option<String> {
    let CheckpointComparison { compared, first_difference } = checkpoints;
    match first_difference {
        Some(FileDifference { step, file }) => {
            Some(format!("checkpoints: that of step {step} differs in `{file}`"))
        }
        None if compared.is_empty() => None,
        None => Some(format!("checkpoints: {} compared, all the same", compared.len())),
    }
}

fn weights_text(weights: &WeightComparison) -> String {
    let WeightComparison { of, tensors, differing, first_difference } = weights;
    let Some(TensorDifference { tensor, index, a, b }) = first_difference else {
        return format!("weights of `{of}`: {tensors} tensors, the same to the last bit");
    };
    let place = index.map_or_else(String::new, |index| format!(" at value {index}"));
    format!(
        "weights of `{of}`: {differing} of {tensors} tensors differ, first `{tensor}`{place}: {a} and {b}"
    )
}

fn wholeness_text(wholeness: &Wholeness, dir: &Path) -> String {
    let Wholeness { whole, checked } = wholeness;
    let mut lines: Vec<String> = checked.iter().map(checked_text).collect();
    let what = dir.display();
    lines.push(if *whole { format!("{what} is whole") } else { format!("{what} is damaged") });
    lines.join("\n")
}

fn checked_text(checked: &Checked) -> String {
    let Checked { name, bytes, problem } = checked;
    match (problem, bytes) {
        (Some(problem), _) => format!("{name}: {}", problem.message),
        (None, bytes) => format!("{name}: as it was written, {} bytes", bytes.unwrap_or(0)),
    }
}
