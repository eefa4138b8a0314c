//! `[model]` and `[quantization]`: the model to start from, and how its frozen weights are held.

use std::path::PathBuf;

use ftl_core::spec::resolved::{ModelDtype, ModelInit};
use ftl_core::spec::{ModelSpec, QuantizationKind, QuantizationSpec};

use crate::wire::numbered::{number_or_unspecified, numbered};
use crate::wire::{Numbered as _, WireError, text, v1};

numbered!(ModelDtype, v1::model_spec::Dtype, "ModelSpec.Dtype": Auto, Bf16, F16, F32);
numbered!(ModelInit, v1::model_spec::Init, "ModelSpec.Init": Pretrained, Random);
numbered!(QuantizationKind, v1::quantization_spec::Kind, "QuantizationSpec.Kind": None, Nf4);

impl From<ModelSpec> for v1::ModelSpec {
    fn from(spec: ModelSpec) -> Self {
        let ModelSpec { path, dtype, init } = spec;
        Self { path: path.map(text), dtype: number_or_unspecified(dtype), init: number_or_unspecified(init) }
    }
}

impl TryFrom<v1::ModelSpec> for ModelSpec {
    type Error = WireError;

    fn try_from(spec: v1::ModelSpec) -> Result<Self, WireError> {
        const NAME: &str = "ModelSpec";
        let v1::ModelSpec { path, dtype, init } = spec;
        Ok(Self {
            path: path.map(PathBuf::from),
            dtype: ModelDtype::optional(NAME, "dtype", dtype)?,
            init: ModelInit::optional(NAME, "init", init)?,
        })
    }
}

impl From<QuantizationSpec> for v1::QuantizationSpec {
    fn from(spec: QuantizationSpec) -> Self {
        let QuantizationSpec { kind, double_quant } = spec;
        Self { kind: number_or_unspecified(kind), double_quant }
    }
}

impl TryFrom<v1::QuantizationSpec> for QuantizationSpec {
    type Error = WireError;

    fn try_from(spec: v1::QuantizationSpec) -> Result<Self, WireError> {
        let v1::QuantizationSpec { kind, double_quant } = spec;
        Ok(Self { kind: QuantizationKind::optional("QuantizationSpec", "kind", kind)?, double_quant })
    }
}
