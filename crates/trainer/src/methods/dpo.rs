//! Direct preference optimization (Rafailov et al. 2023), its losses as in TRL 1.x.
//!
//! With the log-probabilities of the chosen and the rejected answer and those of the reference model,
//! Δ = ln p − ln p_ref and δ = Δ chosen − Δ rejected:
//!
//! ```text
//! sigmoid   −ln σ(βδ)                                                   ′ = −β σ(−βδ)
//! cdpo      −(1 − ε) ln σ(βδ) − ε ln σ(−βδ)                             ′ = −β ((1 − ε) σ(−βδ) − ε σ(βδ))
//! hinge     max(0, 1 − βδ)                                              ′ = −β where βδ < 1, else 0
//! ipo       (δ̄ − 1/(2β))²,  δ̄ = Δ chosen / n − Δ rejected / m           ′ = 2 (δ̄ − 1/(2β)), by n and m
//! ```
//!
//! ′ is the derivative with respect to Δ chosen; that with respect to Δ rejected is its negative.

use ftl_core::spec::resolved::DpoLoss;

use super::pairs::{Answer, PairLoss, log_sigmoid, sigmoid};

/// The loss of a pair, chosen and rejected, given what the model and what the reference says.
pub fn pair_loss(loss: DpoLoss, beta: f64, answers: [Answer; 2], reference: [f64; 2]) -> PairLoss {
    let [chosen, rejected] = answers;
    let [gain_chosen, gain_rejected] = [chosen.log_prob - reference[0], rejected.log_prob - reference[1]];
    let x = beta * (gain_chosen - gain_rejected);
    let of = |loss: f64, d_x: f64| PairLoss { loss, d_chosen: beta * d_x, d_rejected: -beta * d_x };
    match loss {
        DpoLoss::Sigmoid => of(-log_sigmoid(x), -sigmoid(-x)),
        DpoLoss::Cdpo { label_smoothing: wrong } => of(
            -(1.0 - wrong) * log_sigmoid(x) - wrong * log_sigmoid(-x),
            -(1.0 - wrong) * sigmoid(-x) + wrong * sigmoid(x),
        ),
        DpoLoss::Hinge => of((1.0 - x).max(0.0), if x < 1.0 { -1.0 } else { 0.0 }),
        DpoLoss::Ipo => {
            // An answer that was cut away whole is no pair any more, so none is empty.
            let [n, m] = [chosen, rejected].map(|answer| answer.n_tokens as f64);
            let distance = gain_chosen / n - gain_rejected / m - 1.0 / (2.0 * beta);
            PairLoss {
                loss: distance * distance,
                d_chosen: 2.0 * distance / n,
                d_rejected: -2.0 * distance / m,
            }
        }
    }
}

/// How much more the model likes an answer than the reference does: DPO's implicit reward.
pub fn reward(beta: f64, answer: Answer, reference: f64) -> f64 {
    beta * (answer.log_prob - reference)
}
