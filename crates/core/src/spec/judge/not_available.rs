//! Keys and values of the spec whose function this version does not have. To take a feature in, delete its line here
//! and give it a place in `resolved`. (Devices are parsed, so `vulkan` is refused by `DeviceKind::from_str`.)
//!
//! A key that is set to "off" asks for nothing and passes.

use super::findings::Findings;
use crate::error::{Problem, ProblemKind};
use crate::spec::JobSpec;
use crate::spec::resolved::{DataFormat, ModelDtype};

/// One function that is not there yet.
struct Gap {
    /// The key that asks for it.
    key: &'static str,
    /// What the spec asks for, as in the message; `None`: nothing.
    asked: fn(&JobSpec) -> Option<String>,
    /// What to do instead.
    hint: &'static str,
}

const GAPS: [Gap; 2] = [
    Gap {
        key: "model.dtype",
        asked: dtype,
        hint: "this version computes in f32: use `f32`, or drop the key",
    },
    Gap { key: "data.format", asked: format, hint: "bring the data to `messages` or `prompt_completion`" },
];

/// Reports every function that the spec asks for and this version does not have.
pub(super) fn report(spec: &JobSpec, findings: &mut Findings) {
    for Gap { key, asked, hint } in &GAPS {
        if let Some(what) = asked(spec) {
            let message = format!("{what} is not available in this version");
            findings.push(Problem::new(ProblemKind::NotAvailable, message).at(*key).hint(*hint));
        }
    }
}

fn dtype(spec: &JobSpec) -> Option<String> {
    match spec.model.dtype? {
        ModelDtype::Bf16 => Some("`bf16`".to_owned()),
        ModelDtype::F16 => Some("`f16`".to_owned()),
        ModelDtype::Auto | ModelDtype::F32 => None,
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
