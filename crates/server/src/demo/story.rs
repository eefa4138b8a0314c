//! What the demo says, line by line. Words alone; what is done is in [`super`].

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use ftl_core::dataset::{Dataset, DatasetReport, Severity};
use ftl_core::job::{Artifact, Job};
use ftl_core::model::ModelFacts;
use ftl_core::plan::{MemoryPlan, shown};

use super::questions::Question;

/// Answers are cut to so many characters.
const N_SHOWN: usize = 160;

pub(super) fn service(pid: u32, socket: &Path) -> String {
    format!(
        "service    process {pid}, gRPC on {}; jobs in SQLite, each trained by a process of its own",
        socket.display()
    )
}

pub(super) fn model(path: &Path, facts: &ModelFacts) -> String {
    let ModelFacts {
        architecture,
        model_type: _,
        parameters,
        weight_bytes: _,
        context_tokens,
        vocab_size: _,
        n_layers,
        hidden_size,
        lora_targets: _,
        chat_template: _,
    } = facts;
    format!(
        "model      {}: {architecture}, {} parameters, {n_layers} layers of width {hidden_size}, {context_tokens} tokens of context",
        path.display(),
        thousands(*parameters)
    )
}

pub(super) fn dataset(dataset: &Dataset) -> String {
    let Dataset { id: _, name: _, path, owner: _, facts, report: _, created_unix_ms: _ } = dataset;
    format!("data       {}: {} rows, {} bytes", path.display(), facts.n_rows, thousands(facts.bytes))
}

/// What was found in the data, in two lines, and how to see all of it.
pub(super) fn report(report: &DatasetReport, data: &Path, model: &Path) -> String {
    let counts = report.rows;
    let of = |severity: Severity| -> u64 {
        report.counts.iter().filter(|count| count.severity == severity).map(|count| count.rows).sum()
    };
    let mut text = format!(
        "report     {} of {} rows can be trained on; {} errors, {} warnings",
        thousands(counts.accepted),
        thousands(counts.read),
        thousands(of(Severity::Error)),
        thousands(of(Severity::Warning))
    );
    if let Some(tokens) = &report.tokens {
        let _ = write!(
            text,
            "; {} tokens, {:.0} % of them learned, {} in the longest row",
            thousands(tokens.total),
            100.0 * tokens.mask_coverage(),
            thousands(tokens.per_row.max)
        );
    }
    let _ =
        write!(text, "\n           all of it: ftl data check {} --model {}", data.display(), model.display());
    text
}

pub(super) fn memory(plan: &MemoryPlan) -> String {
    let MemoryPlan { peak_bytes, available_bytes, device, .. } = plan;
    let available = available_bytes.map(|bytes| format!(" of {}", shown(bytes))).unwrap_or_default();
    format!(
        "memory     at most {}{available} on {device}, planned before a weight is read",
        shown(*peak_bytes)
    )
}

/// What a demo on somebody's own model or data leaves out.
pub(super) fn taste(n_steps: u64, n_rows: u64, max_length: u64) -> String {
    format!(
        "taste      {n_steps} steps on at most {n_rows} rows, each cut to {max_length} tokens; a job of your own has no such limits"
    )
}

/// One question with the answers of before and after.
pub(super) fn answers(question: &Question, before: &str, after: &str) -> String {
    let mut text = format!("  asked     {}\n", one_line(&question.shown));
    let _ = writeln!(text, "  before    {}", one_line(before));
    let _ = writeln!(text, "  after     {}", one_line(after));
    if !question.reference.is_empty() {
        let _ = writeln!(text, "  the data  {}", one_line(&question.reference));
    }
    text
}

pub(super) fn outcome(job: &Job, artifacts: &[Artifact], n_events: u64, elapsed: Duration) -> String {
    let mut text = String::new();
    let progress = &job.progress;
    if let (Some(before), Some(after)) = (progress.eval_loss_before_nats, progress.eval_loss_nats) {
        let _ = writeln!(text, "held-out loss  {before:.3} before, {after:.3} after, in nats per token");
    }
    for artifact in artifacts {
        let what = match artifact.kind.as_str() {
            "peft" => "adapter",
            _ => "model",
        };
        let _ = writeln!(
            text,
            "{what:<14} {} ({} bytes), loaded as it is by peft and transformers",
            artifact.path.display(),
            thousands(artifact.bytes)
        );
    }
    let _ = write!(
        text,
        "the job        {} steps and {n_events} events kept in SQLite, {:.1} s from queued to {}",
        progress.step,
        elapsed.as_secs_f64(),
        job.state
    );
    text
}

/// What to try now.
pub(super) fn next(kept: Option<&Path>, is_own: bool) -> String {
    let mut text = String::new();
    match kept {
        Some(directory) => {
            let _ = writeln!(text, "Everything is kept in {}.", directory.display());
        }
        None => {
            let _ = writeln!(text, "Nothing of this stays on the disk; --keep DIR keeps it.");
        }
    }
    text.push_str("\nNow with your own:\n");
    if !is_own {
        text.push_str("  ftl-server demo --model DIR --data FILE    the same with your model and data\n");
    }
    text.push_str(
        "  ftl train spec.toml --follow               a job of your own; `ftl` starts the service when it needs it\n  \
           ftl config presets                         specs to start from\n  \
           ftl chat JOB                               talk to what a job made\n",
    );
    text
}

fn one_line(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return "(nothing)".to_owned();
    }
    match text.char_indices().nth(N_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn long_answers_are_cut_and_line_breaks_removed() {
        assert_eq!(one_line("a\n  b"), "a b");
        assert_eq!(one_line("  "), "(nothing)");
        let long = one_line(&"ä".repeat(N_SHOWN + 1));
        assert_eq!(long.chars().count(), N_SHOWN + 1);
        assert!(long.ends_with('…'));
    }
}
