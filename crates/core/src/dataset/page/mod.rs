//! The report as a page of 80 columns, most important first. It ends without a line break.
//!
//! ```text
//! 3 of 40 rows can't be trained on
//!
//! errors
//!   3 rows not valid JSON
//!     line 2 of `a.jsonl` is not valid JSON: EOF while parsing a string
//!     …
//! ```

mod figures;
mod lines;

use std::fmt;

use super::{Code, CodeCount, DatasetReport, FileReport, Finding, HeldOut, Severity, Steps, TokenReport};
use crate::spec::resolved::ExcessLength;
use figures::{bytes, container, grouped, histogram, percent, rows, table};
use lines::{Indent, clean, wrapped};

/// Examples of each code.
const EXAMPLES: usize = 5;

impl fmt::Display for DatasetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = verdict(self);
        for (severity, title) in
            [(Severity::Error, "errors"), (Severity::Warning, "warnings"), (Severity::Note, "notes")]
        {
            findings(self, severity, title, &mut lines);
        }
        files(&self.files, &mut lines);
        rows_of_text(self, &mut lines);
        if let Some(tokens) = &self.tokens {
            of_tokens(tokens, &mut lines);
        }
        if let Some(held_out) = &self.held_out {
            of_held_out(held_out, &mut lines);
        }
        if let Some(steps) = &self.steps {
            of_steps(steps, &mut lines);
        }
        f.write_str(&lines.join("\n"))
    }
}

/// The first lines: whether it can be trained on.
fn verdict(report: &DatasetReport) -> Vec<String> {
    let counts = report.rows;
    let of = |n: u64| format!("{} of {}", grouped(n), rows(counts.read));
    let n_files =
        report.counts.iter().filter(|count| is_of_files(count.code)).map(|count| count.rows).sum::<u64>();
    let text = match (counts.read, counts.rejected, report.is_fit()) {
        (0, _, _) => "NOT FIT: no row could be read".to_owned(),
        (_, 0, true) if counts.dropped > 0 => {
            format!(
                "FIT: {} are used, {} are too long and left out",
                of(counts.accepted),
                grouped(counts.dropped)
            )
        }
        (_, 0, true) => format!("FIT: {}, all of them can be trained on", rows(counts.read)),
        (_, 0, false) if n_files > 0 => "NOT FIT: not all of it could be read".to_owned(),
        (_, 0, false) if counts.accepted == 0 => {
            format!("NOT FIT: all {} are too long and left out", rows(counts.read))
        }
        (_, 0, false) => "NOT FIT: see below".to_owned(),
        (_, rejected, _) => format!("NOT FIT: {} can't be trained on", of(rejected)),
    };
    vec![text]
}

/// Codes that are found in a file and not in a row.
fn is_of_files(code: Code) -> bool {
    matches!(
        code,
        Code::UnreadableFile | Code::EmptyFile | Code::NotData | Code::UnknownFormat | Code::NothingToHoldOut
    )
}

fn findings(report: &DatasetReport, severity: Severity, title: &str, lines: &mut Vec<String>) {
    let counts: Vec<&CodeCount> = report.counts.iter().filter(|count| count.severity == severity).collect();
    if counts.is_empty() {
        return;
    }
    lines.extend([String::new(), title.to_owned()]);
    for CodeCount { code, rows: n, .. } in counts {
        let examples: Vec<&Finding> =
            report.findings.iter().filter(|finding| finding.code == *code).collect();
        let head = if is_of_files(*code) {
            format!("{} {}", if *n == 1 { "1 file".to_owned() } else { format!("{n} files") }, of_file(*code))
        } else {
            format!("{} {}", rows(*n), code.meaning())
        };
        lines.extend(wrapped(&head, Indent(2)));
        for example in examples.iter().take(EXAMPLES) {
            lines.extend(wrapped(&clean(&placed(example)), Indent(4)));
        }
        let n_listed = examples.len().min(EXAMPLES) as u64;
        if *n > n_listed && n_listed > 0 {
            lines.push(format!("    … and {} more", grouped(n - n_listed)));
        }
        // The same advice once.
        let mut hints: Vec<&str> = Vec::new();
        for hint in examples.iter().filter_map(|finding| finding.hint.as_deref()) {
            if !hints.contains(&hint) && hints.len() < 2 {
                hints.push(hint);
            }
        }
        for hint in hints {
            lines.extend(wrapped(&clean(&format!("-> {hint}")), Indent(4)));
        }
    }
}

/// As the end of a sentence that begins with a number of files.
fn of_file(code: Code) -> &'static str {
    match code {
        Code::UnreadableFile => "that can't be read",
        Code::EmptyFile => "without a row",
        Code::NotData => "of something else than data",
        Code::UnknownFormat => "in no known format",
        other => other.meaning(),
    }
}

