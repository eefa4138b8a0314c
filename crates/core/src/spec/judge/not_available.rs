//! Keys and values of the spec whose function this version does not have. To take a feature in, delete its line here
//! and give it a place in `resolved`.
//!
//! A key that is set to "off" asks for nothing and passes.

use super::findings::Findings;
use crate::error::{Problem, ProblemKind};
use crate::spec::JobSpec;
use crate::spec::resolved::DataFormat;

/// One function that is not there yet.
struct Gap {
    /// The key that asks for it.
    key: &'static str,
    /// What the spec asks for, as in the message; `None`: nothing.
    asked: fn(&JobSpec) -> Option<String>,
    /// What to do instead.
    hint: &'static str,
}

const GAPS: [Gap; 1] =
    [Gap { key: "data.format", asked: format, hint: "bring the data to `messages` or `prompt_completion`" }];

/// Reports every function that the spec asks for and this version does not have.
pub(super) fn report(spec: &JobSpec, findings: &mut Findings) {
    for Gap { key, asked, hint } in &GAPS {
        if let Some(what) = asked(spec) {
            let message = format!("{what} is not available in this version");
            findings.push(Problem::new(ProblemKind::NotAvailable, message).at(*key).hint(*hint));
        }
    }
}

fn format(spec: &JobSpec) -> Option<String> {
    match spec.data.format? {
        DataFormat::Sharegpt => Some("`sharegpt`".to_owned()),
        DataFormat::Auto
        | DataFormat::Messages
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer
        | DataFormat::Text
        | DataFormat::Preference
        | DataFormat::Tokens => None,
    }
}
