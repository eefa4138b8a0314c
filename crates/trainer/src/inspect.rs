//! What a model or adapter directory holds, found out without loading a weight.

use std::collections::BTreeMap;
use std::path::Path;

use ftl_core::model::ModelFacts;
use ftl_core::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::adapter::peft::{ADAPTER_CONFIG_JSON, ADAPTER_MODEL_SAFETENSORS, AdapterConfig};
use crate::data::template::ChatTemplate;
use crate::data::tokenize::Tokenizer;
use crate::model::config::{DecoderConfig, Head, eos_token_ids_for_generation};
use crate::model::families::expected_tensors;
use crate::model::tensor_file::TensorFile;
use crate::model::weights::{MODEL_SAFETENSORS, MODEL_SAFETENSORS_INDEX, WeightFiles};

/// What a directory holds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inspected {
    /// A model.
    Model(Box<Model>),
    /// A PEFT adapter.
    Adapter(Adapter),
}

/// A model directory.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The entry of config.json's `architectures`.
    pub architecture: &'static str,
    /// Its family.
    pub model_type: &'static str,
    /// Weights, a tied head counted once.
    pub parameters: u64,
    /// What the files hold; `None`: there is only a config.json.
    pub weights: Option<Weights>,
    /// Longest sequence.
    pub context_tokens: u64,
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Blocks.
    pub n_layers: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// Width inside the MLP.
    pub intermediate_size: u64,
    /// Query heads.
    pub n_heads: u64,
    /// Key and value heads.
    pub n_kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Whether the embedding is the head, too.
    pub tied_embeddings: bool,
    /// What `adapter.target_modules` can name.
    pub lora_targets: Vec<&'static str>,
    /// `None`: there is none, so the model takes ids only.
    pub tokenizer: Option<TokenizerFacts>,
}

/// What weight files hold.
#[derive(Clone, Debug, Serialize)]
pub struct Weights {
    /// Files.
    pub n_files: u64,
    /// Bytes by stored type.
    pub bytes_by_dtype: BTreeMap<String, u64>,
    /// All of them.
    pub bytes: u64,
}

/// What belongs to the tokenizer.
#[derive(Clone, Debug, Serialize)]
pub struct TokenizerFacts {
    /// The highest id and one.
    pub vocab_size: u64,
    /// Special tokens by name.
    pub special_tokens: Map<String, Value>,
    /// Ids that end a generation.
    pub stop_ids: Vec<u32>,
    /// Where the chat template is; `None`: there is none.
    pub chat_template: Option<String>,
}

/// An adapter directory.
#[derive(Clone, Debug, Serialize)]
pub struct Adapter {
    /// Rank.
    pub r: u64,
    /// The update is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Names of the modules that it changes; `all-linear` where the file says so.
    pub target_modules: Vec<String>,
    /// The model it was made for, as whoever made it called it.
    pub base_model: Option<String>,
    /// Weights.
    pub parameters: u64,
    /// Bytes of its weights.
    pub bytes: u64,
}

/// Looks at the model or adapter in `dir`.
///
/// # Errors
/// Everything that is wrong with its files.
pub fn inspect(dir: &Path) -> Result<Inspected, Vec<Problem>> {
    if dir.join(ADAPTER_CONFIG_JSON).exists() {
        return Ok(Inspected::Adapter(adapter(dir)?));
    }
    Ok(Inspected::Model(Box::new(model(dir)?)))
}

/// The facts of the model in `dir`.
///
/// # Errors
/// Everything that is wrong with its files, and an adapter, which is no model.
pub fn model_facts(dir: &Path) -> Result<ModelFacts, Vec<Problem>> {
    match inspect(dir)? {
        Inspected::Model(model) => Ok(ModelFacts::from(*model)),
        Inspected::Adapter(Adapter { base_model, .. }) => {
            let made_for = base_model.map(|base| format!(" made for `{base}`")).unwrap_or_default();
            let message = format!("the directory holds a PEFT adapter{made_for}, not a model");
            Err(vec![
                Problem::new(ProblemKind::BrokenModel, message)
                    .at(dir.display().to_string())
                    .hint("name the model's directory, and the adapter beside it"),
            ])
        }
    }
}

