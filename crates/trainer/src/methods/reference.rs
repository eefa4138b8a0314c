//! What the reference model of DPO says to the pairs: the model that training starts from, its adapter off.
//!
//! It never changes, so each pair is scored once, before the first step.

use ftl_core::StopSignal;

use super::pairs::{Learned, Pairs};
use crate::data::samples::Samples;
use crate::model::decoder::Decoder;

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPart {
    /// What is trained on.
    Train,
    /// What is held out.
    Eval,
}

/// The log-probabilities of the chosen and the rejected answer of each pair that the run uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    train: Vec<Option<[f64; 2]>>,
    eval: Vec<Option<[f64; 2]>>,
}

impl Reference {
    /// Takes over what [`score`] found, for the samples with these indexes.
    pub fn set(&mut self, part: DataPart, indexes: &[usize], log_probs: &[[f64; 2]]) {
        let of_part = match part {
            DataPart::Train => &mut self.train,
            DataPart::Eval => &mut self.eval,
        };
        of_part.resize(indexes.iter().max().map_or(0, |last| last + 1), None);
        for (index, log_probs) in indexes.iter().zip(log_probs) {
            of_part[*index] = Some(*log_probs);
        }
    }

    /// Those of one pair.
    ///
    /// # Panics
    /// If it was not scored.
    pub fn of(&self, part: DataPart, index: usize) -> [f64; 2] {
        let of_part = match part {
            DataPart::Train => &self.train,
            DataPart::Eval => &self.eval,
        };
        of_part.get(index).copied().flatten().expect("every pair of the run was scored before the first step")
    }
}

/// Scores pairs, `batch_size` at once, and tells `progress` how many are done; `None` if stopped before the end. What
/// goes through the model together is the same in every attempt, so that a resumed run has the same numbers.
pub fn score(
    base: &Decoder,
    (part, samples): (DataPart, &Samples),
    (indexes, batch_size): (&[usize], usize),
    stop: &StopSignal,
    progress: &mut dyn FnMut(usize),
) -> Option<Vec<[f64; 2]>> {
    let mut log_probs = Vec::with_capacity(indexes.len());
    for indexes in indexes.chunks(batch_size) {
        if stop.raised().is_some() {
            return None;
        }
        let (batch, pairs) = Pairs::of((part, samples), indexes, Learned::Answers);
        let nll: Vec<f32> = base.score(&batch).iter().map(|score| score.nll_nats).collect();
        log_probs.extend(pairs.answers(&nll).map(|answers| answers.map(|answer| answer.log_prob)));
        progress(indexes.len());
    }
    Some(log_probs)
}
