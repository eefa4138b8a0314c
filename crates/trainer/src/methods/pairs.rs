//! Pairs of answers as one batch: the chosen ones, then the rejected ones, each with its prompt as a segment.
//!
//! ```text
//! segments   prompt a · chosen a | prompt b · chosen b | prompt a · rejected a | prompt b · rejected b
//! targets    ------   ########     ------   ########     ------   ##########     ------   ##########     dpo
//!            ######   ########     ######   ########     ------   ##########     ------   ##########     orpo
//! ```

use std::ops::Range;

use super::reference::DataPart;
use super::tally::Totals;
use crate::data::batch::Batch;
use crate::data::sample::{IGNORED, Sample};

/// Which tokens of a pair are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Those of both answers.
    Answers,
    /// Those of both answers and of the chosen answer's prompt, as ORPO's likelihood wants it.
    ChosenText,
}

/// What the model says to an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The logarithm of its probability after its prompt, in nats.
    pub log_prob: f64,
    /// Its tokens.
    pub n_tokens: usize,
}

/// The loss of a pair, with its derivatives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    /// The loss.
    pub loss: f64,
    /// Its derivative with respect to the chosen answer's log-probability.
    pub d_chosen: f64,
    /// Its derivative with respect to the rejected answer's log-probability.
    pub d_rejected: f64,
}

/// Where the pairs of a batch are.
#[derive(Clone, Debug)]
pub struct Pairs {
    /// The part of the data and the samples in it that the pairs are.
    pub part: DataPart,
    /// Their indexes there.
    pub indexes: Vec<usize>,
    learned: Learned,
    /// For each segment its scored tokens, among all scored tokens of the batch.
    scored: Vec<Range<usize>>,
    /// For each scored token whether it belongs to an answer.
    answers: Vec<bool>,
}

impl Pairs {
    /// Lays pairs end to end.
    pub fn of((part, samples): (DataPart, &[Sample]), indexes: &[usize], learned: Learned) -> (Batch, Self) {
        let indexes = indexes.to_vec();
        let (scored, answers) = (Vec::with_capacity(2 * indexes.len()), Vec::new());
        let mut pairs = Self { part, indexes, learned, scored, answers };
        let mut batch = Batch::default();
        for index in pairs.indexes.clone() {
            pairs.push(&mut batch, &samples[index], learned);
        }
        for index in pairs.indexes.clone() {
            let rejected = samples[index].rejected.as_deref().expect("the data were checked to be pairs");
            pairs.push(&mut batch, rejected, Learned::Answers);
        }
        (batch, pairs)
    }

    fn push(&mut self, batch: &mut Batch, text: &Sample, learned: Learned) {
        let Sample { ids, labels, .. } = text;
        let start = self.answers.len();
        let predicted = labels.iter().skip(1);
        match learned {
            Learned::Answers => {
                batch.push(ids, labels);
                self.answers.extend(predicted.filter(|label| **label != IGNORED).map(|_| true));
            }
            Learned::ChosenText => {
                let all = |(id, label): (&u32, &i32)| if *label == IGNORED { *id as i32 } else { *label };
                batch.push(ids, &ids.iter().zip(labels).map(all).collect::<Vec<_>>());
                self.answers.extend(predicted.map(|label| *label != IGNORED));
            }
        }
        self.scored.push(start..self.answers.len());
    }

    /// What the model says to the chosen and the rejected answer of each pair, given the negative log-likelihoods of all
    /// scored tokens.
    pub fn answers<'a>(&'a self, nll: &'a [f32]) -> impl Iterator<Item = [Answer; 2]> + 'a {
        let n_pairs = self.indexes.len();
        (0..n_pairs).map(move |i| [self.answer(i, nll), self.answer(n_pairs + i, nll)])
    }

    fn answer(&self, segment: usize, nll: &[f32]) -> Answer {
        let mut answer = Answer { log_prob: 0.0, n_tokens: 0 };
        for place in self.scored[segment].clone().filter(|place| self.answers[*place]) {
            answer.log_prob -= f64::from(nll[place]);
            answer.n_tokens += 1;
        }
        answer
    }

    /// The scored tokens that belong to chosen answers.
    pub fn chosen_answers(&self) -> impl Iterator<Item = usize> {
        self.chosen().filter(|place| self.answers[*place])
    }

    /// The scored tokens of the chosen texts: the answers, for ORPO with their prompts.
    pub fn chosen(&self) -> Range<usize> {
        0..self.scored[..self.indexes.len()].last().map_or(0, |last| last.end)
    }

    /// The derivative of the step's objective with respect to the negative log-likelihood of each scored token, times the
    /// loss scale.
    pub fn derivatives(&self, losses: &[PairLoss], totals: &Totals) -> Vec<f32> {
        let n_pairs = self.indexes.len();
        let mut derivatives = Vec::with_capacity(self.answers.len());
        for (segment, scored) in self.scored.iter().enumerate() {
            let loss = &losses[segment % n_pairs];
            let (d_log_prob, learned) = if segment < n_pairs {
                (loss.d_chosen, self.learned)
            } else {
                (loss.d_rejected, Learned::Answers)
            };
            let of_text = match learned {
                Learned::Answers => 0.0,
                Learned::ChosenText => 1.0 / totals.weight,
            };
            // log p = −Σ nll
            let of_answer = -d_log_prob / totals.n_pairs as f64;
            derivatives.extend(scored.clone().map(|place| {
                let derivative = if self.answers[place] { of_text + of_answer } else { of_text };
                (derivative * totals.loss_scale) as f32
            }));
        }
        derivatives
    }
}

/// ln σ(x), which does not overflow.
pub(super) fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// σ(x).
pub(super) fn sigmoid(x: f64) -> f64 {
    log_sigmoid(x).exp()
}