impl From<Model> for ModelFacts {
    fn from(model: Model) -> Self {
        let Model {
            architecture,
            model_type,
            parameters,
            weights,
            context_tokens,
            vocab_size,
            n_layers,
            hidden_size,
            intermediate_size: _,
            n_heads: _,
            n_kv_heads: _,
            head_dim: _,
            tied_embeddings: _,
            lora_targets,
            tokenizer,
        } = model;
        Self {
            architecture: architecture.to_owned(),
            model_type: model_type.to_owned(),
            parameters,
            weight_bytes: weights.map(|weights| weights.bytes),
            context_tokens,
            vocab_size,
            n_layers,
            hidden_size,
            lora_targets: lora_targets.into_iter().map(str::to_owned).collect(),
            chat_template: tokenizer.and_then(|tokenizer| tokenizer.chat_template),
        }
    }
}

fn model(dir: &Path) -> Result<Model, Vec<Problem>> {
    let config = DecoderConfig::read(dir)?;
    let weights = weights(dir, &config)?;
    let tokenizer = match dir.join("tokenizer.json").exists() {
        true => Some(tokenizer(dir, &config).map_err(|problem| vec![problem])?),
        false => None,
    };
    let n_elements =
        expected_tensors(&config).into_iter().map(|tensor| tensor.shape().iter().product::<usize>() as u64);
    Ok(Model {
        architecture: config.family.architecture,
        model_type: config.family.model_type,
        parameters: n_elements.sum(),
        weights,
        context_tokens: config.max_positions as u64,
        vocab_size: config.vocab_size as u64,
        n_layers: config.n_layers as u64,
        hidden_size: config.hidden_size as u64,
        intermediate_size: config.intermediate_size as u64,
        n_heads: config.n_heads as u64,
        n_kv_heads: config.n_kv_heads as u64,
        head_dim: config.head_dim as u64,
        tied_embeddings: config.head == Head::Tied,
        lora_targets: config.family.linears.iter().map(|linear| linear.short_name()).collect(),
        tokenizer,
    })
}

fn weights(dir: &Path, config: &DecoderConfig) -> Result<Option<Weights>, Vec<Problem>> {
    let files = match WeightFiles::open(dir) {
        Ok(files) => files,
        Err(problem) => {
            let has_files =
                dir.join(MODEL_SAFETENSORS).exists() || dir.join(MODEL_SAFETENSORS_INDEX).exists();
            return if problem.kind == ProblemKind::NotFound && !has_files {
                Ok(None)
            } else {
                Err(vec![problem])
            };
        }
    };
    files.check(config)?;
    let mut bytes_by_dtype = BTreeMap::new();
    for (dtype, n_bytes) in files.names().filter_map(|name| files.stored(name)) {
        *bytes_by_dtype.entry(dtype).or_insert(0) += n_bytes;
    }
    Ok(Some(Weights {
        n_files: files.n_files() as u64,
        bytes: bytes_by_dtype.values().sum(),
        bytes_by_dtype,
    }))
}

fn tokenizer(dir: &Path, config: &DecoderConfig) -> Result<TokenizerFacts, Problem> {
    let tokenizer = Tokenizer::load(dir)?;
    let template = ChatTemplate::load(dir, None, tokenizer.special_tokens())?;
    let mut stop_ids = eos_token_ids_for_generation(dir, config)?;
    stop_ids.extend(tokenizer.stops());
    stop_ids.sort_unstable();
    stop_ids.dedup();
    Ok(TokenizerFacts {
        vocab_size: tokenizer.vocab_size() as u64,
        special_tokens: tokenizer.special_tokens().clone(),
        stop_ids,
        chat_template: template.map(|template| template.origin().to_owned()),
    })
}

fn adapter(dir: &Path) -> Result<Adapter, Vec<Problem>> {
    let AdapterConfig { r, lora_alpha, target_modules, base_model_name_or_path, .. } =
        AdapterConfig::read(dir)?;
    let path = dir.join(ADAPTER_MODEL_SAFETENSORS);
    let file = TensorFile::open(&path, ProblemKind::BrokenAdapter).map_err(|problem| vec![problem])?;
    let shapes = file.names().filter_map(|name| file.shape(name));
    let bytes = file.names().filter_map(|name| file.stored(name)).map(|(_, n_bytes)| n_bytes).sum();
    Ok(Adapter {
        r: r as u64,
        lora_alpha,
        target_modules: target_modules.shown(),
        base_model: base_model_name_or_path,
        parameters: shapes.map(|shape| shape.iter().product::<usize>() as u64).sum(),
        bytes,
    })
}
