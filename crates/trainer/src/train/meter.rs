//! Counts and clocks of a step, side by side, so that rates divide by what was counted.

use std::time::{Duration, Instant};

use ftl_core::metrics::{Rewards, Stepped};

use crate::methods::Microbatch;

/// Counts what goes through one step.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    data: Duration,
    n_tokens: u64,
    n_supervised: u64,
    n_samples: u64,
}

/// What the step found out beside its counts.
#[derive(Clone, Copy, Debug)]
pub struct StepResult {
    /// Counted from 1.
    pub step: u64,
    /// Times through the data.
    pub epoch: f64,
    /// The objective.
    pub loss_nats: f64,
    /// Before clipping.
    pub grad_norm: f64,
    /// The one used.
    pub learning_rate: f64,
    /// What preferences look like, where the method learns them.
    pub rewards: Option<Rewards>,
}

impl Meter {
    /// Begins a step.
    pub fn start() -> Self {
        Self { start: Instant::now(), data: Duration::ZERO, n_tokens: 0, n_supervised: 0, n_samples: 0 }
    }

    /// The step's microbatches are there; what passed until now was waiting for data.
    pub fn data_ready(&mut self, microbatches: &[Microbatch]) {
        self.data = self.start.elapsed();
        for Microbatch { batch, n_samples, .. } in microbatches {
            self.n_tokens += batch.n_tokens() as u64;
            self.n_supervised += batch.n_supervised() as u64;
            self.n_samples += *n_samples as u64;
        }
    }

    /// Ends the step.
    pub fn stop(self, result: StepResult) -> Stepped {
        let secs = self.start.elapsed().as_secs_f64();
        let StepResult { step, epoch, loss_nats, grad_norm, learning_rate, rewards } = result;
        Stepped {
            step,
            epoch,
            loss_nats,
            grad_norm,
            learning_rate,
            tokens: self.n_tokens,
            supervised_tokens: self.n_supervised,
            samples: self.n_samples,
            tokens_per_sec: self.n_tokens as f64 / secs,
            samples_per_sec: self.n_samples as f64 / secs,
            step_millis: secs * 1e3,
            data_millis: self.data.as_secs_f64() * 1e3,
            rewards,
        }
    }
}
