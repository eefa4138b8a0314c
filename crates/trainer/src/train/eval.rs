//! Scores held-out samples.

use ftl_core::metrics::Evaluated;
use ftl_core::stop::StopSignal;
use serde::{Deserialize, Serialize};

use crate::data::sample::Sample;
use crate::methods::reference::DataPart;
use crate::methods::{HeldOut, Method};
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

/// Scores `samples`, all that are held out, after `step`, `batch_size` of them at once; `None` if stopped before the
/// end.
pub fn evaluate(
    (decoder, method): (&Decoder, &Method),
    samples: &[Sample],
    (batch_size, step): (usize, u64),
    stop: &StopSignal,
) -> Option<Evaluated> {
    let mut held_out = HeldOut::new(method);
    let indexes: Vec<usize> = (0..samples.len()).collect();
    for indexes in indexes.chunks(batch_size) {
        if stop.raised().is_some() {
            return None;
        }
        let microbatch = method.microbatch(DataPart::Eval, samples, indexes);
        held_out.add(&microbatch, &decoder.score(&microbatch.batch));
    }
    Some(held_out.evaluated(step))
}
