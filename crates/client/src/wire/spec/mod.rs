//! The spec as its user writes it, section by section. Absent stays absent: nothing is judged and no default filled
//! in here.

mod adapter;
mod data;
mod device;
mod method;
mod model;
mod train;

use ftl_core::spec::JobSpec;

use super::error::optional;
use super::{WireError, v1};

impl From<JobSpec> for v1::JobSpec {
    fn from(spec: JobSpec) -> Self {
        let JobSpec { name, model, data, method, adapter, quantization, train, predictions, device } = spec;
        Self {
            name,
            model: Some(model.into()),
            data: Some(data.into()),
            method: Some(method.into()),
            adapter: Some(adapter.into()),
            quantization: Some(quantization.into()),
            train: Some(train.into()),
            predictions: predictions.map(v1::PredictionsSpec::from),
            device: Some(device.into()),
        }
    }
}

impl TryFrom<v1::JobSpec> for JobSpec {
    type Error = WireError;

    fn try_from(spec: v1::JobSpec) -> Result<Self, WireError> {
        const NAME: &str = "JobSpec";
        let v1::JobSpec { name, model, data, method, adapter, quantization, train, predictions, device } =
            spec;
        Ok(Self {
            name,
            model: optional(NAME, "model", model)?.unwrap_or_default(),
            data: optional(NAME, "data", data)?.unwrap_or_default(),
            method: optional(NAME, "method", method)?.unwrap_or_default(),
            adapter: optional(NAME, "adapter", adapter)?.unwrap_or_default(),
            quantization: optional(NAME, "quantization", quantization)?.unwrap_or_default(),
            train: optional(NAME, "train", train)?.unwrap_or_default(),
            predictions: optional(NAME, "predictions", predictions)?,
            device: optional(NAME, "device", device)?.unwrap_or_default(),
        })
    }
}
