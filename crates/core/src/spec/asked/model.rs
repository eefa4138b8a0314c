//! `[model]`: the model to start from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::resolved::{ModelDtype, ModelInit};

/// The model to start from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path"]))]
pub struct ModelSpec {
    /// A Hugging Face model directory, or the id of an imported or downloaded model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The type of activations and frozen weights; what is trained is always `f32`. `auto` is `bf16` on GPUs that multiply in
    /// it (compute capability 8.0 and newer), `f16` with a loss scale on older ones, and `f32` elsewhere: the CPU and Vulkan
    /// have nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = ModelDtype::Auto))]
    pub dtype: Option<ModelDtype>,
    /// Where the weights come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = ModelInit::Pretrained))]
    pub init: Option<ModelInit>,
}
