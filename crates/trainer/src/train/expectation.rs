//! What a spec says of an adapter that it goes on from, compared with what the adapter is.

use std::collections::BTreeMap;
use std::fmt::Display;

use ftl_core::spec::resolved::{LoraExpectation, LoraScale, LoraVariant};
use ftl_core::{Problem, ProblemKind};

use crate::adapter::peft::{AdapterConfig, Layout, Modules, Named, Target};
use crate::model::config::DecoderConfig;

/// A problem for each key that says something else than the adapter has.
pub(super) fn differences(
    expected: &LoraExpectation,
    found: &AdapterConfig,
    model: &DecoderConfig,
) -> Vec<Problem> {
    let LoraExpectation {
        r,
        lora_alpha,
        target_modules,
        scale,
        variant,
        rank_pattern,
        alpha_pattern,
        layers_to_transform,
        modules_to_save,
    } = expected;
    let mut problems = Vec::new();
    let mut compare = |key: &str, same: bool, asked: String, is: String| {
        if !same {
            let message = format!("the spec says {asked}, the adapter that training goes on from has {is}");
            problems.push(
                Problem::new(ProblemKind::InvalidValue, message)
                    .at(format!("adapter.{key}"))
                    .hint("drop the key, or start a new adapter"),
            );
        }
    };
    if let Some(r) = r {
        compare("r", *r == found.r as u64, r.to_string(), found.r.to_string());
    }
    if let Some(alpha) = lora_alpha {
        compare("lora_alpha", *alpha == found.lora_alpha, alpha.to_string(), found.lora_alpha.to_string());
    }
    if let Some(asked) = target_modules {
        let asked = Modules::from(asked.clone());
        let same = targets(&asked, found, model) == targets(&found.target_modules, found, model);
        compare("target_modules", same, list(asked.shown()), list(found.target_modules.shown()));
    }
    if let Some(scale) = scale {
        let is_root = |scale: LoraScale| (scale == LoraScale::ByRootOfRank).to_string();
        compare("use_rslora", *scale == found.scale, is_root(*scale), is_root(found.scale));
    }
    if let Some(variant) = variant {
        let is_dora = |variant: LoraVariant| (variant == LoraVariant::Dora).to_string();
        compare("use_dora", *variant == found.variant, is_dora(*variant), is_dora(found.variant));
    }
    if let Some(asked) = rank_pattern {
        let is: BTreeMap<_, _> =
            found.rank_pattern.iter().map(|(name, r)| (name.clone(), *r as u64)).collect();
        compare("rank_pattern", *asked == is, pairs(asked), pairs(&is));
    }
    if let Some(asked) = alpha_pattern {
        let is: BTreeMap<_, _> = found.alpha_pattern.iter().cloned().collect();
        compare("alpha_pattern", *asked == is, pairs(asked), pairs(&is));
    }
    if let Some(asked) = layers_to_transform {
        let is: Vec<u64> = found.layers_to_transform.iter().flatten().map(|layer| *layer as u64).collect();
        compare("layers_to_transform", sorted(asked) == sorted(&is), list(asked), list(&is));
    }
    if let Some(asked) = modules_to_save {
        let is = &found.modules_to_save;
        compare("modules_to_save", sorted(asked) == sorted(is), list(asked), list(is));
    }
    problems
}

/// The targets that `modules` would give the adapter.
fn targets(modules: &Modules, found: &AdapterConfig, model: &DecoderConfig) -> Vec<Target> {
    let config = AdapterConfig { target_modules: modules.clone(), ..found.clone() };
    let layout = Layout::of(&config, model, Named::InFile);
    let mut targets: Vec<_> =
        layout.iter().flat_map(|layout| &layout.low_rank).map(|part| part.target).collect();
    targets.sort_unstable();
    targets
}

fn sorted<T: Ord + Clone>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values
}

fn pairs<T: Display>(pattern: &BTreeMap<String, T>) -> String {
    list(pattern.iter().map(|(name, value)| format!("{name} = {value}")))
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "none".to_owned() } else { values.join(", ") }
}
