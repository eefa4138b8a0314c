//! The numbers of a run, with their units in their names.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// One optimizer step. Rates are divided by what was counted in this step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stepped {
    /// Counts from 1.
    pub step: u64,
    /// How often the training data has been gone through, with its fraction.
    pub epoch: f64,
    /// The objective that is minimised: for text the mean negative log-likelihood over the supervised tokens
    /// of all microbatches of the step, by their weights; for pairs the mean of their losses.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss_nats: f64,
    /// Global L2 norm of the gradient before clipping.
    #[serde(deserialize_with = "number_or_nan")]
    pub grad_norm: f64,
    /// The learning rate that this step used.
    pub learning_rate: f64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Tokens that the loss counted.
    pub supervised_tokens: u64,
    /// Examples of the dataset.
    pub samples: u64,
    /// `tokens` per second of `step_millis`.
    pub tokens_per_sec: f64,
    /// `samples` per second of `step_millis`.
    pub samples_per_sec: f64,
    /// Wall-clock time of the step, waiting for data included.
    pub step_millis: f64,
    /// The part of it that waited for data.
    pub data_millis: f64,
    /// What a method that learns from pairs says of them; `None` for the other methods.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub rewards: Option<Rewards>,
}

/// One pass over the held-out data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The step after which it was taken; 0 before training.
    pub step: u64,
    /// The objective of training: for text the mean negative log-likelihood over the supervised tokens, by their
    /// weights; for pairs the mean of their losses.
    #[serde(deserialize_with = "number_or_nan")]
    pub loss_nats: f64,
    /// For text `exp(loss_nats)`; for pairs that of the mean negative log-likelihood of the chosen answers.
    #[serde(deserialize_with = "number_or_nan")]
    pub perplexity: f64,
    /// Share of supervised tokens (of pairs: of the chosen answers) whose most likely prediction is right, 0 to 1.
    pub token_accuracy: f64,
    /// Supervised tokens (of pairs: of the chosen answers) that were scored.
    pub tokens: u64,
    /// What a method that learns from pairs says of them; `None` for the other methods.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub rewards: Option<Rewards>,
}

/// Means over the preference pairs that were counted. The reward of an answer is what TRL calls by that name: for DPO
/// `beta` times the log-probability that training added to it, for ORPO `beta` times its mean log-probability per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rewards {
    /// Of the preferred answers.
    #[serde(deserialize_with = "number_or_nan")]
    pub rewards_chosen: f64,
    /// Of the others.
    #[serde(deserialize_with = "number_or_nan")]
    pub rewards_rejected: f64,
    /// `rewards_chosen - rewards_rejected`.
    #[serde(deserialize_with = "number_or_nan")]
    pub reward_margin: f64,
    /// Share of the pairs whose preferred answer has the higher reward, 0 to 1.
    pub reward_accuracy: f64,
}

impl fmt::Display for Rewards {
    /// Margin and accuracy, as a line of progress has room for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rewards_chosen: _, rewards_rejected: _, reward_margin, reward_accuracy } = self;
        write!(f, "reward margin {reward_margin:.3}, accuracy {:.1} %", reward_accuracy * 100.0)
    }
}

/// JSON has no NaN: a run that diverged writes `null`, and its events must stay readable.
fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
