//! How far a run is: a bar on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use ftl_core::Event;
use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::job::Phase;
use ftl_core::metrics::{Rewards, Stepped};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{is_terminal, note};

/// Plain lines come at most this often; evaluations and notes always.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

/// Shows events as they come.
pub struct Progress {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    total_steps: Option<u64>,
    phase: Option<Phase>,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new() -> Self {
        let bar = is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps  {msg}  eta {eta}")
                .expect("the template is a constant");
            ProgressBar::new(0).with_style(style)
        });
        Self { bar, last_line: None, total_steps: None, phase: None }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Phase { phase, done, total, .. } => self.phase(*phase, *done, *total),
            Event::Note { level: NoteLevel::Info, message } => self.line(message),
            Event::Note { level: NoteLevel::Warning, message } => self.line(&format!("warning: {message}")),
            Event::Stepped(stepped) => self.stepped(stepped),
            Event::Evaluated(e) => self.line(&format!(
                "step {}: held-out loss {:.4}, perplexity {:.3}, token accuracy {:.1} %{}",
                e.step,
                e.loss_nats,
                e.perplexity,
                e.token_accuracy * 100.0,
                rewards(e.rewards.as_ref())
            )),
            Event::Sampled(Sampled { step, prompt, text, reference: _ }) => {
                self.line(&format!("step {step}: {prompt:?} -> {text:?}"));
            }
            Event::Saved { step, path, bytes } => {
                self.line(&format!("step {step}: saved {path} ({:.1} MB)", *bytes as f64 / 1e6));
            }
            // The note beside it says what is wrong.
            Event::Damaged { step, path: _, kept_at, message: _ } => {
                self.line(&format!("the damaged checkpoint of step {step} is kept at {kept_at}"));
            }
            Event::Exported { path, kind } => self.line(&format!("exported {kind} to {path}")),
            Event::State { .. } | Event::Removed { .. } => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn phase(&mut self, phase: Phase, done: Option<u64>, total: Option<u64>) {
        let changed = self.phase.replace(phase) != Some(phase);
        if phase == Phase::Training {
            self.total_steps = total.or(self.total_steps);
            if let (Some(bar), Some(total)) = (&self.bar, self.total_steps) {
                bar.set_length(total);
                bar.set_position(done.unwrap_or_else(|| bar.position()));
                bar.reset_eta();
            }
        } else if changed && matches!(phase, Phase::Loading | Phase::Tokenizing | Phase::Exporting) {
            self.line(&format!("{phase} …"));
        }
    }

    fn stepped(&mut self, stepped: &Stepped) {
        let Stepped { step, loss_nats, learning_rate, tokens_per_sec, grad_norm, rewards: of_pairs, .. } =
            stepped;
        let message = format!("loss {loss_nats:.4}  {tokens_per_sec:.0} tokens/s");
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.set_position(*step);
            return;
        }
        let now = Instant::now();
        let is_last = self.total_steps == Some(*step);
        if is_last || self.last_line.is_none_or(|last| now.duration_since(last) >= PLAIN_EVERY) {
            self.last_line = Some(now);
            let total = self.total_steps.map(|total| format!("/{total}")).unwrap_or_default();
            let of_pairs = rewards(of_pairs.as_ref());
            note(&format!(
                "step {step}{total}: {message}  lr {learning_rate:.2e}  grad norm {grad_norm:.3}{of_pairs}"
            ));
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }
}

/// What a method of preferences adds to a line; nothing for the others.
fn rewards(rewards: Option<&Rewards>) -> String {
    rewards.map_or_else(String::new, |rewards| format!("  {rewards}"))
}
