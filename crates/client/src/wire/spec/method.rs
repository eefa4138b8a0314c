//! `[method]` and `[predictions]`: how to train, and which answers to show meanwhile.

use ftl_core::spec::{LossType, MethodKind, MethodSpec, PredictionsSpec};

use crate::wire::numbered::{number_or_unspecified, numbered};
use crate::wire::{Numbered as _, WireError, v1};

numbered!(MethodKind, v1::method_spec::Kind, "MethodSpec.Kind": Sft, Cpt, Dpo, Orpo);
numbered!(LossType, v1::method_spec::LossType, "MethodSpec.LossType": Sigmoid, Ipo, Hinge, Cdpo);

impl From<MethodSpec> for v1::MethodSpec {
    fn from(spec: MethodSpec) -> Self {
        let MethodSpec { kind, beta, loss_type, label_smoothing } = spec;
        Self {
            kind: number_or_unspecified(kind),
            beta,
            loss_type: number_or_unspecified(loss_type),
            label_smoothing,
        }
    }
}

impl TryFrom<v1::MethodSpec> for MethodSpec {
    type Error = WireError;

    fn try_from(spec: v1::MethodSpec) -> Result<Self, WireError> {
        const NAME: &str = "MethodSpec";
        let v1::MethodSpec { kind, beta, loss_type, label_smoothing } = spec;
        Ok(Self {
            kind: MethodKind::optional(NAME, "kind", kind)?,
            beta,
            loss_type: LossType::optional(NAME, "loss_type", loss_type)?,
            label_smoothing,
        })
    }
}

impl From<PredictionsSpec> for v1::PredictionsSpec {
    fn from(spec: PredictionsSpec) -> Self {
        let PredictionsSpec { count, every_steps, max_new_tokens } = spec;
        Self { count, every_steps, max_new_tokens }
    }
}

impl From<v1::PredictionsSpec> for PredictionsSpec {
    fn from(spec: v1::PredictionsSpec) -> Self {
        let v1::PredictionsSpec { count, every_steps, max_new_tokens } = spec;
        Self { count, every_steps, max_new_tokens }
    }
}
