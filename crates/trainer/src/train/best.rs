//! The best weights of a run and what follows from them: the result, and an early end.
//!
//! Best is one thing everywhere: the lowest mean loss on the held-out data, of the evaluations after a step, and of
//! equals the first.

use std::path::{Path, PathBuf};

use ftl_core::metrics::Evaluated;
use ftl_core::spec::resolved::FinalWeights;
use ftl_core::{CheckedSpec, Problem, ProblemKind};

use crate::checkpoint::layout::checkpoint_name;
use crate::checkpoint::verify;
use crate::train::eval::Scores;
use crate::train::snapshot::State;

/// The evaluation of the result of a run that ended in `state`.
pub fn of_result<'a>(spec: &CheckedSpec, state: &'a State) -> Option<&'a Evaluated> {
    let best = match spec.train.result {
        FinalWeights::Best => state.scores.best.as_ref(),
        FinalWeights::Last => None,
    };
    best.or_else(|| state.scores.after(state.step))
}

/// Whether the held-out data stopped getting better long enough ago to end the run.
pub fn is_exhausted(spec: &CheckedSpec, scores: &Scores) -> bool {
    spec.train.early_stopping_patience.is_some_and(|patience| scores.since_best >= patience)
}

/// Why a run ended early, in a sentence.
pub fn why_early(step: u64, scores: &Scores) -> Option<String> {
    let (best, n) = (scores.best.as_ref()?, scores.since_best);
    let evaluations = match n {
        1 => "the last evaluation was not".to_owned(),
        n => format!("none of the last {n} evaluations was"),
    };
    Some(format!(
        "stopped early after step {step}: {evaluations} better than that after step {} (held-out loss {:.4})",
        best.step, best.loss_nats
    ))
}

/// What a user who asked for the best weights should know about them.
pub fn doubt(spec: &CheckedSpec, scores: &Scores) -> Option<String> {
    let (first, best) = (scores.first.as_ref()?, scores.best.as_ref()?);
    let is_worse = spec.train.result == FinalWeights::Best && best.loss_nats >= first.loss_nats;
    is_worse.then(|| {
        format!(
            "training did not lower the held-out loss: it was {:.4} before the first step and {:.4} at its best, after \
             step {}",
            first.loss_nats, best.loss_nats, best.step
        )
    })
}

/// The checkpoint whose weights are to be the result of a run that stands after `step`; `None`: its own.
pub fn checkpoint(spec: &CheckedSpec, (out, step): (&Path, u64), scores: &Scores) -> Option<PathBuf> {
    match spec.train.result {
        FinalWeights::Last => None,
        FinalWeights::Best => {
            let best = scores.best.as_ref().filter(|best| best.step != step)?;
            Some(out.join(checkpoint_name(best.step)))
        }
    }
}

/// Checks that the best weights so far are still there: at the end it would be too late to say so.
///
/// # Errors
/// `BrokenCheckpoint` if they are not.
pub fn check(checkpoint: Option<&Path>) -> Result<(), Problem> {
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    verify(checkpoint).map(|_| ()).map_err(|problem: Problem| {
        let message = format!("the best weights so far can't be read: {}", problem.message);
        Problem::new(ProblemKind::BrokenCheckpoint, message)
            .at(checkpoint.display().to_string())
            .hint("put the checkpoint back, or start the run anew")
    })
}
