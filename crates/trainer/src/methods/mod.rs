//! The methods: what a microbatch is, what is minimised over a step's microbatches, and what held-out samples say.
//!
//! ```text
//! sft    Σ w · nll / Σ w over supervised tokens                          a text is a sample
//! dpo    mean over pairs of f(β · (Δ chosen − Δ rejected))               Δ: log-probability beyond the reference's
//! orpo   mean nll over chosen texts − β · mean over pairs of ln σ(…)     σ of the log odds ratio
//! ```
//!
//! All means are over the whole step, so accumulation equals one big batch. The losses of a pair are pure functions in
//! [`dpo`] and [`orpo`]; what the model does with them is [`ops::cross_entropy`](crate::ops::cross_entropy)'s business.

pub mod dpo;
pub mod orpo;
pub mod pairs;
pub mod reference;
mod tally;

use ftl_core::spec::resolved;
use ftl_core::{Problem, ProblemKind};

use crate::data::batch::Batch;
use crate::data::load::Prepared;
use crate::data::sample::Sample;
use crate::model::decoder::{Decoder, TrainPass};
use crate::ops::cross_entropy::Objective;
use crate::ops::param::{Gradients, Param};

use pairs::{Learned, Pairs};
use reference::{DataPart, Reference};

pub use tally::{HeldOut, Tally, Totals};

/// A method with what it knows beside the model.
#[derive(Clone, Debug)]
pub enum Method {
    /// Texts and answers, one by one: supervised fine-tuning and continued pre-training.
    Texts,
    /// Direct preference optimization.
    Dpo {
        /// How much a difference to the reference counts.
        beta: f64,
        /// The loss of a pair.
        loss: resolved::DpoLoss,
        /// What the reference model says to the pairs.
        reference: Reference,
    },
    /// Odds ratio preference optimization.
    Orpo {
        /// How much the odds ratio counts.
        beta: f64,
    },
}

/// What goes through the model at once, and what it consists of.
#[derive(Clone, Debug)]
pub struct Microbatch {
    /// The tokens.
    pub batch: Batch,
    /// Examples of the dataset in it; a pair is one.
    pub n_samples: usize,
    /// Where its pairs are, if it consists of pairs.
    pairs: Option<Pairs>,
}

/// What a backward pass goes to.
pub enum Onto<'a> {
    /// Gradients, to be summed over microbatches.
    Gradients(&'a Decoder),
    /// The weights: the step has one microbatch, and each is updated as soon as its gradient is there.
    Weights {
        /// What is trained.
        decoder: &'a mut Decoder,
        /// Takes a weight and the gradients.
        update: &'a mut dyn FnMut(&mut Param, &mut Gradients),
    },
}

impl Method {
    /// The one that a spec asks for. The reference of [`Method::Dpo`] says nothing yet.
    pub fn of(spec: resolved::Method) -> Self {
        match spec {
            resolved::Method::Sft | resolved::Method::Cpt => Self::Texts,
            resolved::Method::Dpo { beta, loss } => Self::Dpo { beta, loss, reference: Reference::default() },
            resolved::Method::Orpo { beta } => Self::Orpo { beta },
        }
    }

    /// Lays some of `samples`, which are a whole part of the data, end to end: pairs as their chosen answers, then their
    /// rejected ones.
    pub fn microbatch(&self, part: DataPart, samples: &[Sample], indexes: &[usize]) -> Microbatch {
        let n_samples = indexes.len();
        let learned = match self {
            Self::Texts => {
                let batch = Batch::of(indexes.iter().map(|index| &samples[*index]));
                return Microbatch { batch, n_samples, pairs: None };
            }
            Self::Dpo { .. } => Learned::Answers,
            Self::Orpo { .. } => Learned::ChosenText,
        };
        let (batch, pairs) = Pairs::of((part, samples), indexes, learned);
        Microbatch { batch, n_samples, pairs: Some(pairs) }
    }

    /// Adds the gradients of the objective of a step with these `totals` that this microbatch has to `gradients`, times the
    /// loss scale, and what it came to to `tally`.
    pub fn backward(
        &self,
        onto: Onto<'_>,
        microbatch: &Microbatch,
        (totals, how): (&Totals, TrainPass),
        (gradients, tally): (&mut Gradients, &mut Tally<'_>),
    ) {
        let batch = &microbatch.batch;
        let Some(pairs) = &microbatch.pairs else {
            let weights = batch.scaled_weights(totals.loss_scale / totals.weight);
            let nll = onto.backpropagate(batch, Objective::Weighted(&weights), how, gradients);
            let sum_nats = nll.iter().zip(batch.supervised_weights());
            let sum_nats = sum_nats.map(|(nll, weight)| f64::from(*nll) * f64::from(weight)).sum();
            tally.add_texts(sum_nats, batch.supervised_weights().map(f64::from).sum());
            return;
        };
        let mut derivative = |nll: &[f32]| {
            let losses = tally.add_pairs(pairs, nll);
            pairs.derivatives(&losses, totals)
        };
        let objective = Objective::Coupled(&mut derivative);
        onto.backpropagate(batch, objective, how, gradients);
    }
}

impl Onto<'_> {
    fn backpropagate(
        self,
        batch: &Batch,
        objective: Objective<'_>,
        how: TrainPass,
        gradients: &mut Gradients,
    ) -> Vec<f32> {
        match self {
            Self::Gradients(decoder) => decoder.objective_and_gradients(batch, objective, how, gradients),
            Self::Weights { decoder, update } => {
                decoder.objective_and_updates(batch, objective, (how, gradients), update)
            }
        }
    }
}

/// Whether the data are what the method learns from.
///
/// # Errors
/// Texts where pairs are needed, and the other way round.
pub fn check(method: resolved::Method, data: &Prepared) -> Result<(), Problem> {
    let wrong = |message: &str, hint: &str| {
        Err(Problem::new(ProblemKind::BadData, message).at("data.train").hint(hint))
    };
    let is_pair = |sample: &Sample| sample.rejected.is_some();
    let mut samples = data.train.iter().chain(&data.eval);
    match method.learns_from() {
        resolved::LearnsFrom::Texts if samples.any(is_pair) => wrong(
            "the data are pairs of a chosen and a rejected answer, and `method.kind` learns from single answers",
            "set `method.kind` to dpo or orpo, or give data of single answers",
        ),
        resolved::LearnsFrom::Pairs if !samples.all(is_pair) => wrong(
            "the data are single answers, and `method.kind` learns from pairs of a chosen and a rejected answer",
            "give data with `chosen` and `rejected`, or set `method.kind` to sft",
        ),
        resolved::LearnsFrom::Texts | resolved::LearnsFrom::Pairs => Ok(()),
    }
}
