//! [`JobSpec::check`]: ranges, combinations, defaults. Opens no file.
//!
//! Each section is judged into its checked form and its problems are collected; after a problem the value is a
//! stand-in that nobody sees, so that everything else is judged too.

use super::resolved::{CheckedSpec, Device, DeviceKind, Model, ModelDtype, ModelInit, Quantization, Scales};
use super::{AdapterKind, DeviceSpec, JobSpec, MethodKind, ModelSpec, QuantizationKind, QuantizationSpec};
use crate::error::Problem;

mod adapter;
mod data;
mod findings;
mod method;
mod name;
mod predictions;
mod schedule;
mod train;

use findings::Findings;

impl JobSpec {
    /// Judges the spec and resolves every default.
    ///
    /// # Errors
    /// All missing keys, values out of range, and contradictions.
    pub fn check(&self) -> Result<CheckedSpec, Vec<Problem>> {
        let Self { name, model, data, method, adapter, quantization, train, predictions, device } = self;
        let mut findings = Findings::default();
        let checked = CheckedSpec {
            name: name::checked(name.as_deref(), model, data, &mut findings),
            model: checked_model(model, &mut findings),
            data: data::checked(data, data::Context::of(method, train), &mut findings),
            method: method::checked(method, &mut findings),
            adapter: adapter::checked(adapter, &mut findings),
            quantization: checked_quantization(quantization, adapter.kind, &mut findings),
            train: train::checked(
                train,
                train::Context {
                    method: method.kind.unwrap_or(MethodKind::Sft),
                    adapter: adapter.kind.unwrap_or(AdapterKind::Lora),
                    has_eval: data.eval.is_some(),
                },
                &mut findings,
            ),
            predictions: predictions::checked(predictions.as_ref(), data.eval.is_some(), &mut findings),
            device: checked_device(device, &mut findings),
        };
        findings.into_result(checked)
    }
}

fn checked_model(model: &ModelSpec, findings: &mut Findings) -> Model {
    let ModelSpec { path, dtype, init } = model;
    let hint = "give a Hugging Face model directory, as in `path = \"models/Qwen3-0.6B\"`";
    Model {
        path: findings.required_path("model.path", path.as_deref(), hint),
        dtype: dtype.unwrap_or(ModelDtype::Auto),
        init: init.unwrap_or(ModelInit::Pretrained),
    }
}

fn checked_device(device: &DeviceSpec, findings: &mut Findings) -> Device {
    let DeviceSpec { max_memory, kind } = device;
    let max_memory_bytes = max_memory.as_ref().and_then(|amount| {
        amount.bytes().map_err(|problem| findings.push(problem.at("device.max_memory"))).ok()
    });
    let kind = kind.as_deref().unwrap_or("auto").parse().unwrap_or_else(|problem: Problem| {
        findings.push(problem.at("device.kind"));
        DeviceKind::Auto
    });
    Device { kind, max_memory_bytes }
}

fn checked_quantization(
    quantization: &QuantizationSpec,
    adapter: Option<AdapterKind>,
    findings: &mut Findings,
) -> Quantization {
    let QuantizationSpec { kind, double_quant } = quantization;
    match kind.unwrap_or(QuantizationKind::None) {
        QuantizationKind::None => {
            if *double_quant == Some(true) {
                findings.no_effect("quantization.double_quant", "`quantization.kind` = `none`");
            }
            Quantization::None
        }
        QuantizationKind::Nf4 => {
            if adapter == Some(AdapterKind::None) {
                findings.refuse(
                    "quantization.kind",
                    "quantized weights can't be trained, and `adapter.kind` = `none` trains all of them",
                    "set `adapter.kind` to `lora`, or drop `quantization`",
                );
            }
            Quantization::Nf4(if double_quant.unwrap_or(true) { Scales::Double } else { Scales::F32 })
        }
    }
}
