//! In which order samples are trained on: pure functions of seed and step.
//!
//! Nothing is stored, so a resumed run asks for its next step and gets what an uninterrupted one would have.
//! Batches are made as transformers' Trainer makes them with `dataloader_drop_last=False`: the last microbatch of
//! an epoch may have fewer rows, the last step of an epoch fewer microbatches; nothing crosses an epoch's end.
//!
//! ```text
//! 7 samples, batch 2, accumulation 3    epoch 0: [3 0][6 1][5 2]  [4]      epoch 1: [0 5][2 4][6 3]  [1]
//!                                                step 0           step 1            step 2           step 3
//! ```
//!
//! An epoch's samples are drawn (all once, or by the [weights](super::mix) of their files), put in order
//! ([by length](super::group) if asked) and laid into rows (one each, or [packed](super::pack)).

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ftl_core::dataset::Steps;
use ftl_core::spec::resolved::{Data, Duration, Rows, SampleOrder, Train};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::mix::{self, Part, Passes};
use super::{group, pack};

/// What a plan takes its samples from.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The tokens of each sample.
    pub lengths: Vec<usize>,
    /// The files that they are from, in order.
    pub files: Vec<Part>,
    /// In which order they come.
    pub order: SampleOrder,
    /// What a row of a batch holds.
    pub rows: Rows,
    /// The tokens of a packed row.
    pub max_length: usize,
}

impl Pool {
    /// What a job takes its samples from: those with `lengths`, of which each training file gave so many.
    pub fn of(data: &Data, lengths: Vec<usize>, per_file: &[usize], max_length: usize) -> Self {
        let files = data.train.iter().zip(per_file);
        Self {
            lengths,
            files: files.map(|(file, n)| Part { n_samples: *n, weight: file.weight }).collect(),
            order: data.order,
            rows: data.rows,
            max_length,
        }
    }
}

/// Which samples each step takes.
#[derive(Debug)]
pub struct Plan {
    pool: Pool,
    batch_size: usize,
    accumulation: usize,
    seed: u64,
    total_steps: u64,
    /// Rows of every epoch; `None`: epochs differ, as other draws fill other rows.
    steady_rows: Option<usize>,
    calendar: Mutex<Calendar>,
}

/// What is known of the epochs.
#[derive(Debug)]
struct Calendar {
    /// The first step of each epoch known so far, and of the one after them.
    starts: Vec<u64>,
    /// The epoch asked for last, so that it is not drawn for each of its steps.
    latest: Option<(u64, Arc<Epoch>)>,
}

/// The samples of an epoch in rows.
#[derive(Debug)]
pub struct Epoch {
    /// In order.
    pub samples: Vec<usize>,
    /// Where each row ends in `samples`; `None`: after each sample.
    ends: Option<Vec<usize>>,
}

impl Epoch {
    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.ends.as_ref().map_or(self.samples.len(), Vec::len)
    }

    /// The samples of some rows.
    fn rows(&self, rows: Range<usize>) -> &[usize] {
        let end = |n_rows: usize| match (&self.ends, n_rows) {
            (_, 0) => 0,
            (None, n_rows) => n_rows,
            (Some(ends), n_rows) => ends[n_rows - 1],
        };
        &self.samples[end(rows.start)..end(rows.end)]
    }
}

