//! Steady-state training speed and memory on random tokens.

use std::time::Instant;

use ftl_core::spec::resolved::{self, MomentFormat};
use serde::Serialize;

use crate::data::batch::Batch;
use crate::device::OpenDevice;
use crate::model::decoder::{Decoder, Keep, LossPass};
use crate::ops::dropout::Key;
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
    /// Loss of the last step, to see that it trains.
    pub loss_nats: f64,
    /// Weights that are trained.
    pub trained_parameters: u64,
    /// Where it computed.
    pub device: String,
    /// In which precision.
    pub precision: String,
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

/// Trains `decoder`, whose trained weights were chosen, on random tokens: forward, backward, clipping, AdamW.
pub fn bench(decoder: &mut Decoder, device: &OpenDevice, options: &BenchOptions) -> BenchReport {
    let BenchOptions { n_rows, n_tokens, n_steps, n_warmup_steps, keep } = *options;
    decoder.reserve_positions(n_tokens);
    let batches: Vec<Batch> =
        (0..N_BATCHES).map(|i| random_batch(decoder, Key::new(i), [n_rows, n_tokens])).collect();
    let adamw = resolved::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let mut optimizer = Optimizer::new(decoder, (adamw, MomentFormat::F32), Some(1.0));
    let mut gradients = decoder.zero_gradients();
    let mut millis = Vec::with_capacity(n_steps);
    let mut loss_nats = 0.0;
    for step in 0..n_warmup_steps + n_steps {
        let batch = &batches[step % batches.len()];
        let start = Instant::now();
        gradients.clear();
        let scale = 1.0 / batch.n_supervised() as f64;
        let pass = LossPass { scale, keep, dropout: None, noise: None };
        loss_nats = decoder.loss_and_gradients(batch, pass, &mut gradients) * scale;
        optimizer.step(decoder, &mut gradients, 2e-4);
        if step >= n_warmup_steps {
            millis.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let trained = (n_rows * n_tokens) as f64;
    BenchReport {
        tokens_per_sec: Spread::of(millis.iter().map(|millis| trained / millis * 1e3).collect()),
        step_millis: Spread::of(millis),
        loss_nats,
        trained_parameters: optimizer.n_parameters(),
        device: device.name.to_string(),
        precision: device.precision.to_string(),
    }
}

fn random_batch(decoder: &Decoder, key: Key, [n_rows, n_tokens]: [usize; 2]) -> Batch {
    let mut batch = Batch::default();
    for row in 0..n_rows as u64 {
        let id = |i: u64| (key.fold(row).random(i) % decoder.config.vocab_size as u64) as u32;
        let ids: Vec<u32> = (0..n_tokens as u64).map(id).collect();
        let labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        batch.push(&ids, &labels);
    }
    batch
}
