//! How the learning rate changes from step to step.
//!
//! Knows steps and numbers; the optimizer asks it once for each step. Whether the options make sense together was
//! judged by [`ftl_core::spec`]. Reference: `transformers.optimization.get_scheduler` (transformers 5), so that a
//! rate found with the Python tools carries over.

use std::f64::consts::PI;

use ftl_core::spec::resolved::{Schedule, Warmup, Wsd, WsdShape};

/// Time scale of [`Schedule::InverseSqrt`] without a warm-up; transformers' number.
const INVERSE_SQRT_TIMESCALE: f64 = 10_000.0;

/// The learning rate of every step of a run.
///
/// ```text
/// warm-up of 2 steps, then linear, 6 steps in all, peak 1.0
/// step index  0    1    2    3    4    5
/// rate        0    0.5  1    0.75 0.5  0.25
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    schedule: Schedule,
    base_lr: f64,
    // Counts are kept as `f64`: the formulas divide them, and some differences are negative.
    warmup_steps: f64,
    total_steps: f64,
}

impl LearningRate {
    /// The rates of a run of `total_steps` optimizer steps that peak at `base_lr`.
    pub fn new(schedule: &Schedule, base_lr: f64, warmup: Warmup, total_steps: u64) -> Self {
        let total_steps = total_steps as f64;
        let warmup_steps = match warmup {
            Warmup::Steps(steps) => steps as f64,
            Warmup::Fraction(fraction) => (total_steps * fraction).ceil(),
        };
        Self { schedule: *schedule, base_lr, warmup_steps, total_steps }
    }

    /// The rate that optimizer step `step_index + 1` uses.
    ///
    /// # Range
    ///
    /// `step_index` counts from 0 to one less than all steps; beyond, the curve goes on as transformers' does.
    pub fn at(&self, step_index: u64) -> f64 {
        self.base_lr * self.factor(step_index as f64)
    }

    fn factor(&self, step: f64) -> f64 {
        let warming_up = step < self.warmup_steps;
        match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Wsd(wsd) => self.wsd_factor(step, wsd),
            _ if warming_up => step / self.warmup_steps,
            Schedule::ConstantWithWarmup => 1.0,
            Schedule::Linear => ((self.total_steps - step) / self.decay_steps()).max(0.0),
            Schedule::Cosine { num_cycles } => waves(self.progress(step), num_cycles).max(0.0),
            Schedule::CosineWithRestarts { num_cycles } => self.restarts_factor(step, num_cycles as f64),
            Schedule::CosineWithMinLr { min_lr_rate, num_cycles } => {
                raise(waves(self.progress(step), num_cycles), min_lr_rate)
            }
            Schedule::Polynomial { lr_end, power } => self.polynomial_factor(step, lr_end, power),
            Schedule::InverseSqrt { timescale } => self.inverse_sqrt_factor(step, timescale),
        }
    }

    /// Steps after the warm-up; at least 1, so that a run that only warms up divides by something.
    fn decay_steps(&self) -> f64 {
        (self.total_steps - self.warmup_steps).max(1.0)
    }

    /// 0 when the warm-up ends, 1 when the run does.
    fn progress(&self, step: f64) -> f64 {
        (step - self.warmup_steps) / self.decay_steps()
    }

    fn restarts_factor(&self, step: f64, num_cycles: f64) -> f64 {
        let progress = self.progress(step);
        if progress >= 1.0 {
            return 0.0;
        }
        // Half a wave from each restart to the next.
        waves((num_cycles * progress).fract(), 0.5).max(0.0)
    }

    fn polynomial_factor(&self, step: f64, lr_end: f64, power: f64) -> f64 {
        let remaining = (1.0 - self.progress(step)).max(0.0);
        let lr = (self.base_lr - lr_end) * remaining.powf(power) + lr_end;
        lr / self.base_lr
    }

    fn inverse_sqrt_factor(&self, step: f64, timescale: Option<u64>) -> f64 {
        let timescale = match timescale {
            Some(steps) => steps as f64,
            None if self.warmup_steps > 0.0 => self.warmup_steps,
            None => INVERSE_SQRT_TIMESCALE,
        };
        let shift = timescale - self.warmup_steps;
        1.0 / ((step + shift) / timescale).sqrt()
    }

    fn wsd_factor(&self, step: f64, wsd: Wsd) -> f64 {
        let Wsd { num_stable_steps, num_decay_steps, warmup_type, decay_type, min_lr_ratio, num_cycles } =
            wsd;
        let decay_steps = num_decay_steps as f64;
        // Negative when warm-up and decay overlap: the decay then begins part of the way down, as in transformers.
        let stable_steps =
            num_stable_steps.map_or(self.total_steps - self.warmup_steps - decay_steps, |steps| steps as f64);
        let decay_start = self.warmup_steps + stable_steps;

        if step < self.warmup_steps {
            let progress = step / self.warmup_steps;
            let factor = match warmup_type {
                WsdShape::Linear => progress,
                WsdShape::Cosine => 1.0 - waves(progress, 0.5),
                WsdShape::OneMinusSqrt => 1.0 - (1.0 - progress).sqrt(),
            };
            raise(factor, min_lr_ratio)
        } else if step < decay_start {
            1.0
        } else if step < decay_start + decay_steps {
            let progress = (step - decay_start) / decay_steps;
            let factor = match decay_type {
                WsdShape::Linear => 1.0 - progress,
                WsdShape::Cosine => waves(progress, num_cycles),
                WsdShape::OneMinusSqrt => 1.0 - progress.sqrt(),
            };
            raise(factor, min_lr_ratio)
        } else {
            min_lr_ratio
        }
    }
}

/// `num_cycles` cosine waves between 1 and 0 while `progress` goes from 0 to 1; half a wave falls once.
fn waves(progress: f64, num_cycles: f64) -> f64 {
    0.5 * (1.0 + (PI * num_cycles * 2.0 * progress).cos())
}

/// Squeezes a factor between 0 and 1 to between `floor` and 1.
fn raise(factor: f64, floor: f64) -> f64 {
    (factor * (1.0 - floor) + floor).max(0.0)
}
