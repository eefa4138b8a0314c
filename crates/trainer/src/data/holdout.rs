//! Which samples are held out for evaluation when a fraction is asked for.
//!
//! A pure function of seed and content: the same content is always on the same side, so that no duplicate of a
//! trained sample is evaluated, and rows that are added later move none of the earlier ones. What says the same but for
//! spaces and capitals is the same content here ([`Content::near`](super::judge::Content::near)).

use sha2::{Digest, Sha256};

/// What a sample says, as a number.
pub type ContentHash = u64;

/// For each sample whether it is held out. At least one is, and one is not.
///
/// `None`: all samples say the same.
pub fn held_out(contents: &[ContentHash], fraction: f64, seed: u64) -> Option<Vec<bool>> {
    let scores: Vec<u64> = contents.iter().map(|content| score(*content, seed)).collect();
    let (lowest, highest) = (*scores.iter().min()?, *scores.iter().max()?);
    if lowest == highest {
        return None;
    }
    let limit = fraction * u64::MAX as f64;
    let held = |score: u64| ((score as f64) < limit || score == lowest) && score != highest;
    Some(scores.into_iter().map(held).collect())
}

/// A number between 0 and `u64::MAX`, evenly spread over contents.
pub(super) fn score(content: ContentHash, seed: u64) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    hasher.update(content.to_le_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    let (first, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    u64::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(n: usize) -> Vec<ContentHash> {
        (0..n as u64).collect()
    }

    #[test]
    fn the_asked_fraction_is_held_out() {
        let held = held_out(&contents(10_000), 0.1, 42).expect("different");
        let n_held = held.iter().filter(|held| **held).count();
        assert!((900..1100).contains(&n_held), "{n_held}");
    }

    #[test]
    fn seeds_hold_out_different_samples() {
        assert_ne!(held_out(&contents(100), 0.5, 1), held_out(&contents(100), 0.5, 2));
    }

    #[test]
    fn duplicates_stay_together() {
        let once = contents(200);
        let twice: Vec<ContentHash> = once.iter().chain(&once).copied().collect();
        let held = held_out(&twice, 0.3, 7).expect("different");
        assert_eq!(held[..200], held[200..]);
    }

    #[test]
    fn rows_that_are_added_move_none() {
        let before = held_out(&contents(500), 0.2, 3).expect("different");
        let after = held_out(&contents(800), 0.2, 3).expect("different");
        assert_eq!(before, after[..500]);
    }

    #[test]
    fn both_sides_have_a_sample() {
        for fraction in [1e-9, 1.0 - 1e-9] {
            let held = held_out(&contents(2), fraction, 0).expect("different");
            assert_eq!(held.iter().filter(|held| **held).count(), 1);
        }
        assert_eq!(held_out(&[7; 3], 0.5, 0), None);
        assert_eq!(held_out(&[], 0.5, 0), None);
    }
}
