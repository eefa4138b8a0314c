//! Which linears of a model an adapter sits on.

use ftl_core::spec::resolved::TargetModules;
use ftl_core::{Problem, ProblemKind};

use crate::model::config::DecoderConfig;
use crate::model::families::{EMBED_TOKENS, LM_HEAD, LayerLinear};

/// One linear of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Which block.
    pub layer_index: usize,
    /// Which linear.
    pub linear: LayerLinear,
}

impl Target {
    /// The module's full name: `model.layers.3.self_attn.q_proj`.
    pub fn name(self) -> String {
        self.linear.name(self.layer_index)
    }
}

/// The linears that `targets` names, block by block. A name stands for every module whose full name is that, or ends
/// in a dot and that: `q_proj`, `self_attn.q_proj`, `layers.3.self_attn.q_proj`.
///
/// # Errors
/// `InvalidValue` for each name that fits no linear (PEFT is content if one of several fits), `NotAvailable` for the
/// embedding and the head, which can't have an adapter here.
pub fn resolve_targets(config: &DecoderConfig, targets: &TargetModules) -> Result<Vec<Target>, Vec<Problem>> {
    let all: Vec<Target> = (0..config.n_layers)
        .flat_map(|layer_index| {
            config.family.linears.iter().map(move |linear| Target { layer_index, linear: *linear })
        })
        .collect();
    let names = match targets {
        TargetModules::AllLinear => return Ok(all),
        TargetModules::Named(names) => names,
    };
    let mut problems: Vec<Problem> = Vec::new();
    if names.is_empty() {
        problems.push(invalid("names no module".to_owned(), config));
    }
    let mut named = vec![false; all.len()];
    for name in names {
        let mut fits_one = false;
        for (target, named) in all.iter().zip(&mut named) {
            if names_module(name, &target.name()) {
                *named = true;
                fits_one = true;
            }
        }
        if !fits_one {
            problems.push(unfit(name, config));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(all.into_iter().zip(named).filter_map(|(target, named)| named.then_some(target)).collect())
}

fn names_module(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn unfit(name: &str, config: &DecoderConfig) -> Problem {
    let without_adapter = [LM_HEAD, EMBED_TOKENS].map(|tensor| tensor.trim_end_matches(".weight"));
    if without_adapter.iter().any(|module| names_module(name, module)) {
        let message = format!("`{name}` can't have an adapter in this version");
        return Problem::new(ProblemKind::NotAvailable, message);
    }
    invalid(format!("`{name}` is no linear of this model"), config)
}

fn invalid(message: String, config: &DecoderConfig) -> Problem {
    let linears: Vec<_> = config.family.linears.iter().map(|linear| linear.short_name()).collect();
    Problem::new(ProblemKind::InvalidValue, message).hint(format!("choose from {}", linears.join(", ")))
}
