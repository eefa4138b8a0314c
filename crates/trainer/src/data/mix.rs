//! Files by weight: how often the samples of each are drawn.
//!
//! An epoch draws as many samples as there are. Each file has a share of them in proportion to its weight, whatever its
//! size. A file's draws go on from epoch to epoch: all of its samples come once before one comes again, however the
//! epochs cut that.
//!
//! ```text
//! a: 4 samples, weight 1    b: 2 samples, weight 2    shares of an epoch of 6: 2 and 4
//! epoch 0    a2 a0 | b1 b0 b0 b1        epoch 1    a3 a1 | b0 b1 b1 b0
//! ```

use super::order::shuffled;

/// One file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Its samples; those of the files follow each other.
    pub n_samples: usize,
    /// How often they are drawn, relative to the other files; `None`: 1.
    pub weight: Option<f64>,
}

/// How the samples of a file are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// As they stand, each time.
    InOrder,
    /// In an order drawn for each pass by this seed.
    Drawn {
        /// The run's.
        seed: u64,
    },
}

/// Whether no file has a weight, so that an epoch is every sample once.
pub fn is_even(parts: &[Part]) -> bool {
    parts.iter().all(|part| part.weight.is_none())
}

/// The samples of an epoch, counted from 0, file by file.
pub fn draws(parts: &[Part], epoch: u64, passes: Passes) -> Vec<usize> {
    let n_draws = shares(parts);
    let mut drawn = Vec::with_capacity(n_draws.iter().sum());
    let mut first = 0;
    for (file, (part, n_draws)) in parts.iter().zip(n_draws).enumerate() {
        let n = part.n_samples as u128;
        let mut next = u128::from(epoch) * n_draws as u128;
        let end = next + n_draws as u128;
        while next < end {
            let pass = pass(part.n_samples, (file, (next / n) as u64), passes);
            let from = (next % n) as usize;
            let until = part.n_samples.min(from + (end - next) as usize);
            drawn.extend(pass[from..until].iter().map(|sample| first + sample));
            next += (until - from) as u128;
        }
        first += part.n_samples;
    }
    drawn
}

/// One pass through a file.
fn pass(n_samples: usize, (file, pass): (usize, u64), passes: Passes) -> Vec<usize> {
    match passes {
        Passes::InOrder => (0..n_samples).collect(),
        // Streams of a pass lie beyond those of an epoch, which take the low numbers.
        Passes::Drawn { seed } => {
            shuffled((0..n_samples).collect(), seed, ((file as u64 + 1) << 40) | (pass & ((1 << 40) - 1)))
        }
    }
}

/// How many samples of each file an epoch draws: together all, rounded by largest remainder, of equals the first.
fn shares(parts: &[Part]) -> Vec<usize> {
    let n_samples: usize = parts.iter().map(|part| part.n_samples).sum();
    let weight = |part: &Part| if part.n_samples == 0 { 0.0 } else { part.weight.unwrap_or(1.0) };
    let weights: Vec<f64> = parts.iter().map(weight).collect();
    // Divided first, so that large weights don't overflow.
    let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let total: f64 = weights.iter().map(|weight| weight / largest).sum();
    let exact: Vec<f64> =
        weights.iter().map(|weight| n_samples as f64 * (weight / largest / total)).collect();
    let mut shares: Vec<usize> = exact.iter().map(|share| share.floor() as usize).collect();
    let mut by_remainder: Vec<usize> = (0..parts.len()).filter(|file| weights[*file] > 0.0).collect();
    let remainder = |file: usize| exact[file] - exact[file].floor();
    by_remainder.sort_by(|a, b| remainder(*b).total_cmp(&remainder(*a)).then(a.cmp(b)));
    let n_left = n_samples.saturating_sub(shares.iter().sum());
    by_remainder.into_iter().cycle().take(n_left).for_each(|file| shares[file] += 1);
    shares
}

#[cfg(test)]
mod tests {
    use super::{Part, Passes, draws, is_even, shares};

    fn parts(files: &[(usize, f64)]) -> Vec<Part> {
        files
            .iter()
            .map(|(n_samples, weight)| Part { n_samples: *n_samples, weight: Some(*weight) })
            .collect()
    }

    #[test]
    fn shares_follow_weights_whatever_the_sizes() {
        for (files, expected) in [
            (&[(4, 1.0), (2, 2.0)][..], &[2, 4][..]),
            (&[(10, 1.0), (10, 1.0)], &[10, 10]),
            (&[(19, 3.0), (1, 1.0)], &[15, 5]),
            (&[(3, 0.5), (3, 1.0), (1, 0.5)], &[2, 3, 2]),
            (&[(0, 5.0), (3, 1.0)], &[0, 3]),
            (&[(1, 1e-300), (5, 1e300)], &[0, 6]),
            (&[(4, f64::MAX), (4, f64::MAX)], &[4, 4]),
        ] {
            assert_eq!(shares(&parts(files)), expected, "{files:?}");
        }
        let some = [Part { n_samples: 9, weight: None }, Part { n_samples: 3, weight: Some(3.0) }];
        assert_eq!(shares(&some), [3, 9]);
    }

    #[test]
    fn a_file_goes_through_all_of_its_samples_before_one_comes_again() {
        let parts = parts(&[(7, 1.0), (5, 3.0)]);
        for passes in [Passes::InOrder, Passes::Drawn { seed: 3 }] {
            let drawn: Vec<usize> = (0..12).flat_map(|epoch| draws(&parts, epoch, passes)).collect();
            assert_eq!(drawn.len(), 12 * 12);
            for (range, n) in [(0..7, 7), (7..12, 5)] {
                let of_file: Vec<usize> = drawn.iter().copied().filter(|draw| range.contains(draw)).collect();
                for pass in of_file.chunks_exact(n) {
                    let mut pass = pass.to_vec();
                    pass.sort_unstable();
                    assert_eq!(pass, range.clone().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn passes_and_seeds_draw_other_orders() {
        let parts = parts(&[(30, 1.0), (30, 3.0)]);
        let drawn = |seed, epoch| draws(&parts, epoch, Passes::Drawn { seed });
        assert_eq!(drawn(1, 4), drawn(1, 4));
        assert_ne!(drawn(1, 4), drawn(2, 4));
        assert_ne!(drawn(1, 0), drawn(1, 2));
    }

    #[test]
    fn files_without_weights_are_even() {
        assert!(is_even(&[Part { n_samples: 3, weight: None }, Part { n_samples: 9, weight: None }]));
        assert!(!is_even(&parts(&[(3, 1.0), (9, 1.0)])));
    }
}
