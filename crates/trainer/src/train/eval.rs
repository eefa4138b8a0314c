//! Scores held-out samples.

use ftl_core::Observer;
use ftl_core::job::Phase;
use ftl_core::metrics::Evaluated;
use ftl_core::stop::StopSignal;
use serde::{Deserialize, Serialize};

use crate::data::batch::{Batch, lots};
use crate::data::sample::Sample;
use crate::model::decoder::Decoder;
use crate::train::progress::Progress;

/// The evaluations that a run has to remember.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Before the first step.
    pub first: Option<Evaluated>,
    /// The last one taken.
    pub latest: Option<Evaluated>,
    /// The one with the lowest loss, of those after a step; of equals the first.
    pub best: Option<Evaluated>,
    /// Evaluations since then.
    #[serde(default)]
    pub since_best: u64,
}

impl Scores {
    /// Takes note of the next evaluation.
    pub fn add(&mut self, evaluated: Evaluated) {
        // A loss that is no number compares with none, and must not stay the best.
        let improves = |best: &Evaluated| best.loss_nats.is_nan() || evaluated.loss_nats < best.loss_nats;
        if evaluated.step == 0 {
            self.first = Some(evaluated.clone());
        } else if self.best.as_ref().is_none_or(improves) {
            self.best = Some(evaluated.clone());
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        self.latest = Some(evaluated);
    }

    /// The evaluation after `step`.
    pub fn after(&self, step: u64) -> Option<&Evaluated> {
        self.latest.as_ref().filter(|latest| latest.step == step)
    }
}

/// Scores `samples` after `step`, as many at once as have `most_tokens` (or a longer one alone), so that memory does
/// not grow with their number; `None` if stopped before the end.
pub fn evaluate(
    decoder: &Decoder,
    samples: &[Sample],
    (most_tokens, step): (usize, u64),
    (observer, stop): (&mut dyn Observer, &StopSignal),
) -> Option<Evaluated> {
    let (mut sum_nats, mut n_correct, mut n_tokens) = (0.0, 0u64, 0u64);
    let mut progress = Progress::start(observer, Phase::Evaluating, (samples.len(), "rows"));
    let mut n_done = 0;
    for samples in lots(samples, |sample| sample.ids.len(), most_tokens) {
        if stop.raised().is_some() {
            return None;
        }
        for score in decoder.score(&Batch::of(samples)) {
            sum_nats += f64::from(score.nll_nats);
            n_correct += u64::from(score.correct);
            n_tokens += 1;
        }
        n_done += samples.len();
        progress.done(n_done);
    }
    let loss_nats = sum_nats / n_tokens as f64;
    Some(Evaluated {
        step,
        loss_nats,
        perplexity: loss_nats.exp(),
        token_accuracy: n_correct as f64 / n_tokens as f64,
        tokens: n_tokens,
        rewards: None,
    })
}
