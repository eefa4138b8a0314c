//! Scores held-out samples.

use ftl_core::metrics::Evaluated;
use ftl_core::stop::StopSignal;
use serde::{Deserialize, Serialize};

use crate::data::batch::Batch;
use crate::data::sample::Sample;
use crate::model::decoder::Decoder;

/// The evaluations that a run has to remember.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Before the first step.
    pub first: Option<Evaluated>,
    /// The last one taken.
    pub latest: Option<Evaluated>,
    /// The one with the lowest loss.
    pub best: Option<Evaluated>,
}

impl Scores {
    /// Takes note of the next evaluation.
    pub fn add(&mut self, evaluated: Evaluated) {
        // A loss that is no number compares with none, and must not stay the best.
        let improves = |best: &Evaluated| best.loss_nats.is_nan() || evaluated.loss_nats < best.loss_nats;
        if self.best.as_ref().is_none_or(improves) {
            self.best = Some(evaluated.clone());
        }
        if evaluated.step == 0 {
            self.first = Some(evaluated.clone());
        }
        self.latest = Some(evaluated);
    }

    /// The evaluation after `step`.
    pub fn after(&self, step: u64) -> Option<&Evaluated> {
        self.latest.as_ref().filter(|latest| latest.step == step)
    }
}

/// Scores `samples` after `step`, `batch_size` of them at once; `None` if stopped before the end.
pub fn evaluate(
    decoder: &Decoder,
    samples: &[Sample],
    (batch_size, step): (usize, u64),
    stop: &StopSignal,
) -> Option<Evaluated> {
    let (mut sum_nats, mut n_correct, mut n_tokens) = (0.0, 0u64, 0u64);
    for samples in samples.chunks(batch_size) {
        if stop.raised().is_some() {
            return None;
        }
        for score in decoder.score(&Batch::of(samples)) {
            sum_nats += f64::from(score.nll_nats);
            n_correct += u64::from(score.correct);
            n_tokens += 1;
        }
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
