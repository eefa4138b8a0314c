//! Models and what is in them.

use std::path::PathBuf;

use ftl_core::model::{Model, ModelFacts, ModelSource};

use super::error::id;
use super::time::{timestamp, unix_ms};
use super::{WireError, required, text, v1};
use v1::model::Source;

impl From<Model> for v1::Model {
    fn from(model: Model) -> Self {
        let Model { name, path, source } = model;
        let source = match source {
            ModelSource::Imported { id, facts, created_unix_ms } => Source::Imported(v1::ImportedModel {
                id: id.into(),
                facts: Some(facts.into()),
                create_time: Some(timestamp(created_unix_ms)),
            }),
            ModelSource::HuggingFaceCache { revision } => {
                Source::HuggingFaceCache(v1::CachedModel { revision })
            }
        };
        Self { name, path: text(path), source: Some(source) }
    }
}

impl TryFrom<v1::Model> for Model {
    type Error = WireError;

    fn try_from(model: v1::Model) -> Result<Self, WireError> {
        const NAME: &str = "Model";
        let v1::Model { name, path, source } = model;
        let source = match source {
            Some(Source::Imported(imported)) => {
                imported_source(imported).map_err(|error| error.inside(NAME, "imported"))?
            }
            Some(Source::HuggingFaceCache(v1::CachedModel { revision })) => {
                ModelSource::HuggingFaceCache { revision }
            }
            None => {
                return Err(WireError::new(
                    NAME,
                    "source",
                    "must be given, `imported` or `hugging_face_cache`",
                ));
            }
        };
        Ok(Self { name, path: PathBuf::from(path), source })
    }
}

fn imported_source(model: v1::ImportedModel) -> Result<ModelSource, WireError> {
    const NAME: &str = "ImportedModel";
    let v1::ImportedModel { id: text, facts, create_time } = model;
    Ok(ModelSource::Imported {
        id: id(NAME, "id", text)?,
        facts: required(NAME, "facts", facts)?,
        created_unix_ms: unix_ms(NAME, "create_time", create_time)?,
    })
}

impl From<ModelFacts> for v1::ModelFacts {
    fn from(facts: ModelFacts) -> Self {
        let ModelFacts {
            architecture,
            model_type,
            parameters,
            weight_bytes,
            context_tokens,
            vocab_size,
            n_layers,
            hidden_size,
            lora_targets,
            chat_template,
        } = facts;
        Self {
            architecture,
            model_type,
            parameter_count: parameters,
            weight_bytes,
            context_tokens,
            vocab_size,
            layer_count: n_layers,
            hidden_size,
            lora_targets,
            chat_template,
        }
    }
}

impl From<v1::ModelFacts> for ModelFacts {
    fn from(facts: v1::ModelFacts) -> Self {
        let v1::ModelFacts {
            architecture,
            model_type,
            parameter_count,
            weight_bytes,
            context_tokens,
            vocab_size,
            layer_count,
            hidden_size,
            lora_targets,
            chat_template,
        } = facts;
        Self {
            architecture,
            model_type,
            parameters: parameter_count,
            weight_bytes,
            context_tokens,
            vocab_size,
            n_layers: layer_count,
            hidden_size,
            lora_targets,
            chat_template,
        }
    }
}
