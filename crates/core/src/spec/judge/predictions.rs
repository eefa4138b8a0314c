//! `[predictions]`.

use super::findings::Findings;
use super::schedule::MAX_STEPS;
use crate::spec::resolved::{PredictionTimes, Predictions};
use crate::spec::{PredictionsSpec, defaults};

/// Most prompts: each is answered again and again, and every answer is kept.
const MAX_COUNT: u64 = 1000;
/// Longest answer: 16 Mi tokens, beyond any model.
const MAX_TOKENS: u64 = 1 << 24;

/// The predictions, if there are any.
pub(super) fn checked(
    predictions: Option<&PredictionsSpec>,
    has_eval: bool,
    findings: &mut Findings,
) -> Option<Predictions> {
    let PredictionsSpec { count, every_steps, max_new_tokens } = predictions?;
    let count = count.unwrap_or(defaults::PREDICTIONS_COUNT);
    if count == 0 {
        for (key, is_given) in
            [("every_steps", every_steps.is_some()), ("max_new_tokens", max_new_tokens.is_some())]
        {
            if is_given {
                findings.no_effect(&format!("predictions.{key}"), "`predictions.count` = 0");
            }
        }
        return None;
    }
    if !has_eval {
        findings.refuse(
            "predictions",
            "nothing is held out whose prompts could be answered",
            "set `data.eval`, or drop the section",
        );
    }
    let count = findings.count("predictions.count", count, 0..=MAX_COUNT, "5 show what changes");
    let times = every_steps.map_or(PredictionTimes::Evaluations, |steps| {
        let hint = "drop the key to answer at every evaluation";
        PredictionTimes::Steps(findings.count("predictions.every_steps", steps, 1..=MAX_STEPS, hint))
    });
    let max_new_tokens = findings.count(
        "predictions.max_new_tokens",
        max_new_tokens.unwrap_or(defaults::MAX_NEW_TOKENS),
        1..=MAX_TOKENS,
        "256 are usual",
    );
    Some(Predictions { count, times, max_new_tokens })
}
