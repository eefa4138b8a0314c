//! What became of a job, in a few lines, and what to do with it next.

use ftl_core::job::{Artifact, Job, State};

use super::figures::{age, clean, count, duration, loss, now_unix_ms};
use super::{HeldOut, Run};

/// Width of the names on the left.
const NAME_COLUMNS: usize = 15;

/// The end of a job for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What became of it.
    pub text: String,
    /// Commands that make sense now, with what they do.
    pub next: Vec<(String, &'static str)>,
}

impl Summary {
    /// Sums a job up. `run` is what was seen of it, and knows the first loss; without it the job's own figures do.
    pub fn new(job: &Job, artifacts: &[Artifact], run: Option<&Run>) -> Self {
        let Job { id, name, state, reason, problems, progress, directory, .. } = job;
        let mut lines = vec![headline(job)];
        let mut line = |name: &str, value: String| lines.push(format!("  {name:NAME_COLUMNS$} {value}"));
        if *name != id.as_str() {
            line("name", clean(name));
        }
        if let Some(reason) = reason {
            line("why", clean(reason));
        }
        let last = run.and_then(|run| run.last_loss_nats).or(progress.loss_nats);
        match (run.and_then(|run| run.first_loss_nats), last) {
            (Some(first), Some(last)) => line("training loss", change(first, last)),
            (None, Some(last)) => line("training loss", loss(last)),
            (_, None) => {}
        }
        let before = run.and_then(|run| run.held_out_before);
        let before = before.map(|HeldOut { loss_nats, .. }| loss_nats).or(progress.eval_loss_before_nats);
        match (before, progress.eval_loss_nats) {
            (Some(before), Some(after)) => line("held-out loss", change(before, after)),
            (Some(only), None) | (None, Some(only)) => line("held-out loss", loss(only)),
            (None, None) => {}
        }
        for Artifact { kind, path, .. } in artifacts {
            line("result", format!("{} ({})", clean(&path.display().to_string()), clean(kind)));
        }
        if artifacts.is_empty() {
            line("directory", clean(&directory.display().to_string()));
        }
        for problem in problems {
            line("problem", clean(&problem.to_string()));
        }
        Self { text: lines.join("\n"), next: next(*state, id.as_str()) }
    }

    /// The commands as aligned lines, without a line break at the end; empty where there are none.
    pub fn hints(&self) -> String {
        let columns = self.next.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        let lines = self.next.iter().map(|(command, does)| format!("  {command:columns$}  {does}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn headline(job: &Job) -> String {
    let Job { id, state, progress, started_unix_ms, ended_unix_ms, created_unix_ms, .. } = job;
    let mut headline = format!("{id} {state}");
    match progress.total_steps {
        Some(total) => headline.push_str(&format!(", {} of {} steps", count(progress.step), count(total))),
        None if progress.step > 0 => headline.push_str(&format!(", {} steps", count(progress.step))),
        None => {}
    }
    match (started_unix_ms, ended_unix_ms) {
        (Some(started), Some(ended)) => {
            let took = std::time::Duration::from_millis(ended.saturating_sub(*started));
            headline.push_str(&format!(", in {}", duration(took)));
        }
        (Some(started), None) => headline.push_str(&format!(", begun {}", age(*started, now_unix_ms()))),
        (None, _) => headline.push_str(&format!(", created {}", age(*created_unix_ms, now_unix_ms()))),
    }
    headline
}

/// `2.3100 → 1.9000 (-17.7 %)`.
fn change(before: f64, after: f64) -> String {
    let percent = (after - before) / before * 100.0;
    let share = if percent.is_finite() { format!(" ({percent:+.1} %)") } else { String::new() };
    format!("{} → {}{share}", loss(before), loss(after))
}

fn next(state: State, id: &str) -> Vec<(String, &'static str)> {
    match state {
        State::Queued | State::Starting | State::Running | State::Stopping | State::Interrupted => vec![
            (format!("ftl jobs watch {id}"), "follow it"),
            (format!("ftl jobs stop {id}"), "save and stop it"),
        ],
        State::Stopped => vec![
            (format!("ftl jobs resume {id} --follow"), "go on from the last checkpoint"),
            (format!("ftl checkpoints ls {id}"), "what was saved"),
        ],
        State::Succeeded => vec![
            (format!("ftl chat {id}"), "talk to the result"),
            (format!("ftl chat {id} --base"), "talk to the model that it began with"),
            (format!("ftl jobs metrics {id} --format csv"), "its numbers"),
        ],
        State::Failed => vec![
            (format!("ftl jobs logs {id}"), "what its worker wrote"),
            (format!("ftl jobs resume {id} --follow"), "try again from the last checkpoint"),
        ],
        State::Cancelled => vec![(format!("ftl jobs rm {id}"), "remove it with its files")],
    }
}
