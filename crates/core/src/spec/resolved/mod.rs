//! A spec that was judged: every default is filled in, every combination makes sense, and everything it asks
//! for exists in this version. Only `JobSpec::check` makes one.

mod adapter;
mod data;
mod method;
mod schedule;
mod train;

pub use adapter::{Adapter, Lora, LoraExpectation, LoraScale, LoraShape, LoraVariant, TargetModules};
pub use data::{Data, DataFormat, Eval, ExcessLength, LossOn, Rows, SampleOrder, TrainFile};
pub use method::{DpoLoss, LearnsFrom, Method};
pub use schedule::{Schedule, Warmup, Wsd, WsdShape};
pub use train::{
    AdamW, Checkpointing, Duration, Every, FinalWeights, MomentFormat, PredictionTimes, Predictions, Train,
};

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A spec that was judged.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckedSpec {
    /// What the user calls the run.
    pub name: String,
    /// The model to start from.
    pub model: Model,
    /// What to train on.
    pub data: Data,
    /// How to train.
    pub method: Method,
    /// Which weights to train.
    pub adapter: Adapter,
    /// How the frozen linears of the blocks are held.
    pub quantization: Quantization,
    /// Steps, rates, and what happens when.
    pub train: Train,
    /// Answers to held-out prompts while the run goes on; `None`: none.
    pub predictions: Option<Predictions>,
    /// Where to compute.
    pub device: Device,
}

/// The model to start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// A Hugging Face model directory.
    pub path: PathBuf,
    /// The precision of the computation.
    pub dtype: ModelDtype,
    /// Where the weights come from.
    pub init: ModelInit,
}

/// The precision of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelDtype {
    /// bf16 on GPUs that have it, f16 on older ones, f32 on CPU.
    Auto,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// Single precision.
    F32,
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ModelInit {
    /// The safetensors files of the model directory.
    Pretrained,
    /// Drawn from config.json's `initializer_range` by `train.seed`.
    Random,
}

/// How the frozen linears of the blocks are held; embeddings and head never are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// In the precision of the computation. A model whose files are quantized stays as they are.
    None,
    /// 4-bit NormalFloat in blocks of 64 (QLoRA, Dettmers et al. 2023).
    Nf4(Scales),
}

/// How the scales of quantized weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// In single precision.
    F32,
    /// In 8 bits, with a scale for each 256 of them.
    Double,
}

/// Where to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which device.
    pub kind: DeviceKind,
    /// What the run may take of its memory; `None`: what is free.
    pub max_memory_bytes: Option<u64>,
}

/// Which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A GPU where this build has one and can use it, else the CPU; the run says which and why.
    Auto,
    /// The CPU.
    Cpu,
    /// Any NVIDIA GPU: in the service one that is free, elsewhere the first.
    AnyCuda,
    /// An NVIDIA GPU by index.
    Cuda(usize),
    /// A device of Vulkan by index.
    Vulkan(usize),
}
