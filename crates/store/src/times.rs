//! How long transactions took, from the first statement to the end of COMMIT, its wait for the disk included.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Upper bounds in seconds. An SSD takes milliseconds, a disk tens of them; more is a disk that has other things to do.
pub(crate) const BOUNDS_SECS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// How long the transactions of a store took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitTimes {
    /// How many took at most 1, 3, 10, 30, 100, 300 ms, 1, 3 and 10 s, each counted once at the least of these, and how
    /// many took longer.
    pub counts: [u64; BOUNDS_SECS.len() + 1],
    /// All of them together.
    pub total_secs: f64,
    /// How many of them failed.
    pub n_failed: u64,
}

impl CommitTimes {
    /// The bounds of `counts`, in seconds; the last one has none.
    pub const BOUNDS_SECS: [f64; BOUNDS_SECS.len()] = BOUNDS_SECS;

    /// Transactions so far.
    pub fn n(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Written by one thread, read by others.
#[derive(Debug, Default)]
pub(crate) struct Times(Mutex<CommitTimes>);

impl Times {
    /// Counts a transaction.
    pub(crate) fn add<T, E>(&self, took: Duration, end: &Result<T, E>) {
        let secs = took.as_secs_f64();
        let place = BOUNDS_SECS.iter().position(|bound| secs <= *bound).unwrap_or(BOUNDS_SECS.len());
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.counts[place] += 1;
        times.total_secs += secs;
        times.n_failed += u64::from(end.is_err());
    }

    /// What was counted.
    pub(crate) fn read(&self) -> CommitTimes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transaction_is_counted_once_at_the_least_bound_that_it_keeps() {
        let times = Times::default();
        for millis in [1, 2, 3, 500, 60_000] {
            times.add(Duration::from_millis(millis), &Ok::<(), ()>(()));
        }
        times.add(Duration::from_millis(20), &Err::<(), ()>(()));
        let CommitTimes { counts, total_secs, n_failed } = times.read();
        assert_eq!(counts, [1, 2, 0, 1, 0, 0, 1, 0, 0, 1]);
        assert_eq!((n_failed, times.read().n()), (1, 6));
        assert!((total_secs - 60.526).abs() < 1e-9, "{total_secs}");
    }
}
