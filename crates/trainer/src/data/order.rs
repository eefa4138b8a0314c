//! In which order samples are trained on: pure functions of seed and step.
//!
//! Nothing is stored, so a resumed run asks for its next step and gets what an uninterrupted one would have.
//! Batches are made as transformers' Trainer makes them with `dataloader_drop_last=False`: the last microbatch of
//! an epoch may have fewer samples, the last step of an epoch fewer microbatches; nothing crosses an epoch's end.
//!
//! ```text
//! 7 samples, batch 2, accumulation 3    epoch 0: [3 0][6 1][5 2]  [4]      epoch 1: [0 5][2 4][6 3]  [1]
//!                                                step 0           step 1            step 2           step 3
//! ```

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ftl_core::spec::resolved::{Duration, SampleOrder, Train};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Which samples each step takes.
#[derive(Debug)]
pub struct Plan {
    n_samples: usize,
    batch_size: usize,
    accumulation: usize,
    order: SampleOrder,
    seed: u64,
    total_steps: u64,
    /// The epoch asked for last, so that its order is not drawn for each of its steps.
    latest: Mutex<Option<(u64, Arc<Vec<usize>>)>>,
}

impl Plan {
    /// Plans `train` over `n_samples`, at least one.
    pub fn new(n_samples: usize, order: SampleOrder, train: &Train) -> Self {
        assert!(n_samples > 0, "a run has a sample");
        let count = |x: u64| usize::try_from(x).unwrap_or(usize::MAX).max(1);
        let mut plan = Self {
            n_samples,
            batch_size: count(train.per_device_train_batch_size),
            accumulation: count(train.gradient_accumulation_steps),
            order,
            seed: train.seed,
            total_steps: 0,
            latest: Mutex::new(None),
        };
        plan.total_steps = match train.duration {
            // As transformers rounds: a started step is taken.
            Duration::Epochs(epochs) => (epochs * plan.steps_per_epoch() as f64).ceil() as u64,
            Duration::Steps(steps) => steps,
        };
        plan
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// Steps that go through the data once.
    pub fn steps_per_epoch(&self) -> u64 {
        self.microbatches_per_epoch().div_ceil(self.accumulation) as u64
    }

    /// The samples of each microbatch of a step. `step_index` counts from 0 and may be any number: epochs follow
    /// each other without an end.
    pub fn step(&self, step_index: u64) -> Vec<Vec<usize>> {
        let order = self.epoch(step_index / self.steps_per_epoch());
        let microbatches = self.microbatches(step_index);
        microbatches
            .map(|index| order.chunks(self.batch_size).nth(index).unwrap_or_default().to_vec())
            .collect()
    }

    /// How often the data have been gone through after step `step_index` (from 0), with its fraction.
    pub fn epochs_after(&self, step_index: u64) -> f64 {
        let done = self.microbatches(step_index).end;
        (step_index / self.steps_per_epoch()) as f64 + done as f64 / self.microbatches_per_epoch() as f64
    }

    /// Whether step `step_index` (from 0) is the last of an epoch.
    pub fn ends_epoch(&self, step_index: u64) -> bool {
        (step_index + 1).is_multiple_of(self.steps_per_epoch())
    }

    /// The order of the samples in an epoch, counted from 0.
    pub fn epoch(&self, epoch: u64) -> Arc<Vec<usize>> {
        // The lock guards a value that is replaced whole, so a panic elsewhere leaves it usable.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((known, order)) if *known == epoch => order.clone(),
            Some(_) | None => {
                let order = Arc::new(self.draw(epoch));
                *latest = Some((epoch, order.clone()));
                order
            }
        }
    }

    fn draw(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.n_samples).collect();
        match self.order {
            SampleOrder::File => {}
            SampleOrder::Shuffled => {
                // Written out rather than taken from a crate: the order of a run must not change with a version.
                let mut random = ChaCha8Rng::seed_from_u64(self.seed);
                random.set_stream(epoch);
                for last in (1..order.len()).rev() {
                    let choices = last as u128 + 1;
                    let chosen = (u128::from(random.next_u64()) * choices) >> 64;
                    order.swap(last, chosen as usize);
                }
            }
        }
        order
    }

    fn microbatches_per_epoch(&self) -> usize {
        self.n_samples.div_ceil(self.batch_size)
    }

    /// The microbatches of a step, counted within its epoch.
    fn microbatches(&self, step_index: u64) -> Range<usize> {
        let within = (step_index % self.steps_per_epoch()) as usize;
        let start = within * self.accumulation;
        start..(start + self.accumulation).min(self.microbatches_per_epoch())
    }
}
