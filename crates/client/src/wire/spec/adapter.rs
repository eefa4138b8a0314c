//! `[adapter]`: which weights train.

use std::path::PathBuf;

use ftl_core::spec::resolved::TargetModules;
use ftl_core::spec::{AdapterKind, AdapterSpec};

use crate::wire::error::optional;
use crate::wire::numbered::{number_or_unspecified, numbered};
use crate::wire::{Numbered as _, WireError, text, v1};
use v1::target_modules::Kind;

numbered!(AdapterKind, v1::adapter_spec::Kind, "AdapterSpec.Kind": Lora, None);

impl From<AdapterSpec> for v1::AdapterSpec {
    fn from(spec: AdapterSpec) -> Self {
        let AdapterSpec {
            kind,
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
        } = spec;
        Self {
            kind: number_or_unspecified(kind),
            r,
            lora_alpha,
            lora_dropout,
            target_modules: target_modules.map(v1::TargetModules::from),
            use_rslora,
            use_dora,
            rank_pattern: rank_pattern.map(|ranks| v1::RankPattern { ranks }),
            alpha_pattern: alpha_pattern.map(|alphas| v1::AlphaPattern { alphas }),
            layers_to_transform: layers_to_transform.map(|indexes| v1::LayerIndexes { indexes }),
            modules_to_save: modules_to_save.map(|names| v1::ModuleNames { names }),
            init_from: init_from.map(text),
        }
    }
}

impl TryFrom<v1::AdapterSpec> for AdapterSpec {
    type Error = WireError;

    fn try_from(spec: v1::AdapterSpec) -> Result<Self, WireError> {
        const NAME: &str = "AdapterSpec";
        let v1::AdapterSpec {
            kind,
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
        } = spec;
        Ok(Self {
            kind: AdapterKind::optional(NAME, "kind", kind)?,
            r,
            lora_alpha,
            lora_dropout,
            target_modules: optional(NAME, "target_modules", target_modules)?,
            use_rslora,
            use_dora,
            rank_pattern: rank_pattern.map(|v1::RankPattern { ranks }| ranks),
            alpha_pattern: alpha_pattern.map(|v1::AlphaPattern { alphas }| alphas),
            layers_to_transform: layers_to_transform.map(|v1::LayerIndexes { indexes }| indexes),
            modules_to_save: modules_to_save.map(|v1::ModuleNames { names }| names),
            init_from: init_from.map(PathBuf::from),
        })
    }
}

impl From<TargetModules> for v1::TargetModules {
    fn from(modules: TargetModules) -> Self {
        let kind = match modules {
            TargetModules::AllLinear => Kind::AllLinear(true),
            TargetModules::Named(names) => Kind::Named(v1::ModuleNames { names }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::TargetModules> for TargetModules {
    type Error = WireError;

    fn try_from(modules: v1::TargetModules) -> Result<Self, WireError> {
        const NAME: &str = "TargetModules";
        let v1::TargetModules { kind } = modules;
        match kind {
            Some(Kind::AllLinear(true)) => Ok(Self::AllLinear),
            Some(Kind::AllLinear(false)) => {
                Err(WireError::new(NAME, "all_linear", "must be true; give `named` instead"))
            }
            Some(Kind::Named(v1::ModuleNames { names })) => Ok(Self::Named(names)),
            None => Err(WireError::new(NAME, "kind", "must be given, `all_linear` or `named`")),
        }
    }
}
