//! Single answers labelled good or bad, as KTO learns them (Ethayarajh et al. 2024): recognised, and explained.

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use ftl_core::spec::resolved::DataFormat;
use serde_json::Value;

use super::fields::{Fields, Found};
use super::layout::Labels;
use crate::data::fault::Fault;

/// Refuses a labelled answer, or notices that its label is not heeded.
pub(super) fn check(fields: &Fields<'_>) -> Result<(), Fault> {
    let Some(Found { key, .. }) = label(fields) else { return Ok(()) };
    let format = fields.layout.format.name();
    match fields.layout.labels {
        Labels::Explained => Err(Fault::new(
            Code::Kto,
            format!("labels its answer good or bad (`{key}`), as KTO learns it, a method that there is not here"),
        )
        .hint(format!(
            "keep the rows of good answers and drop `{key}`, or set `data.format` = \"{format}\" to learn all answers \
             whatever their label; for `dpo` write pairs with `chosen` and `rejected`"
        ))),
        Labels::Ignored => {
            let what = format!("has a `{key}` that says whether its answer is good, which the format `{format}` does not heed");
            fields.notice(Code::LabelIgnored, what);
            Ok(())
        }
    }
}

/// The label, if there is one that says yes or no. Numbers are classes of something else.
fn label<'a>(fields: &Fields<'a>) -> Option<Found<'a>> {
    let has_answer = match fields.layout.format {
        DataFormat::Messages
        | DataFormat::Sharegpt
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer => true,
        DataFormat::Auto | DataFormat::Text | DataFormat::Preference | DataFormat::Tokens => false,
    };
    fields.find(Field::Label).filter(|found| has_answer && says_yes_or_no(found.value))
}

fn says_yes_or_no(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        // Tables have nothing but text.
        Value::String(text) => ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(text.trim())),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => false,
    }
}
