//! `adapter_model.safetensors`: the factors of each target, magnitudes, and the modules that are kept in full.

use std::borrow::Cow;
use std::path::Path;

use ftl_core::{Problem, ProblemKind};

use crate::adapter::peft::target::module_of;
use crate::adapter::peft::{
    ADAPTER_CONFIG_JSON, ADAPTER_MODEL_SAFETENSORS, AdapterConfig, KeptTensor, Layout, Named, PREFIX,
};
use crate::error::TrainError;
use crate::model::config::{DecoderConfig, Head};
use crate::model::families::{EMBED_TOKENS, LM_HEAD};
use crate::model::tensor_file::{TensorFile, TensorSpec, write_f32};

/// PyTorch's pickle, which can run code when loaded.
const ADAPTER_MODEL_BIN: &str = "adapter_model.bin";

/// The open, checked weights of an adapter directory.
#[derive(Debug)]
pub struct AdapterWeights {
    config: AdapterConfig,
    layout: Layout,
    vocab_size: usize,
    tensors: Vec<TensorSpec>,
    file: TensorFile,
}

/// The modules whose own weight may stand in the file.
const ENDS: [&str; 2] = [EMBED_TOKENS, LM_HEAD];
/// What PEFT puts between such a module and `weight`: where it is a target, where it is saved (the original, and the
/// copy once more), and nothing where it was resized.
const BETWEEN: [&str; 4] = [".base_layer", ".original_module", ".modules_to_save", ""];

impl AdapterWeights {
    /// Opens the weights and compares them with both configs: every tensor there, with its shape, and no other.
    ///
    /// # Errors
    /// Every problem: `NotFound`, `BrokenAdapter` where the files contradict each other or do not fit the model,
    /// `NotAvailable` for targets that can't have an adapter here.
    pub fn open(dir: &Path, config: &AdapterConfig, model: &DecoderConfig) -> Result<Self, Vec<Problem>> {
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
        let vocab_size =
            n_rows(&file).filter(|n_rows| *n_rows > model.vocab_size).unwrap_or(model.vocab_size);
        let model = DecoderConfig { vocab_size, ..model.clone() };
        let config_path = dir.join(ADAPTER_CONFIG_JSON).display().to_string();
        let mut layout = Layout::of(config, &model, Named::InFile).map_err(|problems| {
            let placed = |problem: Problem| {
                let kind = match problem.kind {
                    ProblemKind::InvalidValue => ProblemKind::BrokenAdapter,
                    other => other,
                };
                let field = problem.field.clone().unwrap_or_default();
                Problem { kind, ..problem }.at(format!("{config_path}: {field}"))
            };
            problems.into_iter().map(placed).collect::<Vec<_>>()
        })?;
        layout.kept = kept(&file, &layout, &model);
        let tensors = layout.tensors(&model);
        let of_no_use = |name: &str| is_own_weight(name) && !tensors.iter().any(|tensor| tensor.name == name);
        file.expect_with(&tensors, of_no_use)?;
        let config = AdapterConfig { kept: layout.kept.clone(), ..config.clone() };
        Ok(Self { config, layout, vocab_size, tensors, file })
    }

    /// The config, with what only the weights' file tells.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// What the config comes to on the model.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Rows of the embedding that the adapter belongs to: as the model's, or more where it keeps an embedding or a
    /// head of its own with added tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Every tensor, in the order of [`layout`](Self::layout).
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
    let layout = Layout::of(config, model, Named::InFile)?;
    config.write(dir, model)?;
    write_f32(&dir.join(ADAPTER_MODEL_SAFETENSORS), &layout.tensors(model), numbers)
}

/// Rows of the embedding or the head that the file has, whichever are more.
fn n_rows(file: &TensorFile) -> Option<usize> {
    let names = ENDS.iter().flat_map(|tensor| BETWEEN.map(|between| in_file(tensor, between)));
    names.filter_map(|name| file.shape(&name)?.first().copied()).max()
}

/// The model's own weights that the file has and that are used.
fn kept(file: &TensorFile, layout: &Layout, model: &DecoderConfig) -> Vec<KeptTensor> {
    let is_saved = |tensor: &str| layout.saved.iter().any(|module| module.tensor == tensor);
    let is_target = |module: &str| layout.low_rank.iter().any(|part| part.target.name() == module);
    let kept = |tensor: &str| {
        // Where the head is tied, its weight is the embedding's, unless that is a copy.
        let is_embedding = tensor == LM_HEAD && model.head == Head::Tied && !is_saved(EMBED_TOKENS);
        if is_saved(tensor) || is_embedding {
            return None;
        }
        let between = if is_target(module_of(tensor)) { ".base_layer" } else { "" };
        let in_file = in_file(tensor, between);
        let shape = vec![model.vocab_size, model.hidden_size];
        file.shape(&in_file).map(|_| KeptTensor {
            tensor: tensor.to_owned(),
            in_file: in_file.clone(),
            shape,
        })
    };
    ENDS.iter().filter_map(|tensor| kept(tensor)).collect()
}

fn is_own_weight(name: &str) -> bool {
    ENDS.iter().any(|tensor| BETWEEN.iter().any(|between| in_file(tensor, between) == name))
}

/// A weight's name in the file: `lm_head.weight` with `.base_layer` is `base_model.model.lm_head.base_layer.weight`.
fn in_file(tensor: &str, between: &str) -> String {
    format!("{PREFIX}{}{between}.weight", module_of(tensor))
}
