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

/// One of the two matrices of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Factor {
    /// From the inputs to the rank, `[r, inputs]`.
    A,
    /// From the rank to the outputs, `[outputs, r]`.
    B,
}

/// The open, checked weights of an adapter directory.
#[derive(Debug)]
pub struct AdapterWeights {
    targets: Vec<Target>,
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
        file.expect(&specs(config, model, &targets).collect::<Vec<_>>())?;
        Ok(Self { targets, file })
    }

    /// The linears that have an adapter, block by block.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Reads one matrix, row by row.
    ///
    /// # Panics
    /// If `target` is none of [`targets`](Self::targets).
    pub fn read_f32(&self, target: Target, factor: Factor) -> Vec<f32> {
        self.file.read_f32(&tensor_name(target, factor))
    }
}

/// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`, which exists. `numbers` is asked for each
/// matrix once, row by row.
///
/// # Errors
/// [`TrainError::Refused`] if the config's targets do not fit the model, [`TrainError::File`] if the operating system
/// refuses, and whatever `numbers` returns.
pub fn write_adapter<'a>(
    dir: &Path,
    config: &AdapterConfig,
    model: &DecoderConfig,
    mut numbers: impl FnMut(Target, Factor) -> Result<Cow<'a, [f32]>, TrainError>,
) -> Result<(), TrainError> {
    let targets = resolve_targets(model, &config.target_modules)?;
    config.write(dir, model)?;
    let specs: Vec<_> = specs(config, model, &targets).collect();
    let mut matrices = matrices(&targets);
    write_f32(&dir.join(ADAPTER_MODEL_SAFETENSORS), &specs, |_| {
        let (target, factor) = matrices.next().expect("one matrix for each spec, in the same order");
        numbers(target, factor)
    })
}

fn specs(
    config: &AdapterConfig,
    model: &DecoderConfig,
    targets: &[Target],
) -> impl Iterator<Item = TensorSpec> {
    matrices(targets).map(|(target, factor)| TensorSpec {
        name: tensor_name(target, factor),
        shape: match factor {
            Factor::A => vec![config.r, target.linear.inputs(model)],
            Factor::B => vec![target.linear.outputs(model), config.r],
        },
    })
}

fn matrices(targets: &[Target]) -> impl Iterator<Item = (Target, Factor)> {
    targets.iter().flat_map(|target| [(*target, Factor::A), (*target, Factor::B)])
}

fn tensor_name(target: Target, factor: Factor) -> String {
    let factor = match factor {
        Factor::A => "lora_A",
        Factor::B => "lora_B",
    };
    format!("{PREFIX}{}.{factor}.weight", target.name())
}