/// The message, with the line where that is another number than the row's.
fn placed(finding: &Finding) -> String {
    match finding.line {
        Some(line) if finding.row.is_some() => format!("{} (line {line})", finding.message),
        Some(_) | None => finding.message.clone(),
    }
}

fn files(files: &[FileReport], lines: &mut Vec<String>) {
    lines.extend([String::new(), if files.len() == 1 { "file" } else { "files" }.to_owned()]);
    for file in files {
        let mut parts = Vec::new();
        if let Some(format) = file.format {
            let sure = if file.confidence < 1.0 {
                format!(" ({} sure)", percent(file.confidence))
            } else {
                String::new()
            };
            parts.push(format!("{}{sure}", format.name()));
        }
        parts.extend(file.layout.map(container));
        parts.push(rows(file.rows.read));
        parts.push(bytes(file.bytes));
        lines.extend(wrapped(&clean(&format!("{}: {}", file.path.display(), parts.join(", "))), Indent(2)));
        for note in &file.notes {
            lines.extend(wrapped(&clean(note), Indent(4)));
        }
    }
}

fn rows_of_text(report: &DatasetReport, lines: &mut Vec<String>) {
    if report.rows.accepted == 0 {
        return;
    }
    let mut sizes = Vec::new();
    if report.characters.total > 0 {
        sizes.push(("characters", &report.characters));
    }
    if report.turns.max > 0 {
        sizes.push(("messages", &report.turns));
    }
    if let Some(tokens) = &report.tokens {
        sizes.push(("tokens", &tokens.per_row));
    }
    if !sizes.is_empty() {
        lines.push(String::new());
        lines.extend(table("a row has", &sizes));
    }
    if !report.roles.is_empty() {
        let roles: Vec<String> = report
            .roles
            .iter()
            .map(|count| format!("{} {}", grouped(count.messages), clean(&count.role)))
            .collect();
        lines.extend(wrapped(&format!("messages by role: {}", roles.join(", ")), Indent(2)));
    }
    let (name, shown) = match &report.tokens {
        Some(tokens) => ("rows by tokens", &tokens.per_row),
        None => ("rows by characters", &report.characters),
    };
    if shown.bars.len() > 1 {
        lines.extend([String::new(), name.to_owned()]);
        lines.extend(histogram(shown));
    }
}

fn of_tokens(tokens: &TokenReport, lines: &mut Vec<String>) {
    lines.extend([String::new(), "training".to_owned()]);
    let mut say = |text: String| lines.extend(wrapped(&clean(&text), Indent(2)));
    let coverage = percent(tokens.mask_coverage());
    say(format!(
        "{} samples of {} tokens together; {} of them, {coverage}, are learned",
        grouped(tokens.samples),
        grouped(tokens.total),
        grouped(tokens.supervised),
    ));
    if let Some(template) = &tokens.template {
        say(format!("chat template: {template}"));
    }
    say(format!("{} learn the token that ends an answer", rows(tokens.rows_with_end)));
    let cut = tokens.cut;
    let limit = format!("max_length {}", grouped(tokens.max_length));
    if cut.rows == 0 {
        say(format!("{limit}: no row is longer"));
        return;
    }
    let lost = format!(
        "{} tokens, {} of them learned, and {} of the end",
        grouped(cut.tokens),
        grouped(cut.supervised_tokens),
        rows(cut.ends),
    );
    let longer = format!(
        "{limit}: {} longer",
        if cut.rows == 1 { "1 row is".to_owned() } else { format!("{} rows are", grouped(cut.rows)) }
    );
    say(match cut.strategy {
        ExcessLength::Error => format!("{longer}, which refuses the job; cutting would lose {lost}"),
        ExcessLength::Drop => format!("{longer} and left out, which loses {lost}"),
        ExcessLength::Truncate => format!("{longer} and cut off, which loses {lost}"),
        ExcessLength::Split => format!("{longer} and split up, which loses {lost}"),
    });
}

fn of_held_out(held_out: &HeldOut, lines: &mut Vec<String>) {
    let HeldOut { train, eval, overlap } = *held_out;
    let mut text = format!("{} are trained on, {} are held out", rows(train), rows(eval));
    if overlap > 0 {
        text.push_str(&format!("; {} of these are trained on too", grouped(overlap)));
    }
    if lines.last().is_none_or(|line| !line.starts_with("  ")) {
        lines.push(String::new());
    }
    lines.extend(wrapped(&text, Indent(2)));
}

fn of_steps(steps: &Steps, lines: &mut Vec<String>) {
    let Steps { per_epoch, total, epochs } = *steps;
    let epochs = if epochs.fract() == 0.0 { format!("{epochs}") } else { format!("{epochs:.2}") };
    let text = format!("{} steps an epoch, {} in all, {epochs} epochs", grouped(per_epoch), grouped(total));
    lines.extend(wrapped(&text, Indent(2)));
}
