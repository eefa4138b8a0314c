//! Numbers of about a normal distribution, made in parallel: weights of a model of billions of them are there in seconds. For
//! measuring speed; a model that is trained from scratch draws its weights properly.

use rayon::prelude::*;

/// The numbers of one tensor, each a function of its index.
#[derive(Debug)]
pub struct Numbers {
    seed: u64,
    std: f32,
    n_made: u64,
}

/// Numbers that a thread makes at a time.
const CHUNK: usize = 1 << 14;

impl Numbers {
    /// With mean 0 and the given standard deviation.
    pub fn new(seed: u64, std: f32) -> Self {
        Self { seed, std, n_made: 0 }
    }

    /// The next ones.
    pub fn next_into(&mut self, out: &mut [f32]) {
        // The sum of four uniform numbers in 0..1 has mean 2 and variance 4 / 12.
        let factor = self.std * 3.0f32.sqrt() / 65_536.0;
        let (seed, first) = (self.seed, self.n_made);
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            let first = first + (chunk * CHUNK) as u64;
            for (index, value) in out.iter_mut().enumerate() {
                let bits =
                    mixed(seed.wrapping_add((first + index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
                *value = (sum as f32 - 131_070.0) * factor;
            }
        });
        self.n_made += out.len() as u64;
    }
}

/// The last step of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_have_mean_and_spread_and_do_not_depend_on_how_they_are_taken() {
        let mut whole = vec![0.0; 100_000];
        Numbers::new(3, 0.02).next_into(&mut whole);
        let n = whole.len() as f32;
        let mean = whole.iter().sum::<f32>() / n;
        let variance = whole.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / n;
        assert!(mean.abs() < 3e-4 && (variance.sqrt() - 0.02).abs() < 3e-4, "{mean} {variance}");
        let (mut parts, mut numbers) = (vec![0.0; 100_000], Numbers::new(3, 0.02));
        let (left, right) = parts.split_at_mut(20_001);
        numbers.next_into(left);
        numbers.next_into(right);
        assert_eq!(parts, whole);
        Numbers::new(4, 0.02).next_into(&mut parts);
        assert_ne!(parts, whole);
    }
}
