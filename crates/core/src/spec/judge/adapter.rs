//! `[adapter]`.

use super::findings::{Findings, POSITIVE, SHARE_BELOW_ALL};
use crate::spec::resolved::{Adapter, Lora, LoraExpectation, LoraShape, TargetModules};
use crate::spec::{AdapterKind, AdapterSpec, defaults};

/// Largest rank: beyond the width of any model. Whether it fits the model at hand is the engine's question.
const MAX_R: u64 = 1 << 16;

/// The adapter, new or to be loaded.
pub(super) fn checked(adapter: &AdapterSpec, findings: &mut Findings) -> Adapter {
    let Some(kind) = adapter.kind else {
        findings.missing("adapter.kind", "choose `lora`, or `none` for full fine-tuning");
        return Adapter::None;
    };
    match kind {
        AdapterKind::None => {
            refuse_keys_of_lora(adapter, findings);
            Adapter::None
        }
        AdapterKind::Lora => Adapter::Lora(lora(adapter, findings)),
    }
}

fn lora(adapter: &AdapterSpec, findings: &mut Findings) -> Lora {
    let r = adapter.r.map(|r| findings.count("adapter.r", r, 1..=MAX_R, "8 to 64 is usual"));
    let lora_alpha = adapter
        .lora_alpha
        .map(|alpha| findings.number("adapter.lora_alpha", alpha, POSITIVE, "twice `adapter.r` is usual"));
    let dropout = adapter.lora_dropout.unwrap_or(defaults::LORA_DROPOUT);
    let lora_dropout_prob =
        findings.number("adapter.lora_dropout", dropout, SHARE_BELOW_ALL, "0 turns it off, 0.05 is usual");
    let target_modules = adapter.target_modules.clone().map(|targets| checked_targets(targets, findings));
    match &adapter.init_from {
        Some(path) => Lora::From {
            path: findings.path("adapter.init_from", path),
            expected: LoraExpectation { r, lora_alpha, target_modules },
            lora_dropout_prob,
        },
        None => Lora::Fresh(LoraShape {
            r: r.unwrap_or(defaults::LORA_R),
            lora_alpha: lora_alpha.unwrap_or(defaults::LORA_ALPHA),
            lora_dropout_prob,
            target_modules: target_modules.unwrap_or(TargetModules::AllLinear),
        }),
    }
}

fn checked_targets(targets: TargetModules, findings: &mut Findings) -> TargetModules {
    let key = "adapter.target_modules";
    let hint = "name modules such as `q_proj`, or give \"all-linear\"";
    if let TargetModules::Named(names) = &targets {
        if names.is_empty() {
            findings.refuse(key, "the list is empty, so that nothing would be trained", hint);
        }
        for (index, name) in names.iter().enumerate() {
            if name.trim().is_empty() {
                findings.refuse(key, "a name in the list is empty", hint);
            } else if name == "all-linear" {
                findings.refuse(
                    key,
                    "`all-linear` stands in a list of names",
                    "give it alone, without a list",
                );
            } else if names[..index].contains(name) {
                findings.refuse(key, format!("`{name}` is given twice"), "drop one of the two");
            }
        }
    }
    targets
}

/// Full fine-tuning has no use for any of them; an explicit "off" says the same and passes.
fn refuse_keys_of_lora(adapter: &AdapterSpec, findings: &mut Findings) {
    let AdapterSpec {
        kind: _,
        r,
        lora_alpha,
        lora_dropout,
        target_modules,
        use_rslora,
        use_dora,
        rank_pattern,
        alpha_pattern,
        layers_to_transform,
        modules_to_save,
        init_from,
    } = adapter;
    let keys = [
        ("r", r.is_some()),
        ("lora_alpha", lora_alpha.is_some()),
        ("lora_dropout", lora_dropout.is_some()),
        ("target_modules", target_modules.is_some()),
        ("use_rslora", *use_rslora == Some(true)),
        ("use_dora", *use_dora == Some(true)),
        ("rank_pattern", rank_pattern.as_ref().is_some_and(|pattern| !pattern.is_empty())),
        ("alpha_pattern", alpha_pattern.as_ref().is_some_and(|pattern| !pattern.is_empty())),
        ("layers_to_transform", layers_to_transform.is_some()),
        ("modules_to_save", modules_to_save.as_ref().is_some_and(|names| !names.is_empty())),
        ("init_from", init_from.is_some()),
    ];
    for (key, is_given) in keys {
        if is_given {
            findings.no_effect(&format!("adapter.{key}"), "`adapter.kind` = `none`");
        }
    }
}
