//! How far something is that goes through many items.

use std::time::{Duration, Instant};

use ftl_core::job::Phase;
use ftl_core::{Event, Observer};

/// Progress is told at most this often: every event is kept.
const EVERY: Duration = Duration::from_secs(2);

/// Tells an observer how far a phase is.
pub struct Progress<'a> {
    observer: &'a mut dyn Observer,
    phase: Phase,
    total: usize,
    unit: &'static str,
    told: Instant,
}

impl<'a> Progress<'a> {
    /// Says that `phase` begins, with so many of `unit` to go through.
    pub fn start(observer: &'a mut dyn Observer, phase: Phase, (total, unit): (usize, &'static str)) -> Self {
        let mut progress = Self { observer, phase, total, unit, told: Instant::now() };
        progress.tell(0);
        progress
    }

    /// So many are done.
    pub fn done(&mut self, n: usize) {
        if self.told.elapsed() >= EVERY {
            self.tell(n);
        }
    }

    /// Tells something else.
    pub fn observe(&mut self, event: &Event) {
        self.observer.observe(event);
    }

    fn tell(&mut self, n: usize) {
        self.told = Instant::now();
        let Self { phase, total, unit, .. } = *self;
        let (done, total) = (Some(n as u64), Some(total as u64));
        self.observer.observe(&Event::Phase { phase, done, total, unit: Some(unit.to_owned()) });
    }
}
