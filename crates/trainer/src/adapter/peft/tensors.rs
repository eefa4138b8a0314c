//! `adapter_model.safetensors`: A `[r, inputs]` and B `[outputs, r]` for each target.

use std::borrow::Cow;
use std::path::Path;

use ftl_core::{Problem, ProblemKind};

use crate::adapter::peft::{
    ADAPTER_CONFIG_JSON, ADAPTER_MODEL_SAFETENSORS, AdapterConfig, Target, resolve_targets,
};
use crate::error::TrainError;
use crate::model::config::DecoderConfig;
use crate::model::tensor_file::{TensorFile, TensorSpec, write_f32};

/// PyTorch's pickle, which can run code when loaded.
const ADAPTER_MODEL_BIN: &str = "adapter_model.bin";

/// What PEFT puts before a module's name: its own wrapper and the tuner's.
const PREFIX: &str = "base_model.model.";

/// The open, checked weights of an adapter directory.
#[derive(Debug)]
pub struct AdapterWeights {
    targets: Vec<Target>,
    tensors: Vec<TensorSpec>,
    file: TensorFile,
}

impl AdapterWeights {
    /// Opens the weights and compares them with both configs: every tensor there, with its shape, and no other.
    ///
    /// # Errors
    /// Every problem: `NotFound`, `BrokenAdapter` where the files contradict each other or do not fit the model,
    /// `NotAvailable` for targets that can't have an adapter here.
    pub fn open(dir: &Path, config: &AdapterConfig, model: &DecoderConfig) -> Result<Self, Vec<Problem>> {
        let config_path = dir.join(ADAPTER_CONFIG_JSON).display().to_string();
        let targets = resolve_targets(model, &config.target_modules).map_err(|problems| {
            let broken = |problem: Problem| match problem.kind {
                ProblemKind::InvalidValue => Problem { kind: ProblemKind::BrokenAdapter, ..problem },
                _ => problem,
            };
            problems
                .into_iter()
                .map(|problem| broken(problem).at(format!("{config_path}: target_modules")))
                .collect::<Vec<_>>()
        })?;
        let path = dir.join(ADAPTER_MODEL_SAFETENSORS);
        if !path.exists() && dir.join(ADAPTER_MODEL_BIN).exists() {
            let message =
                format!("has its weights only as `{ADAPTER_MODEL_BIN}`, a pickle, which is never read");
            return Err(vec![
                Problem::new(ProblemKind::BrokenAdapter, message)
                    .at(dir.display().to_string())
                    .hint("convert it: load it with PEFT and call `save_pretrained`"),
            ]);
        }
        let file = TensorFile::open(&path, ProblemKind::BrokenAdapter).map_err(|problem| vec![problem])?;
        let tensors = specs(config, model, &targets);
        file.expect(&tensors)?;
        Ok(Self { targets, tensors, file })
    }

    /// The linears that have an adapter, block by block.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Every tensor, in the order of [`targets`](Self::targets), A before B.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Reads a tensor stored as f32, bf16 or f16.
    ///
    /// # Panics
    /// If it is none of [`tensors`](Self::tensors), or `out` has not the shape's length.
    pub fn read_f32_into(&self, name: &str, out: &mut [f32]) {
        self.file.read_f32_into(name, out);
    }

    /// Reads a tensor into a new vector.
    ///
    /// # Panics
    /// If it is none of [`tensors`](Self::tensors).
    pub fn read_f32(&self, name: &str) -> Vec<f32> {
        self.file.read_f32(name)
    }
}

/// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, which exists. `numbers` is asked for each
/// tensor once, by PEFT's name: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
///
/// # Errors
/// [`TrainError::Refused`] if the config's targets do not fit the model, [`TrainError::File`] if the operating system
/// refuses, and whatever `numbers` returns.
pub fn write_adapter<'a>(
    dir: &Path,
    config: &AdapterConfig,
    model: &DecoderConfig,
    numbers: impl FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>, TrainError>,
) -> Result<(), TrainError> {
    let targets = resolve_targets(model, &config.target_modules)?;
    config.write(dir, model)?;
    write_f32(&dir.join(ADAPTER_MODEL_SAFETENSORS), &specs(config, model, &targets), numbers)
}

fn specs(config: &AdapterConfig, model: &DecoderConfig, targets: &[Target]) -> Vec<TensorSpec> {
    targets.iter().flat_map(|target| factor_specs(*target, config.r, model)).collect()
}

/// The two tensors of a target: A `[r, inputs]` and B `[outputs, r]`.
pub fn factor_specs(target: Target, r: usize, model: &DecoderConfig) -> [TensorSpec; 2] {
    let module = target.name();
    let spec = |factor, shape| TensorSpec { name: format!("{PREFIX}{module}.{factor}.weight"), shape };
    [
        spec("lora_A", vec![r, target.linear.inputs(model)]),
        spec("lora_B", vec![target.linear.outputs(model), r]),
    ]
}
