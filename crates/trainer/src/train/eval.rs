//! Scores held-out samples.

use ftl_core::Observer;
use ftl_core::job::Phase;
use ftl_core::metrics::Evaluated;
use ftl_core::stop::StopSignal;
use serde::{Deserialize, Serialize};

use crate::data::batch::lots;
use crate::data::samples::Samples;
use crate::methods::reference::DataPart;
use crate::methods::{HeldOut, Method};
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
    /// Takes note of the next evaluation of a run that began after `start` steps.
    pub fn add(&mut self, evaluated: Evaluated, start: u64) {
        // A loss that is no number compares with none, and must not stay the best.
        let improves = |best: &Evaluated| best.loss_nats.is_nan() || evaluated.loss_nats < best.loss_nats;
        if evaluated.step == start {
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

/// Scores `samples`, all that are held out, after `step`, as many at once as have `most_tokens` (or a longer one alone),
/// so that memory does not grow with their number; `None` if stopped before the end.
pub fn evaluate(
    (decoder, method): (&Decoder, &Method),
    samples: &Samples,
    (most_tokens, step): (usize, u64),
    (observer, stop): (&mut dyn Observer, &StopSignal),
) -> Option<Evaluated> {
    let mut held_out = HeldOut::new(method);
    let mut progress = Progress::start(observer, Phase::Evaluating, (samples.len(), "rows"));
    let mut n_done = 0;
    let lengths: Vec<usize> = samples.lengths().collect();
    for lot in lots(&lengths, |n_tokens| *n_tokens, most_tokens) {
        if stop.raised().is_some() {
            return None;
        }
        let indexes: Vec<usize> = (n_done..n_done + lot.len()).collect();
        let microbatch = method.microbatch(DataPart::Eval, samples, &indexes);
        held_out.add(&microbatch, &decoder.score(&microbatch.batch));
        n_done += lot.len();
        progress.done(n_done);
    }
    Some(held_out.evaluated(step))
}
