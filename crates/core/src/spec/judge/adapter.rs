//! `[adapter]`.

use std::collections::BTreeMap;

use super::findings::{Findings, POSITIVE, SHARE_BELOW_ALL};
use crate::spec::resolved::{
    Adapter, Lora, LoraExpectation, LoraScale, LoraShape, LoraVariant, TargetModules,
};
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
    let r = adapter.r.map(|r| checked_r("adapter.r", r, findings));
    let lora_alpha = adapter.lora_alpha.map(|alpha| checked_alpha("adapter.lora_alpha", alpha, findings));
    let dropout = adapter.lora_dropout.unwrap_or(defaults::LORA_DROPOUT);
    let lora_dropout_prob =
        findings.number("adapter.lora_dropout", dropout, SHARE_BELOW_ALL, "0 turns it off, 0.05 is usual");
    let target_modules = adapter.target_modules.clone().map(|targets| checked_targets(targets, findings));
    let scale = adapter.use_rslora.map(|root| if root { LoraScale::ByRootOfRank } else { LoraScale::ByRank });
    let variant = adapter.use_dora.map(|dora| if dora { LoraVariant::Dora } else { LoraVariant::Plain });
    let rank_pattern = adapter
        .rank_pattern
        .clone()
        .map(|pattern| checked_pattern("rank_pattern", pattern, checked_r, findings));
    let alpha_pattern = adapter
        .alpha_pattern
        .clone()
        .map(|pattern| checked_pattern("alpha_pattern", pattern, checked_alpha, findings));
    let layers_to_transform =
        adapter.layers_to_transform.clone().map(|layers| checked_layers(layers, findings));
    let modules_to_save = adapter.modules_to_save.clone().map(|names| checked_modules(names, findings));
    if let (Some(TargetModules::Named(targets)), Some(saved)) = (&target_modules, &modules_to_save)
        && let Some(name) = saved.iter().find(|name| targets.contains(name))
    {
        let message = format!("`{name}` stands in `adapter.target_modules` too");
        findings.refuse(
            "adapter.modules_to_save",
            message,
            "train it in full or give it an adapter, not both",
        );
    }
    match &adapter.init_from {
        Some(path) => Lora::From {
            path: findings.path("adapter.init_from", path),
            expected: LoraExpectation {
                r,
                lora_alpha,
                target_modules,
                scale,
                variant,
                rank_pattern,
                alpha_pattern,
                layers_to_transform,
                modules_to_save,
            },
            lora_dropout_prob,
        },
        None => Lora::Fresh(LoraShape {
            r: r.unwrap_or(defaults::LORA_R),
            lora_alpha: lora_alpha.unwrap_or(defaults::LORA_ALPHA),
            lora_dropout_prob,
            target_modules: target_modules.unwrap_or(TargetModules::AllLinear),
            scale: scale.unwrap_or(LoraScale::ByRank),
            variant: variant.unwrap_or(LoraVariant::Plain),
            rank_pattern: rank_pattern.unwrap_or_default(),
            alpha_pattern: alpha_pattern.unwrap_or_default(),
            layers_to_transform,
            modules_to_save: modules_to_save.unwrap_or_default(),
        }),
    }
}

fn checked_r(key: &str, r: u64, findings: &mut Findings) -> u64 {
    findings.count(key, r, 1..=MAX_R, "8 to 64 is usual")
}

fn checked_alpha(key: &str, alpha: f64, findings: &mut Findings) -> f64 {
    findings.number(key, alpha, POSITIVE, "twice `adapter.r` is usual")
}

/// Values by module; whether a key matches a module is the engine's question.
fn checked_pattern<T: Copy>(
    name: &str,
    pattern: BTreeMap<String, T>,
    check: fn(&str, T, &mut Findings) -> T,
    findings: &mut Findings,
) -> BTreeMap<String, T> {
    for (module, value) in &pattern {
        if module.trim().is_empty() {
            let hint = "name modules such as `q_proj` or `layers.0.self_attn.q_proj`";
            findings.refuse(&format!("adapter.{name}"), "a name is empty", hint);
        }
        check(&format!("adapter.{name}.{module}"), *value, findings);
    }
    pattern
}

fn checked_layers(layers: Vec<u64>, findings: &mut Findings) -> Vec<u64> {
    let key = "adapter.layers_to_transform";
    if layers.is_empty() {
        let message = "the list is empty, so that no layer would get an adapter";
        findings.refuse(key, message, "name layers by index, counted from 0, or drop the key to adapt all");
    }
    for (index, layer) in layers.iter().enumerate() {
        if layers[..index].contains(layer) {
            findings.refuse(key, format!("layer {layer} is given twice"), "drop one of the two");
        }
    }
    layers
}

fn checked_modules(names: Vec<String>, findings: &mut Findings) -> Vec<String> {
    let key = "adapter.modules_to_save";
    for (index, name) in names.iter().enumerate() {
        if name.trim().is_empty() {
            findings.refuse(key, "a name in the list is empty", "name modules such as `lm_head`");
        } else if names[..index].contains(name) {
            findings.refuse(key, format!("`{name}` is given twice"), "drop one of the two");
        }
    }
    names
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
