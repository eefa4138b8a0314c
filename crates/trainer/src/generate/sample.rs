//! Chooses a token by its logits. References: top-p is nucleus sampling (Holtzman et al. 2019); what stays among
//! equals is as in transformers' `TopKLogitsWarper` and `TopPLogitsWarper`.

use std::cmp::Ordering;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Random, Sampling};

/// Chooses the tokens of one sequence.
pub(super) struct Sampler {
    sampling: Sampling,
    rng: ChaCha8Rng,
}

/// A token that may be drawn.
#[derive(Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Probability times a constant.
    weight: f64,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling, sequence_index: u64) -> Self {
        let seed = match sampling {
            Sampling::Greedy => 0,
            Sampling::Random(Random { seed, .. }) => seed,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(sequence_index);
        Self { sampling, rng }
    }

    /// The next token; `None` where the logits are not numbers.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        let best = best(logits)?;
        match self.sampling {
            Sampling::Greedy => Some(best),
            Sampling::Random(random) => Some(self.draw(&random, logits, logits[best as usize])),
        }
    }

    fn draw(&mut self, random: &Random, logits: &[f32], highest: f32) -> u32 {
        let weight = |logit: f32| ((f64::from(logit) - f64::from(highest)) / random.temperature).exp();
        let lowest = random.top_k.map_or(f32::NEG_INFINITY, |k| kth_highest(logits, k));
        let mut candidates: Vec<Candidate> = (0..)
            .zip(logits)
            .filter(|(_, logit)| **logit >= lowest)
            .map(|(id, logit)| Candidate { id, logit: *logit, weight: weight(*logit) })
            .collect();
        if random.top_p < 1.0 {
            keep_nucleus(&mut candidates, random.top_p);
        }
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        let mut left = self.rng.random::<f64>() * total;
        for candidate in &candidates {
            left -= candidate.weight;
            if left < 0.0 {
                return candidate.id;
            }
        }
        // Rounding can leave a little over; it goes to the last that is possible at all.
        let possible = candidates.iter().rfind(|candidate| candidate.weight > 0.0);
        possible.expect("the likeliest token has weight 1").id
    }
}

/// The lowest id among the highest logits; `None` where they are not numbers.
fn best(logits: &[f32]) -> Option<u32> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    let (id, logit) = (0u32..).zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    logit.is_finite().then_some(id)
}

fn kth_highest(logits: &[f32], k: usize) -> f32 {
    if k > logits.len() {
        return f32::NEG_INFINITY;
    }
    let mut sorted = logits.to_vec();
    let (_, kth, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    *kth
}

/// Keeps the likeliest tokens, up to the one with which their probabilities reach `top_p`.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f64) {
    candidates.sort_by(by_likelihood);
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut before = 0.0;
    let n_kept = candidates.iter().take_while(|candidate| {
        let is_kept = before < top_p * total;
        before += candidate.weight;
        is_kept
    });
    let n_kept = n_kept.count();
    candidates.truncate(n_kept.max(1));
}

fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: Random = Random { temperature: 1.0, top_p: 1.0, top_k: None, seed: 7 };

    fn shares(random: Random, logits: &[f32]) -> Vec<f64> {
        const N: usize = 20_000;
        let mut sampler = Sampler::new(Sampling::Random(random), 0);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..N {
            counts[sampler.choose(logits).expect("finite") as usize] += 1.0 / N as f64;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_equals() {
        let mut sampler = Sampler::new(Sampling::Greedy, 0);
        assert_eq!(sampler.choose(&[0.0, 2.0, -1.0, 2.0]), Some(1));
        assert_eq!(sampler.choose(&[f32::NEG_INFINITY, -3.0]), Some(1));
    }

    #[test]
    fn logits_that_are_no_numbers_choose_nothing() {
        for logits in [&[0.0, f32::NAN][..], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY], &[]] {
            assert_eq!(Sampler::new(Sampling::Greedy, 0).choose(logits), None);
            assert_eq!(Sampler::new(Sampling::Random(RANDOM), 0).choose(logits), None);
        }
    }

    #[test]
    fn shares_are_those_of_the_softmax_of_what_stays() {
        // Probabilities 1/2, 1/4, 1/8, 1/8.
        let logits = [2.0f32.ln(), 1.0f32.ln(), 0.5f32.ln(), 0.5f32.ln()];
        let cases = [
            (RANDOM, [0.5, 0.25, 0.125, 0.125]),
            (Random { temperature: 0.5, ..RANDOM }, [16.0 / 22.0, 4.0 / 22.0, 1.0 / 22.0, 1.0 / 22.0]),
            (Random { top_k: Some(2), ..RANDOM }, [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]),
            // Equals of the last one stay.
            (Random { top_k: Some(3), ..RANDOM }, [0.5, 0.25, 0.125, 0.125]),
            (Random { top_k: Some(9), ..RANDOM }, [0.5, 0.25, 0.125, 0.125]),
            (Random { top_p: 0.3, ..RANDOM }, [1.0, 0.0, 0.0, 0.0]),
            (Random { top_p: 0.7, ..RANDOM }, [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]),
            (Random { top_p: 0.8, ..RANDOM }, [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0, 0.0]),
            // Top-p counts what top-k left: 2/3 is enough for 0.6.
            (Random { top_k: Some(2), top_p: 0.6, ..RANDOM }, [1.0, 0.0, 0.0, 0.0]),
            (Random { temperature: 1e-30, ..RANDOM }, [1.0, 0.0, 0.0, 0.0]),
        ];
        for (random, expected) in cases {
            for (share, expected) in shares(random, &logits).iter().zip(expected) {
                // Four standard deviations of 20,000 draws.
                assert!((share - expected).abs() < 0.015, "{random:?}: {share} for {expected}");
            }
        }
    }

    #[test]
    fn a_seed_repeats_and_sequences_differ() {
        let logits = [0.0f32; 100];
        let draws = |seed: u64, sequence_index: u64| -> Vec<Option<u32>> {
            let mut sampler = Sampler::new(Sampling::Random(Random { seed, ..RANDOM }), sequence_index);
            (0..20).map(|_| sampler.choose(&logits)).collect()
        };
        assert_eq!(draws(1, 0), draws(1, 0));
        assert_ne!(draws(1, 0), draws(1, 1));
        assert_ne!(draws(1, 0), draws(2, 0));
    }
}
