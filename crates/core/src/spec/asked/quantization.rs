//! `[quantization]`: how frozen weights are held.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How frozen weights are held.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuantizationSpec {
    /// The number format of every linear of the blocks; not of embeddings or head.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = QuantizationKind::None))]
    pub kind: Option<QuantizationKind>,
    /// Whether the scales are quantized too. Default: true with `nf4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub double_quant: Option<bool>,
}

/// The number formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuantizationKind {
    /// As `model.dtype` says.
    None,
    /// 4-bit NormalFloat (QLoRA, Dettmers et al. 2023).
    Nf4,
}
