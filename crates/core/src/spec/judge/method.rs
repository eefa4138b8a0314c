//! `[method]`.

use super::findings::{Findings, shown};
use crate::spec::resolved::Method;
use crate::spec::{LossType, MethodKind, MethodSpec};

/// The method, whose keys must be its own.
pub(super) fn checked(method: &MethodSpec, findings: &mut Findings) -> Method {
    let MethodSpec { kind, beta, loss_type, label_smoothing } = method;
    let Some(kind) = *kind else {
        findings.missing("method.kind", "choose `sft` to learn answers, or `cpt` to learn plain text");
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
    if let Some(beta) = beta.filter(|beta| is_for_pairs && !(beta.is_finite() && *beta > 0.0)) {
        let message = format!("{} is out of range, expected more than 0", shown(beta));
        findings.refuse("method.beta", message, "0.1 is usual");
    }
    match kind {
        MethodKind::Sft => Method::Sft,
        MethodKind::Cpt => Method::Cpt,
        // Refused by `not_available`: this is the stand-in.
        MethodKind::Dpo | MethodKind::Orpo => Method::Sft,
    }
}