impl Plan {
    /// Plans `train` over a pool of at least one sample.
    pub fn new(pool: Pool, train: &Train) -> Self {
        assert!(!pool.lengths.is_empty(), "a run has a sample");
        let count = |x: u64| usize::try_from(x).unwrap_or(usize::MAX).max(1);
        let mut plan = Self {
            batch_size: count(train.per_device_train_batch_size),
            accumulation: count(train.gradient_accumulation_steps),
            seed: train.seed,
            total_steps: 0,
            steady_rows: None,
            calendar: Mutex::new(Calendar { starts: vec![0], latest: None }),
            pool,
        };
        plan.steady_rows = match plan.pool.rows {
            Rows::Samples => Some(plan.pool.lengths.len()),
            // The same lengths fill the same number of rows.
            Rows::Packed => mix::is_even(&plan.pool.files).then(|| plan.epoch(0).n_rows()),
        };
        plan.total_steps = match train.duration {
            // As transformers rounds: a started step is taken.
            Duration::Epochs(epochs) => match plan.steady_rows {
                Some(n_rows) => (epochs * plan.steps_of(n_rows) as f64).ceil() as u64,
                None => {
                    let whole = epochs.floor();
                    let begun = (epochs - whole) * plan.steps_in(whole as u64) as f64;
                    plan.start_of(whole as u64) + begun.ceil() as u64
                }
            },
            Duration::Steps(steps) => steps,
        };
        plan
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// How long the run takes.
    pub fn steps(&self) -> Steps {
        let total = self.total_steps;
        Steps {
            per_epoch: self.steps_in(0),
            total,
            epochs: total.checked_sub(1).map_or(0.0, |last| self.epochs_after(last)),
        }
    }

    /// Steps of an epoch, counted from 0.
    pub fn steps_in(&self, epoch: u64) -> u64 {
        self.steps_of(self.steady_rows.unwrap_or_else(|| self.epoch(epoch).n_rows()))
    }

    /// The samples of each microbatch of a step. `step_index` counts from 0 and may be any number: epochs follow
    /// each other without an end.
    pub fn step(&self, step_index: u64) -> Vec<Vec<usize>> {
        let (epoch, within) = self.place(step_index);
        let epoch = self.epoch(epoch);
        let n_rows = epoch.n_rows();
        let microbatch = |index: usize| {
            let start = index * self.batch_size;
            epoch.rows(start..start.saturating_add(self.batch_size).min(n_rows)).to_vec()
        };
        self.microbatches(within, n_rows).map(microbatch).collect()
    }

    /// How often the data have been gone through after step `step_index` (from 0), with its fraction.
    pub fn epochs_after(&self, step_index: u64) -> f64 {
        let (epoch, within) = self.place(step_index);
        let n_rows = self.steady_rows.unwrap_or_else(|| self.epoch(epoch).n_rows());
        let done = self.microbatches(within, n_rows).end;
        epoch as f64 + done as f64 / n_rows.div_ceil(self.batch_size) as f64
    }

    /// Whether step `step_index` (from 0) is the last of an epoch.
    pub fn ends_epoch(&self, step_index: u64) -> bool {
        let (epoch, within) = self.place(step_index);
        within + 1 == self.steps_in(epoch)
    }

    /// Tokens that no microbatch exceeds.
    pub fn most_tokens(&self) -> usize {
        self.longest_row().saturating_mul(self.batch_size.min(self.most_rows()))
    }

    /// Rows that no epoch exceeds.
    pub fn most_rows(&self) -> usize {
        // Where epochs differ, none has more rows than samples.
        self.steady_rows.unwrap_or(self.pool.lengths.len())
    }

    /// Tokens that no row exceeds.
    pub fn longest_row(&self) -> usize {
        let longest = self.pool.lengths.iter().copied().max().unwrap_or(0);
        match (self.pool.rows, self.steady_rows) {
            (Rows::Samples, _) => longest,
            (Rows::Packed, None) => longest.max(self.pool.max_length),
            // Then every epoch has as many rows, of the same lengths.
            (Rows::Packed, Some(n_rows)) => {
                let epoch = self.epoch(0);
                let n_tokens = |row: usize| {
                    epoch.rows(row..row + 1).iter().map(|sample| self.pool.lengths[*sample]).sum::<usize>()
                };
                (0..n_rows).map(n_tokens).max().unwrap_or(0)
            }
        }
    }

    /// What packing came to, in the first epoch; `None`: a row is a sample.
    pub fn packing(&self) -> Option<String> {
        match self.pool.rows {
            Rows::Samples => return None,
            Rows::Packed => {}
        }
        let epoch = self.epoch(0);
        let (n_rows, limit) = (epoch.n_rows(), self.pool.max_length);
        let n_tokens: usize = epoch.samples.iter().map(|sample| self.pool.lengths[*sample]).sum();
        let filled = n_tokens as f64 / (n_rows as f64 * limit as f64) * 100.0;
        let n_samples = epoch.samples.len();
        Some(format!(
            "packing: {n_samples} samples in {n_rows} rows of {limit} tokens, {filled:.1} % of them filled"
        ))
    }

    /// The samples of an epoch, counted from 0.
    pub fn epoch(&self, epoch: u64) -> Arc<Epoch> {
        // The lock guards values that are replaced whole, so a panic elsewhere leaves them usable.
        let mut calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
        match &calendar.latest {
            Some((known, samples)) if *known == epoch => samples.clone(),
            Some(_) | None => {
                let samples = Arc::new(self.draw(epoch));
                calendar.latest = Some((epoch, samples.clone()));
                samples
            }
        }
    }

    fn draw(&self, epoch: u64) -> Epoch {
        let Pool { lengths, files, order, rows, max_length } = &self.pool;
        let passes = match order {
            SampleOrder::File => Passes::InOrder,
            SampleOrder::Shuffled | SampleOrder::GroupedByLength => Passes::Drawn { seed: self.seed },
        };
        let drawn =
            if mix::is_even(files) { (0..lengths.len()).collect() } else { mix::draws(files, epoch, passes) };
        let samples = match order {
            SampleOrder::File => drawn,
            SampleOrder::Shuffled => shuffled(drawn, self.seed, epoch),
            SampleOrder::GroupedByLength => {
                let step = self.batch_size.saturating_mul(self.accumulation);
                group::by_length(shuffled(drawn, self.seed, epoch), lengths, step)
            }
        };
        let rows = match (rows, order) {
            (Rows::Samples, _) => return Epoch { samples, ends: None },
            (Rows::Packed, SampleOrder::File) => pack::in_order(&samples, lengths, *max_length),
            (Rows::Packed, SampleOrder::Shuffled | SampleOrder::GroupedByLength) => {
                let rows = pack::best_fit(&samples, lengths, *max_length);
                // Filled longest first; the loss of a step should not say where in that it stands.
                let places = shuffled((0..rows.len()).collect(), self.seed, epoch);
                places.into_iter().map(|place| rows[place].clone()).collect()
            }
        };
        let mut n = 0;
        let ends = rows.iter().map(|row| {
            n += row.len();
            n
        });
        Epoch { ends: Some(ends.collect()), samples: rows.concat() }
    }

    /// The epoch of a step, and which of its steps it is.
    fn place(&self, step_index: u64) -> (u64, u64) {
        if let Some(n_rows) = self.steady_rows {
            let steps = self.steps_of(n_rows);
            return (step_index / steps, step_index % steps);
        }
        let mut last = self.known_epochs();
        while self.start_of(last) <= step_index {
            last += 1;
        }
        let calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = calendar.starts.partition_point(|start| *start <= step_index) - 1;
        (epoch as u64, step_index - calendar.starts[epoch])
    }

    /// The first step of an epoch, where epochs differ.
    fn start_of(&self, epoch: u64) -> u64 {
        loop {
            let known = self.known_epochs();
            if known >= epoch {
                let calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
                return calendar.starts[epoch as usize];
            }
            let n_steps = self.steps_of(self.epoch(known).n_rows());
            let mut calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
            let last = *calendar.starts.last().expect("the first epoch starts at 0");
            if calendar.starts.len() as u64 == known + 1 {
                calendar.starts.push(last + n_steps);
            }
        }
    }

    fn known_epochs(&self) -> u64 {
        let calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
        calendar.starts.len() as u64 - 1
    }

    fn steps_of(&self, n_rows: usize) -> u64 {
        n_rows.div_ceil(self.batch_size).div_ceil(self.accumulation) as u64
    }

    /// The microbatches of the step `within` an epoch of so many rows.
    fn microbatches(&self, within: u64, n_rows: usize) -> Range<usize> {
        let start = (within as usize).saturating_mul(self.accumulation);
        start..start.saturating_add(self.accumulation).min(n_rows.div_ceil(self.batch_size))
    }
}

/// Another order by stream `stream` of `seed` (Fisher and Yates).
///
/// Written out rather than taken from a crate: the order of a run must not change with a version.
pub(super) fn shuffled(mut order: Vec<usize>, seed: u64, stream: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    for last in (1..order.len()).rev() {
        let choices = last as u128 + 1;
        let chosen = (u128::from(random.next_u64()) * choices) >> 64;
        order.swap(last, chosen as usize);
    }
    order
}
