//! Keys and values of the spec whose function this version does not have. To take a feature in, delete its line here
//! and give it a place in `resolved`. (Devices are parsed, so `vulkan` is refused by `DeviceKind::from_str`.)
//!
//! A key that is set to "off" asks for nothing and passes.

use super::findings::{Findings, shown};
use crate::error::{Problem, ProblemKind};
use crate::spec::resolved::{DataFormat, ModelDtype};
use crate::spec::{JobSpec, MethodKind, Optim, PredictionsSpec, QuantizationKind};

/// One function that is not there yet.
struct Gap {
    /// The key that asks for it.
    key: &'static str,
    /// What the spec asks for, as in the message; `None`: nothing.
    asked: fn(&JobSpec) -> Option<String>,
    /// What to do instead.
    hint: &'static str,
}

const GAPS: [Gap; 13] = [
    Gap {
        key: "model.dtype",
        asked: dtype,
        hint: "this version computes in f32: use `f32`, or drop the key",
    },
    Gap { key: "data.train", asked: weight, hint: "drop `weight`; `max_samples` limits a file" },
    Gap { key: "data.format", asked: format, hint: "bring the data to `messages` or `prompt_completion`" },
    Gap { key: "data.packing", asked: |spec| on(spec.data.packing), hint: "drop it" },
    Gap { key: "method.kind", asked: method, hint: "use `sft` or `cpt`" },
    Gap { key: "quantization.kind", asked: quantization, hint: "drop it: the base is held in f32" },
    Gap { key: "train.optim", asked: optim, hint: "use `adamw`" },
    Gap { key: "train.neftune_noise_alpha", asked: neftune, hint: "drop it" },
    Gap {
        key: "train.load_best_model_at_end",
        asked: |spec| on(spec.train.load_best_model_at_end),
        hint: "drop it",
    },
    Gap { key: "train.early_stopping_patience", asked: patience, hint: "drop it" },
    Gap { key: "predictions", asked: predictions, hint: "drop the section" },
    Gap { key: "device.max_memory", asked: max_memory, hint: "drop it" },
    Gap { key: "quantization.double_quant", asked: double_quant, hint: "drop it" },
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

fn on(value: Option<bool>) -> Option<String> {
    value.filter(|&is_on| is_on).map(|_| "`true`".to_owned())
}

fn dtype(spec: &JobSpec) -> Option<String> {
    match spec.model.dtype? {
        ModelDtype::Bf16 => Some("`bf16`".to_owned()),
        ModelDtype::F16 => Some("`f16`".to_owned()),
        ModelDtype::Auto | ModelDtype::F32 => None,
    }
}

fn weight(spec: &JobSpec) -> Option<String> {
    let file = spec.data.train.iter().find(|file| file.weight.is_some_and(|weight| weight != 1.0))?;
    Some(format!("the weight {} of `{}`", shown(file.weight?), file.path.display()))
}

fn format(spec: &JobSpec) -> Option<String> {
    match spec.data.format? {
        DataFormat::Sharegpt => Some("`sharegpt`".to_owned()),
        DataFormat::Preference => Some("`preference`".to_owned()),
        DataFormat::Auto
        | DataFormat::Messages
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer
        | DataFormat::Text
        | DataFormat::Tokens => None,
    }
}

fn method(spec: &JobSpec) -> Option<String> {
    match spec.method.kind? {
        kind @ (MethodKind::Dpo | MethodKind::Orpo) => Some(format!("`{}`", kind.name())),
        MethodKind::Sft | MethodKind::Cpt => None,
    }
}

fn quantization(spec: &JobSpec) -> Option<String> {
    match spec.quantization.kind? {
        QuantizationKind::Nf4 => Some("`nf4`".to_owned()),
        QuantizationKind::None => None,
    }
}

fn double_quant(spec: &JobSpec) -> Option<String> {
    // Without a kind it has no effect, which is another problem.
    quantization(spec).and_then(|_| on(spec.quantization.double_quant))
}

fn optim(spec: &JobSpec) -> Option<String> {
    match spec.train.optim? {
        Optim::Adamw8bit => Some("`adamw_8bit`".to_owned()),
        Optim::Adamw => None,
    }
}

fn neftune(spec: &JobSpec) -> Option<String> {
    let alpha = spec.train.neftune_noise_alpha.filter(|&alpha| alpha != 0.0)?;
    Some(format!("noise of {} on the embeddings", shown(alpha)))
}

fn patience(spec: &JobSpec) -> Option<String> {
    let patience = spec.train.early_stopping_patience.filter(|&patience| patience > 0)?;
    Some(format!("stopping after {patience} evaluations without a better one"))
}

fn predictions(spec: &JobSpec) -> Option<String> {
    match spec.predictions.as_ref()? {
        PredictionsSpec { count: Some(0), .. } => None,
        PredictionsSpec { .. } => Some("answering prompts during the run".to_owned()),
    }
}

fn max_memory(spec: &JobSpec) -> Option<String> {
    spec.device.max_memory.as_ref().map(|amount| format!("a limit of `{amount}`"))
}
