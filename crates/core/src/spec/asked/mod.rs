//! The spec as the user writes it: every key may be absent. Names are those of transformers' TrainingArguments,
//! PEFT's LoraConfig and TRL. The doc comments become the descriptions in the JSON Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod adapter;
mod data;
mod device;
mod method;
mod model;
mod one_or_many;
mod predictions;
mod quantization;
mod schedule;
mod train;

pub use adapter::{AdapterKind, AdapterSpec};
pub use data::{DataSpec, EvalSpec, TrainFileSpec};
pub use device::{DeviceSpec, MaxMemory};
pub use method::{LossType, MethodKind, MethodSpec};
pub use model::ModelSpec;
pub use predictions::PredictionsSpec;
pub use quantization::{QuantizationKind, QuantizationSpec};
pub use schedule::{LrSchedulerKwargs, LrSchedulerType};
pub use train::{Optim, TrainSpec};

/// A fine-tuning job. An absent section is off; `model.path`, `data.train`, `method.kind` and `adapter.kind` must be
/// given. Relative paths are relative to the spec file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["model", "data", "method", "adapter"]))]
pub struct JobSpec {
    /// What the run is called. Default: from the model and the first data file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model to start from.
    #[serde(skip_serializing_if = "is_default")]
    pub model: ModelSpec,
    /// What to train on.
    #[serde(skip_serializing_if = "is_default")]
    pub data: DataSpec,
    /// How to train.
    #[serde(skip_serializing_if = "is_default")]
    pub method: MethodSpec,
    /// Which weights to train.
    #[serde(skip_serializing_if = "is_default")]
    pub adapter: AdapterSpec,
    /// How frozen weights are held.
    #[serde(skip_serializing_if = "is_default")]
    pub quantization: QuantizationSpec,
    /// Steps, rates, and what happens when.
    #[serde(skip_serializing_if = "is_default")]
    pub train: TrainSpec,
    /// Answers to held-out prompts while the run goes on. Default: off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictions: Option<PredictionsSpec>,
    /// Where to compute.
    #[serde(skip_serializing_if = "is_default")]
    pub device: DeviceSpec,
}

fn is_default<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}
