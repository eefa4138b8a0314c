//! `[method]`.

use std::ops::Bound;

use super::findings::{Findings, POSITIVE, Range};
use crate::spec::resolved::{DpoLoss, Method};
use crate::spec::{LossType, MethodKind, MethodSpec, defaults};

/// From one half on the labels would be taken to be more often wrong than right.
const LABEL_SMOOTHING: Range = (Bound::Included(0.0), Bound::Excluded(0.5));

/// The method, whose keys must be its own.
pub(super) fn checked(method: &MethodSpec, findings: &mut Findings) -> Method {
    let MethodSpec { kind, beta, loss_type, label_smoothing } = method;
    let Some(kind) = *kind else {
        findings.missing(
            "method.kind",
            "choose `sft` to learn answers, `cpt` to learn plain text, `dpo` or `orpo` to learn from preferences",
        );
        return Method::Sft;
    };
    let is_for_pairs = matches!(kind, MethodKind::Dpo | MethodKind::Orpo);
    let with = format!("`method.kind` = `{}`", kind.name());
    if beta.is_some() && !is_for_pairs {
        findings.no_effect("method.beta", &with);
    }
    if loss_type.is_some() && kind != MethodKind::Dpo {
        findings.no_effect("method.loss_type", &with);
    }
    let smooths = kind == MethodKind::Dpo && *loss_type == Some(LossType::Cdpo);
    if label_smoothing.is_some_and(|share| share != 0.0) && !smooths {
        findings.no_effect("method.label_smoothing", "anything but `method.loss_type` = `cdpo`");
    }
    let beta = |findings: &mut Findings| {
        findings.number("method.beta", beta.unwrap_or(defaults::BETA), POSITIVE, "0.1 is usual")
    };
    match kind {
        MethodKind::Sft => Method::Sft,
        MethodKind::Cpt => Method::Cpt,
        MethodKind::Dpo => {
            let loss = match loss_type.unwrap_or(LossType::Sigmoid) {
                LossType::Sigmoid => DpoLoss::Sigmoid,
                LossType::Ipo => DpoLoss::Ipo,
                LossType::Hinge => DpoLoss::Hinge,
                LossType::Cdpo => DpoLoss::Cdpo {
                    label_smoothing: findings.number(
                        "method.label_smoothing",
                        label_smoothing.unwrap_or(0.0),
                        LABEL_SMOOTHING,
                        "0.1 is usual",
                    ),
                },
            };
            Method::Dpo { beta: beta(findings), loss }
        }
        MethodKind::Orpo => Method::Orpo { beta: beta(findings) },
    }
}
