//! What samples came to: the loss, and what preferences look like.

use ftl_core::metrics::{Evaluated, Rewards};

use super::pairs::PairLoss;
use super::{Method, Microbatch, Pairs, dpo, orpo};
use crate::ops::cross_entropy::TokenScore;

/// What a step's microbatches consist of, known before the model sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// What the likelihood is divided by: the supervised tokens, each times its weight; for pairs those of the chosen
    /// texts.
    pub weight: f64,
    /// Pairs.
    pub n_pairs: usize,
    /// What gradients are multiplied by ([`LossScale`](crate::optim::loss_scale::LossScale)); losses are not.
    pub loss_scale: f64,
}

impl Totals {
    /// Of all microbatches of a step.
    pub fn of(microbatches: &[Microbatch], loss_scale: f64) -> Self {
        let mut totals = Self { weight: 0.0, n_pairs: 0, loss_scale };
        for Microbatch { batch, n_samples: _, pairs } in microbatches {
            match pairs {
                None => totals.weight += batch.supervised_weights().map(f64::from).sum::<f64>(),
                Some(pairs) => {
                    totals.weight += pairs.chosen().len() as f64;
                    totals.n_pairs += pairs.indexes.len();
                }
            }
        }
        totals
    }
}

/// Adds up what microbatches came to.
#[derive(Clone, Debug)]
pub struct Tally<'a> {
    method: &'a Method,
    sum_nats: f64,
    weight: f64,
    sum_pair_losses: f64,
    n_pairs: usize,
    sum_chosen: f64,
    sum_rejected: f64,
    n_right: usize,
}

impl<'a> Tally<'a> {
    /// Of nothing yet.
    pub fn new(method: &'a Method) -> Self {
        Self {
            method,
            sum_nats: 0.0,
            weight: 0.0,
            sum_pair_losses: 0.0,
            n_pairs: 0,
            sum_chosen: 0.0,
            sum_rejected: 0.0,
            n_right: 0,
        }
    }

    /// Adds texts: the sum of the negative log-likelihoods, each times its weight, and that of the weights.
    pub(super) fn add_texts(&mut self, sum_nats: f64, weight: f64) {
        self.sum_nats += sum_nats;
        self.weight += weight;
    }

    /// Adds pairs, given the negative log-likelihoods of all scored tokens, and returns their losses.
    pub(super) fn add_pairs(&mut self, pairs: &Pairs, nll: &[f32]) -> Vec<PairLoss> {
        let chosen = pairs.chosen();
        self.add_texts(nll[chosen.clone()].iter().map(|nll| f64::from(*nll)).sum(), chosen.len() as f64);
        let mut losses = Vec::with_capacity(pairs.indexes.len());
        for (answers, index) in pairs.answers(nll).zip(&pairs.indexes) {
            let (loss, rewards) = match self.method {
                Method::Texts => unreachable!("texts are no pairs"),
                Method::Dpo { beta, loss, reference } => {
                    let reference = reference.of(pairs.part, *index);
                    let rewards = [0, 1].map(|side| dpo::reward(*beta, answers[side], reference[side]));
                    (dpo::pair_loss(*loss, *beta, answers, reference), rewards)
                }
                Method::Orpo { beta } => {
                    (orpo::pair_loss(*beta, answers), answers.map(|answer| orpo::reward(*beta, answer)))
                }
            };
            self.sum_pair_losses += loss.loss;
            self.n_pairs += 1;
            self.sum_chosen += rewards[0];
            self.sum_rejected += rewards[1];
            self.n_right += usize::from(rewards[0] > rewards[1]);
            losses.push(loss);
        }
        losses
    }

    /// What is minimised.
    pub fn loss_nats(&self) -> f64 {
        let (likelihood, pairs) = (self.sum_nats / self.weight, self.sum_pair_losses / self.n_pairs as f64);
        match self.method {
            Method::Texts => likelihood,
            Method::Dpo { .. } => pairs,
            Method::Orpo { .. } => likelihood + pairs,
        }
    }

    /// What preferences look like; `None` for texts.
    pub fn rewards(&self) -> Option<Rewards> {
        let n = self.n_pairs as f64;
        (self.n_pairs > 0).then(|| Rewards {
            rewards_chosen: self.sum_chosen / n,
            rewards_rejected: self.sum_rejected / n,
            reward_margin: (self.sum_chosen - self.sum_rejected) / n,
            reward_accuracy: self.n_right as f64 / n,
        })
    }
}

/// Adds up what held-out samples say.
#[derive(Clone, Debug)]
pub struct HeldOut<'a> {
    tally: Tally<'a>,
    sum_nats: f64,
    n_correct: u64,
    n_tokens: u64,
}

impl<'a> HeldOut<'a> {
    /// Of nothing yet.
    pub fn new(method: &'a Method) -> Self {
        Self { tally: Tally::new(method), sum_nats: 0.0, n_correct: 0, n_tokens: 0 }
    }

    /// Adds a microbatch with the scores of its supervised tokens.
    pub fn add(&mut self, microbatch: &Microbatch, scores: &[TokenScore]) {
        match &microbatch.pairs {
            None => {
                let (mut sum_nats, mut weight) = (0.0, 0.0);
                for (score, of_token) in scores.iter().zip(microbatch.batch.supervised_weights()) {
                    sum_nats += f64::from(score.nll_nats) * f64::from(of_token);
                    weight += f64::from(of_token);
                    self.n_correct += u64::from(score.correct);
                }
                self.n_tokens += scores.len() as u64;
                self.tally.add_texts(sum_nats, weight);
            }
            Some(pairs) => {
                let nll: Vec<f32> = scores.iter().map(|score| score.nll_nats).collect();
                self.tally.add_pairs(pairs, &nll);
                for place in pairs.chosen_answers() {
                    self.sum_nats += f64::from(nll[place]);
                    self.n_correct += u64::from(scores[place].correct);
                    self.n_tokens += 1;
                }
            }
        }
    }

    /// What it came to after `step`. Of pairs, perplexity and accuracy are those of the chosen answers.
    pub fn evaluated(&self, step: u64) -> Evaluated {
        let loss_nats = self.tally.loss_nats();
        let perplexity = match self.tally.method {
            Method::Texts => loss_nats.exp(),
            Method::Dpo { .. } | Method::Orpo { .. } => (self.sum_nats / self.n_tokens as f64).exp(),
        };
        Evaluated {
            step,
            loss_nats,
            perplexity,
            token_accuracy: self.n_correct as f64 / self.n_tokens as f64,
            tokens: self.n_tokens,
            rewards: self.tally.rewards(),
        }
    }
}
