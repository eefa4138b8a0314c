//! The losses of preference pairs against TRL's, and their derivatives against central differences.
//!
//! The numbers are `preference_losses/cases.json` of the directory that `FTL_FIXTURES` names, made with trl 1.16.0 on
//! torch 2.15.0 in f32, hence the tolerance.

use ftl_core::spec::resolved::DpoLoss;
use ftl_trainer::methods::pairs::{Answer, PairLoss};
use ftl_trainer::methods::{dpo, orpo};
use serde_json::Value;

use crate::draw::Draw;
use crate::golden;

/// Rounding of f32, relative to values from 1 on.
const TOLERANCE: f64 = 5e-6;
const STEP: f64 = 1e-5;
const SLOPE_TOLERANCE: f64 = 1e-7;

/// A pair and what the reference says to it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    answers: [Answer; 2],
    reference: [f64; 2],
}

impl Pair {
    /// The same with other lengths, which only ipo looks at.
    fn with_lengths(self, n_tokens: [usize; 2]) -> Self {
        let [chosen, rejected] = self.answers;
        let [n, m] = n_tokens;
        Self { answers: [Answer { n_tokens: n, ..chosen }, Answer { n_tokens: m, ..rejected }], ..self }
    }

    /// The same with all log-probabilities divided by the lengths.
    fn normalised(self) -> Self {
        let Self { answers, reference } = self;
        let n = answers.map(|answer| answer.n_tokens as f64);
        let mean = |answer: Answer| Answer { log_prob: answer.log_prob / answer.n_tokens as f64, ..answer };
        Self { answers: answers.map(mean), reference: [reference[0] / n[0], reference[1] / n[1]] }
    }
}

fn pairs(case: &Value) -> Vec<Pair> {
    let of = |key: &str| golden::numbers(&case[key]);
    let (policy, reference) =
        (["policy_chosen", "policy_rejected"].map(of), ["ref_chosen", "ref_rejected"].map(of));
    let lengths = ["len_chosen", "len_rejected"].map(of);
    let pair = |i: usize| Pair {
        answers: [0, 1].map(|side| Answer { log_prob: policy[side][i], n_tokens: lengths[side][i] as usize }),
        reference: [0, 1].map(|side| reference[side][i]),
    };
    (0..policy[0].len()).map(pair).collect()
}

/// How a pair is changed before its loss is taken.
type Form = fn(Pair) -> Pair;

#[test]
fn losses_of_pairs_are_those_of_trl() {
    let Some(fixtures) = golden::directory("FTL_FIXTURES") else { return };
    let cases = golden::json(&fixtures.join("preference_losses/cases.json"));
    let mut worst = 0f64;
    for case in cases["cases"].as_array().expect("cases") {
        let number = |key: &str| case[key].as_f64().expect("a number");
        let (beta, label_smoothing) = (number("beta"), number("label_smoothing"));
        let cdpo = DpoLoss::Cdpo { label_smoothing };
        let same = |pair: Pair| pair;
        // What the spec does not have is one of the others of other numbers.
        let forms: [(&str, DpoLoss, Form); 7] = [
            ("sigmoid", DpoLoss::Sigmoid, same),
            ("cdpo", cdpo, same),
            ("hinge", DpoLoss::Hinge, same),
            ("ipo", DpoLoss::Ipo, same),
            ("ipo_summed", DpoLoss::Ipo, |pair| pair.with_lengths([1, 1])),
            ("sigmoid_norm", DpoLoss::Sigmoid, Pair::normalised),
            ("robust", DpoLoss::Sigmoid, same),
        ];
        for (name, loss, form) in forms {
            if name == "robust" && label_smoothing != 0.0 {
                continue;
            }
            let expected = golden::numbers(&case["per_pair"][name]);
            for (pair, expected) in pairs(case).into_iter().zip(expected) {
                let Pair { answers, reference } = form(pair);
                let got = dpo::pair_loss(loss, beta, answers, reference).loss;
                let difference = (got - expected).abs() / expected.abs().max(1.0);
                assert!(difference < TOLERANCE, "{name}, beta {beta}: {got} for {expected}");
                worst = worst.max(difference);
                // Another strength shows.
                let other = dpo::pair_loss(loss, 1.5 * beta, answers, reference).loss;
                assert!(other == 0.0 || (other - expected).abs() > 10.0 * TOLERANCE, "{name}: {other}");
            }
        }
    }
    println!("worst {worst:.1e}");
}

/// A loss of a pair as a function of both log-probabilities.
type Loss = Box<dyn Fn([Answer; 2]) -> PairLoss>;

#[test]
fn derivatives_of_losses_are_their_slopes() {
    let mut draw = Draw::new(41);
    let mut worst = 0f64;
    for _ in 0..50 {
        let mut log_prob = || -(draw.count(1..4000) as f64) / 100.0;
        let reference = [log_prob(), log_prob()];
        let log_probs = [log_prob(), log_prob()];
        let lengths = [draw.count(1..40), draw.count(1..40)];
        let mut losses: Vec<(String, Loss)> = Vec::new();
        for loss in [DpoLoss::Sigmoid, DpoLoss::Ipo, DpoLoss::Hinge, DpoLoss::Cdpo { label_smoothing: 0.2 }] {
            losses.push((
                format!("{loss:?}"),
                Box::new(move |answers| dpo::pair_loss(loss, 0.3, answers, reference)),
            ));
        }
        losses.push(("Orpo".to_owned(), Box::new(|answers| orpo::pair_loss(0.3, answers))));
        let answers = |log_probs: [f64; 2]| {
            [0, 1].map(|side| Answer { log_prob: log_probs[side], n_tokens: lengths[side] })
        };
        for (name, loss) in losses {
            let PairLoss { d_chosen, d_rejected, .. } = loss(answers(log_probs));
            let slope = |[c, r]: [f64; 2]| {
                let at = |step: f64| loss(answers([log_probs[0] + c * step, log_probs[1] + r * step])).loss;
                (at(STEP) - at(-STEP)) / (2.0 * STEP)
            };
            for (derivative, slope) in [(d_chosen, slope([1.0, 0.0])), (d_rejected, slope([0.0, 1.0]))] {
                let seen = (derivative - slope).abs() / slope.abs().max(1.0);
                assert!(
                    seen < SLOPE_TOLERANCE,
                    "{name} {answers:?}: {derivative} for {slope}",
                    answers = log_probs
                );
                worst = worst.max(seen);
            }
        }
    }
    println!("worst {worst:.1e}");
}

#[test]
fn an_answer_that_is_certain_has_a_finite_loss() {
    let [certain, unlikely] = [0.0, -50.0].map(|log_prob| Answer { log_prob, n_tokens: 3 });
    for answers in [[certain, unlikely], [unlikely, certain], [certain, certain]] {
        let PairLoss { loss, d_chosen, d_rejected } = orpo::pair_loss(0.1, answers);
        assert!([loss, d_chosen, d_rejected].iter().all(|value| value.is_finite()), "{answers:?}");
    }
    let far = [Answer { log_prob: -1.0, n_tokens: 3 }, Answer { log_prob: -5000.0, n_tokens: 3 }];
    for answers in [far, [far[1], far[0]]] {
        let PairLoss { loss, d_chosen, .. } = dpo::pair_loss(DpoLoss::Sigmoid, 1.0, answers, [-1.0, -1.0]);
        assert!(loss.is_finite() && d_chosen.is_finite(), "{answers:?}");
    }
}
