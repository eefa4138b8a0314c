//! How fast a run goes and when it will be done, from what was measured; and the smoothing of a loss.

use std::collections::VecDeque;
use std::time::Duration;

use ftl_core::metrics::Stepped;

/// Steps that a pace looks back on. Enough that one slow step does not show, few enough that a pace which changed
/// does.
const WINDOW: usize = 100;

/// Steps per time over the last logged steps of one attempt. Evaluations and checkpoints between them count, since
/// they will come again.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    attempt: u32,
    /// The moment before the first measured step, then each logged step.
    marks: VecDeque<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    step: u64,
    time_unix_ms: f64,
    /// Tokens of the step, and its time.
    tokens: u64,
    step_millis: f64,
}

/// When a run will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eta {
    /// From now.
    pub left: Duration,
    /// Steps that it was measured over.
    pub n_steps_measured: u64,
}

impl Pace {
    /// Takes a step in. One of another attempt, or one that repeats an earlier step, begins anew.
    pub fn take(&mut self, attempt: u32, stepped: &Stepped, time_unix_ms: u64) {
        let Stepped { step, tokens, step_millis, .. } = *stepped;
        let time_unix_ms = time_unix_ms as f64;
        if attempt != self.attempt || self.marks.back().is_some_and(|last| last.step >= step) {
            self.marks.clear();
            self.attempt = attempt;
        }
        if self.marks.is_empty() {
            let before = Mark {
                step: step.saturating_sub(1),
                time_unix_ms: time_unix_ms - step_millis,
                tokens: 0,
                step_millis: 0.0,
            };
            self.marks.push_back(before);
        }
        self.marks.push_back(Mark { step, time_unix_ms, tokens, step_millis });
        if self.marks.len() > WINDOW + 1 {
            self.marks.pop_front();
        }
    }

    /// Tokens per second of the measured steps themselves.
    pub fn tokens_per_sec(&self) -> Option<f64> {
        let steps = self.marks.iter().skip(1);
        let (tokens, millis) =
            steps.fold((0, 0.0), |(tokens, millis), mark| (tokens + mark.tokens, millis + mark.step_millis));
        (millis > 0.0).then(|| tokens as f64 / (millis / 1e3))
    }

    /// When `total_steps` will be done; `None` before the first step, or where the clock went backwards.
    pub fn eta(&self, total_steps: u64, now_unix_ms: u64) -> Option<Eta> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        let n_steps_measured = last.step - first.step;
        let millis = last.time_unix_ms - first.time_unix_ms;
        if n_steps_measured == 0 || millis <= 0.0 {
            return None;
        }
        let steps_left = total_steps.saturating_sub(last.step);
        let since_last = (now_unix_ms as f64 - last.time_unix_ms).max(0.0);
        let left_millis = millis / n_steps_measured as f64 * steps_left as f64 - since_last;
        let left = Duration::try_from_secs_f64(left_millis.max(0.0) / 1e3).ok()?;
        Some(Eta { left, n_steps_measured })
    }
}

/// A mean that forgets: each value counts 1 − [`Smoothed::WEIGHT`], what was before the rest. Divided by the weights
/// that were really given, so that the first values are not drawn to zero (Adam, Kingma & Ba 2014, section 3).
#[derive(Clone, Copy, Debug, Default)]
pub struct Smoothed {
    sum: f64,
    weights: f64,
}

impl Smoothed {
    /// What the past keeps at each value: about the last ten count.
    pub const WEIGHT: f64 = 0.9;

    /// Takes a value in; one that is no number is left out.
    pub fn take(&mut self, value: f64) {
        if value.is_finite() {
            self.sum = self.sum * Self::WEIGHT + value * (1.0 - Self::WEIGHT);
            self.weights = self.weights * Self::WEIGHT + (1.0 - Self::WEIGHT);
        }
    }

    /// The mean; `None` before the first value.
    pub fn value(&self) -> Option<f64> {
        (self.weights > 0.0).then(|| self.sum / self.weights)
    }
}
