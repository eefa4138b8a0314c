//! Sizes counted into buckets: one for each size up to 1,024, then 128 for each doubling, so that a quantile is exact
//! for small sizes and within 1 % for large ones, in 64 kB whatever is counted (as HdrHistogram does).

use ftl_core::dataset::{Bar, Histogram};

/// Sizes below this have a bucket each.
const EXACT: u64 = 1024;
/// log₂ of the buckets of a doubling: their width is 1/128 of the size they begin at.
const PRECISION: u32 = 7;

/// Counts of sizes.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    buckets: Vec<u64>,
    n: u64,
    total: u64,
    min: u64,
    max: u64,
}

impl Spread {
    /// Counts `size`.
    pub fn add(&mut self, size: u64) {
        let bucket = bucket_of(size);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.min = if self.n == 0 { size } else { self.min.min(size) };
        self.max = self.max.max(size);
        self.n += 1;
        self.total = self.total.saturating_add(size);
    }

    /// What was counted.
    pub fn histogram(&self) -> Histogram {
        Histogram {
            n: self.n,
            total: self.total,
            min: self.min,
            p50: self.quantile(50),
            p90: self.quantile(90),
            p99: self.quantile(99),
            max: self.max,
            bars: self.bars(),
        }
    }

    /// The size that so many of 100 are no larger than.
    fn quantile(&self, percent: u64) -> u64 {
        let wanted = (u128::from(self.n) * u128::from(percent)).div_ceil(100).max(1) as u64;
        let mut n = 0;
        let bucket = self.buckets.iter().position(|count| {
            n += count;
            n >= wanted
        });
        // The largest size of a bucket, so that the promise holds.
        bucket.map_or(0, |bucket| (start_of(bucket + 1) - 1).clamp(self.min, self.max))
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars: Vec<Bar> = Vec::new();
        for (bucket, rows) in self.buckets.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            let size = start_of(bucket);
            let (from, below) = if size == 0 { (0, 1) } else { (1 << size.ilog2(), doubled(size)) };
            // Those between, where nothing was counted.
            while let Some(last) = bars.last().filter(|last| last.below < from) {
                let from = last.below;
                bars.push(Bar { from, below: doubled(from), rows: 0 });
            }
            match bars.last_mut().filter(|last| last.from == from) {
                Some(last) => last.rows += rows,
                None => bars.push(Bar { from, below, rows: *rows }),
            }
        }
        bars
    }
}

/// The power of two above `size`, which is not 0.
fn doubled(size: u64) -> u64 {
    1_u64.checked_shl(size.ilog2() + 1).unwrap_or(u64::MAX)
}

fn bucket_of(size: u64) -> usize {
    if size < EXACT {
        return size as usize;
    }
    let shift = size.ilog2() - PRECISION;
    let doubling = size.ilog2() - EXACT.ilog2();
    let within = (size >> shift) - (1 << PRECISION);
    EXACT as usize + ((u64::from(doubling) << PRECISION) + within) as usize
}

/// The smallest size in a bucket; beyond the last one, one more than the largest that counts.
fn start_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (doubling, within) = ((bucket - EXACT) >> PRECISION, (bucket - EXACT) & ((1 << PRECISION) - 1));
    let shift = doubling as u32 + EXACT.ilog2() - PRECISION;
    ((1 << PRECISION) + within)
        .checked_shl(shift)
        .filter(|start| start >> shift == (1 << PRECISION) + within)
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spread(sizes: &[u64]) -> Histogram {
        let mut spread = Spread::default();
        sizes.iter().for_each(|size| spread.add(*size));
        spread.histogram()
    }

    #[test]
    fn small_sizes_are_exact() {
        let histogram = spread(&(1..=1000).collect::<Vec<_>>());
        assert_eq!((histogram.p50, histogram.p90, histogram.p99), (500, 900, 990));
        assert_eq!((histogram.n, histogram.total, histogram.min, histogram.max), (1000, 500_500, 1, 1000));
        assert_eq!(spread(&[]), Histogram::default());
    }

    #[test]
    fn bars_lie_between_powers_of_two() {
        let bars = spread(&[0, 5, 7, 40, 1500]).bars;
        let bars: Vec<(u64, u64, u64)> = bars.iter().map(|bar| (bar.from, bar.below, bar.rows)).collect();
        assert_eq!(
            bars,
            [
                (0, 1, 1),
                (1, 2, 0),
                (2, 4, 0),
                (4, 8, 2),
                (8, 16, 0),
                (16, 32, 0),
                (32, 64, 1),
                (64, 128, 0),
                (128, 256, 0),
                (256, 512, 0),
                (512, 1024, 0),
                (1024, 2048, 1)
            ]
        );
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(sizes in prop::collection::vec(0_u64..1 << 50, 1..200)) {
            let histogram = spread(&sizes);
            let mut sorted = sizes.clone();
            sorted.sort_unstable();
            for (percent, found) in [(50, histogram.p50), (90, histogram.p90), (99, histogram.p99)] {
                let exact = sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
                prop_assert!(found >= exact && found as f64 <= exact as f64 * 1.01, "{percent} %: {found} for {exact}");
            }
            prop_assert_eq!(histogram.bars.iter().map(|bar| bar.rows).sum::<u64>(), sizes.len() as u64);
        }

        #[test]
        fn every_size_is_in_its_bucket(size in any::<u64>()) {
            let bucket = bucket_of(size);
            prop_assert!(start_of(bucket) <= size);
            prop_assert!(size < start_of(bucket + 1) || start_of(bucket + 1) == u64::MAX);
        }
    }
}
