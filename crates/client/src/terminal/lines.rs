//! A run as plain lines, for logs and pipes: changes of state, now and then a step, every evaluation, what was saved
//! and made, and notes.

use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::job::{JobEvent, Phase};
use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_core::{Event, EventRecord};

use super::Run;
use super::figures::{bytes, clean, count, duration, learning_rate, loss};

/// A run has about this many lines of steps, where its length is known.
const STEP_LINES: u64 = 50;
/// Steps between lines where it is not.
const STEPS_UNKNOWN: u64 = 10;
/// A slow run says something at least this often, by the time of its events.
const LONGEST_SILENCE_MILLIS: u64 = 30_000;

/// Characters of a prompt and of an answer that a line shows.
const EXCERPT_CHARS: usize = 80;

/// Says which events are worth a line.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    last_step_line_unix_ms: Option<u64>,
    last_phase: Option<Phase>,
}

impl Lines {
    /// The line for an event that `run` has taken in already.
    pub fn line(&mut self, run: &Run, event: &JobEvent) -> Option<String> {
        let EventRecord { seq: _, time_unix_ms, event } = &event.record;
        match event {
            Event::State { state, reason } => {
                self.last_phase = None;
                let reason = reason.as_deref().map(|reason| format!(": {}", clean(reason)));
                Some(format!("{} {state}{}", run.id, reason.unwrap_or_default()))
            }
            Event::Phase { phase, .. } => {
                (self.last_phase.replace(*phase) != Some(*phase)).then(|| format!("{phase} …"))
            }
            Event::Note { level: NoteLevel::Info, message } => Some(clean(message)),
            Event::Note { level: NoteLevel::Warning, message } => {
                Some(format!("warning: {}", clean(message)))
            }
            Event::Stepped(stepped) => self.stepped(run, stepped, *time_unix_ms),
            Event::Evaluated(evaluated) => Some(held_out(evaluated)),
            Event::Sampled(sampled) => Some(answer(sampled)),
            Event::Saved { step, path, bytes: size } => {
                Some(format!("step {step}: saved {} ({})", clean(path), bytes(*size)))
            }
            // That newer ones take the place of older ones is as asked.
            Event::Removed { .. } => None,
            Event::Damaged { step, path: _, kept_at, message } => Some(format!(
                "warning: the checkpoint of step {step} is damaged and kept at {}: {}",
                clean(kept_at),
                clean(message)
            )),
            Event::Exported { path, kind } => Some(format!("exported {} to {}", clean(kind), clean(path))),
        }
    }

    fn stepped(&mut self, run: &Run, stepped: &Stepped, time_unix_ms: u64) -> Option<String> {
        let Stepped { step, loss_nats, grad_norm, learning_rate: rate, rewards: of_pairs, .. } = stepped;
        let every = run.total_steps.map_or(STEPS_UNKNOWN, |total| total.div_ceil(STEP_LINES).max(1));
        let is_last = run.total_steps == Some(*step);
        let is_due = self.last_step_line_unix_ms.is_none_or(|last| {
            step.is_multiple_of(every) || time_unix_ms.saturating_sub(last) >= LONGEST_SILENCE_MILLIS
        });
        if !is_due && !is_last {
            return None;
        }
        self.last_step_line_unix_ms = Some(time_unix_ms);
        let total = run.total_steps.map(|total| format!("/{total}")).unwrap_or_default();
        let mut line = format!(
            "step {step}{total}: loss {}  lr {}  grad norm {grad_norm:.3}",
            loss(*loss_nats),
            learning_rate(*rate)
        );
        line.push_str(&rewards(of_pairs.as_ref()));
        if let Some(rate) = run.pace.tokens_per_sec() {
            line.push_str(&format!("  {} tokens/s", count(rate as u64)));
        }
        let eta = run.total_steps.and_then(|total| run.pace.eta(total, time_unix_ms));
        if let Some(eta) = eta.filter(|_| !is_last) {
            line.push_str(&format!("  ETA {}", duration(eta.left)));
        }
        Some(line)
    }
}

fn held_out(evaluated: &Evaluated) -> String {
    let Evaluated { step, loss_nats, perplexity, token_accuracy, tokens: _, rewards: of_pairs } = evaluated;
    format!(
        "step {step}: held-out loss {}, perplexity {perplexity:.3}, token accuracy {:.1} %{}",
        loss(*loss_nats),
        token_accuracy * 100.0,
        rewards(of_pairs.as_ref())
    )
}

/// What a method of preferences adds to a line; nothing for the others.
fn rewards(rewards: Option<&Rewards>) -> String {
    rewards.map_or_else(String::new, |rewards| format!("  {rewards}"))
}

/// A prompt and its answer in one line, each by its beginning.
fn answer(sampled: &Sampled) -> String {
    let Sampled { step, prompt, text, reference: _ } = sampled;
    format!("step {step}: {} → {}", excerpt(prompt), excerpt(text))
}

fn excerpt(text: &str) -> String {
    let text = clean(text);
    match text.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
