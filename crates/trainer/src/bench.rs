//! Steady-state training speed and memory on random tokens.

use std::time::Instant;

use ftl_core::spec::resolved::{self, MomentFormat};
use serde::Serialize;

use crate::data::batch::Batch;
use crate::device::{OpenDevice, driver};
use crate::model::decoder::{Decoder, Keep, LossPass};
use crate::ops::dropout::Key;
use crate::ops::param::Gradients;
use crate::train::digests::hash_of_weights;
use crate::train::optimizer::Optimizer;

/// Batches that are trained on in turn.
const N_BATCHES: u64 = 4;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Rows of a batch.
    pub n_rows: usize,
    /// Tokens of a row.
    pub n_tokens: usize,
    /// Segments of a row, of about the same length: more than one is what packing makes.
    pub n_segments: usize,
    /// Steps that are timed.
    pub n_steps: usize,
    /// Steps before.
    pub n_warmup_steps: usize,
    /// Which activations are kept.
    pub keep: Keep,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// Tokens trained on per second.
    pub tokens_per_sec: Spread,
    /// Time of a step.
    pub step_millis: Spread,
    /// Time of the first step, in which kernels are compiled on a GPU.
    pub first_step_millis: f64,
    /// Where the time of a step goes, taken in steps of their own that wait for the device in between.
    pub split_millis: Split,
    /// Loss of the first step, to compare with another program or device.
    pub first_loss_nats: f64,
    /// Norm of the gradients of the first step.
    pub first_grad_norm: f64,
    /// Loss of the last step, to see that it trains.
    pub loss_nats: f64,
    /// GPU memory that the process holds at the end, by the driver: the most it held, as nothing is given back before.
    pub peak_gpu_bytes: Option<u64>,
    /// Weights that are trained.
    pub trained_parameters: u64,
    /// Where it computed.
    pub device: String,
    /// In which precision.
    pub precision: String,
}

/// The parts of a step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Split {
    /// Forward and backward.
    pub passes: f64,
    /// Clipping and AdamW.
    pub update: f64,
    /// The hash of trained weights that a run writes down; 0 on a GPU, where it does not.
    pub digest: f64,
}

/// Smallest, middle and largest of some measurements.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Middle.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one measurement.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let median = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
        Self { min: values[0], median, max: values[n - 1] }
    }
}

/// Steps whose parts are timed.
const N_SPLIT_STEPS: usize = 3;

/// Trains `decoder`, whose trained weights were chosen, on random tokens: forward, backward, clipping, AdamW.
pub fn bench(decoder: &mut Decoder, device: &OpenDevice, options: &BenchOptions) -> BenchReport {
    let BenchOptions { n_rows, n_tokens, n_segments, n_steps, n_warmup_steps, keep } = *options;
    decoder.reserve_positions(n_tokens);
    let shape = [n_rows, n_tokens, n_segments];
    let batches = (0..N_BATCHES).map(|i| random_batch(decoder, Key::new(i), shape)).collect();
    let adamw = resolved::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let optimizer = Optimizer::new(decoder, (adamw, MomentFormat::F32), Some(1.0));
    let gradients = decoder.zero_gradients();
    let mut stepper = Stepper { decoder, batches, optimizer, gradients, keep, n_steps: 0 };

    let start = Instant::now();
    let (first_loss_nats, first_grad_norm) = stepper.step();
    let first_step_millis = millis_since(start);
    (1..n_warmup_steps).for_each(|_| _ = stepper.step());
    let mut millis = Vec::with_capacity(n_steps);
    let mut loss_nats = first_loss_nats;
    for _ in 0..n_steps {
        let start = Instant::now();
        (loss_nats, _) = stepper.step();
        millis.push(millis_since(start));
    }
    let splits: Vec<Split> = (0..N_SPLIT_STEPS).map(|_| stepper.split_step(device)).collect();
    let middle = |of: fn(&Split) -> f64| Spread::of(splits.iter().map(of).collect()).median;
    let trained = (n_rows * n_tokens) as f64;
    BenchReport {
        tokens_per_sec: Spread::of(millis.iter().map(|millis| trained / millis * 1e3).collect()),
        step_millis: Spread::of(millis),
        first_step_millis,
        split_millis: Split {
            passes: middle(|split| split.passes),
            update: middle(|split| split.update),
            digest: middle(|split| split.digest),
        },
        first_loss_nats,
        first_grad_norm,
        loss_nats,
        peak_gpu_bytes: driver::process_gpu_bytes(),
        trained_parameters: stepper.optimizer.n_parameters(),
        device: device.name.to_string(),
        precision: device.precision.to_string(),
    }
}

fn millis_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Takes one step after another.
struct Stepper<'a> {
    decoder: &'a mut Decoder,
    batches: Vec<Batch>,
    optimizer: Optimizer,
    gradients: Gradients,
    keep: Keep,
    n_steps: usize,
}

impl Stepper<'_> {
    /// Loss and norm of the gradients.
    fn step(&mut self) -> (f64, f64) {
        let loss_nats = self.passes();
        (loss_nats, self.update())
    }

    fn passes(&mut self) -> f64 {
        let batch = &self.batches[self.n_steps % self.batches.len()];
        self.n_steps += 1;
        self.gradients.clear();
        let mean = 1.0 / batch.n_supervised() as f64;
        let scale = mean * self.optimizer.loss_scale.factor();
        let pass = LossPass { scale, keep: self.keep, dropout: None, noise: None };
        self.decoder.loss_and_gradients(batch, pass, &mut self.gradients) * mean
    }

    /// The norm of the gradients. A step whose gradients overflow f16 changes nothing and lowers the scale of the next.
    fn update(&mut self) -> f64 {
        let norm = self.optimizer.step(self.decoder, &mut self.gradients, 2e-4);
        if norm.is_finite() {
            self.optimizer.loss_scale.held();
        } else {
            self.optimizer.loss_scale.overflowed();
        }
        norm
    }

    fn split_step(&mut self, device: &OpenDevice) -> Split {
        let wait = || device.device.sync().expect("a device that trained answers");
        wait();
        let start = Instant::now();
        self.passes();
        wait();
        let passes = millis_since(start);
        let start = Instant::now();
        self.update();
        wait();
        let update = millis_since(start);
        let start = Instant::now();
        let hash = std::hint::black_box(hash_of_weights(self.decoder, self.n_steps as u64));
        Split { passes, update, digest: hash.map_or(0.0, |_| millis_since(start)) }
    }
}

fn random_batch(decoder: &Decoder, key: Key, [n_rows, n_tokens, n_segments]: [usize; 3]) -> Batch {
    let mut batch = Batch::default();
    for row in 0..n_rows as u64 {
        let id = |i: u64| (key.fold(row).random(i) % decoder.config.vocab_size as u64) as u32;
        let ids: Vec<u32> = (0..n_tokens as u64).map(id).collect();
        for ids in ids.chunks(n_tokens.div_ceil(n_segments)) {
            let labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
            batch.push(ids, &labels);
        }
    }
    batch
}
