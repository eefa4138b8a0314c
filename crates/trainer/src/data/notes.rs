//! What a person should know of the data of a run though nothing is wrong with them: the warnings of the report, and
//! what the model brings along.

use ftl_core::dataset::{Code, CodeCount, DatasetReport, Severity};

use super::encode::Encoder;

/// One sentence each.
pub fn notes(report: &DatasetReport, encoder: &Encoder) -> Vec<String> {
    // Errors refuse the job, and most notes can wait for the report.
    let is_told = |count: &&CodeCount| count.severity == Severity::Warning || count.code == Code::SplitUp;
    let mut notes: Vec<String> = report
        .counts
        .iter()
        .filter(is_told)
        .map(|count| {
            let rows = if count.rows == 1 { "1 row".to_owned() } else { format!("{} rows", count.rows) };
            format!("{rows} {}", count.code.meaning())
        })
        .collect();
    let has_turns = report.tokens.as_ref().is_some_and(|tokens| tokens.template.is_some());
    if let Some(template) =
        encoder.template.as_ref().filter(|template| has_turns && template.reads_the_clock())
    {
        let origin = template.origin();
        notes.push(format!(
            "the chat template {origin} writes today's date, so another day gives other tokens"
        ));
    }
    if !has_turns && report.tokens.is_some() && encoder.tokenizer.eos().is_none() {
        notes.push("the tokenizer has no end token, so samples do not teach where to stop".to_owned());
    }
    notes
}
