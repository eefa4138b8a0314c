//! Odds ratio preference optimization (Hong et al. 2024), as TRL computes it.
//!
//! With a = ln p / n, the mean log-probability of an answer's tokens, and odds(a) = e^a / (1 − e^a):
//!
//! ```text
//! x = ln odds(a chosen) − ln odds(a rejected) = a_c − a_r − (ln(1 − e^a_c) − ln(1 − e^a_r))
//! loss = −β ln σ(x)        d x / d a_c = 1 / (1 − e^a_c)        d loss / d x = −β σ(−x)
//! ```
//!
//! To it comes the mean negative log-likelihood of the chosen texts, prompts included; that is no matter of one pair.

use super::pairs::{Answer, PairLoss, log_sigmoid, sigmoid};

/// The odds ratio's part of the loss of a pair, chosen and rejected.
pub fn pair_loss(beta: f64, [chosen, rejected]: [Answer; 2]) -> PairLoss {
    let [c, r] = [chosen, rejected].map(mean_log_prob);
    let x = (c - r) - (log_1m_exp(c) - log_1m_exp(r));
    let d_x = -beta * sigmoid(-x);
    let d_mean = |mean: f64| -1.0 / mean.exp_m1();
    PairLoss {
        loss: -beta * log_sigmoid(x),
        d_chosen: d_x * d_mean(c) / chosen.n_tokens as f64,
        d_rejected: -d_x * d_mean(r) / rejected.n_tokens as f64,
    }
}

/// What TRL logs as an answer's reward.
pub fn reward(beta: f64, answer: Answer) -> f64 {
    beta * answer.log_prob / answer.n_tokens as f64
}

/// The odds of an answer that the model is sure of are infinite; a probability just below 1 keeps numbers finite.
fn mean_log_prob(answer: Answer) -> f64 {
    (answer.log_prob / answer.n_tokens as f64).min(-f64::EPSILON)
}

/// ln(1 − e^a) for a < 0, exact at both ends (Mächler 2012).
fn log_1m_exp(a: f64) -> f64 {
    if a > -std::f64::consts::LN_2 { (-a.exp_m1()).ln() } else { (-a.exp()).ln_1p() }
}
