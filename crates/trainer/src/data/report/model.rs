//! A model's side of a report, opened without its weights.

use std::path::Path;

use ftl_core::spec::resolved::{Adapter, Data};
use ftl_core::{CheckedSpec, Problem};

use crate::data::encode::Encoder;
use crate::data::pass::Model;
use crate::model::config::DecoderConfig;
use crate::train::preflight::{Weights, adapter_shape, keeps_vocabulary, max_length};

/// What is needed of a model to make tokens of rows.
#[derive(Debug)]
pub struct ModelFiles {
    encoder: Encoder,
    max_length: usize,
    vocab_size: usize,
}

impl ModelFiles {
    /// Of a job: what the run would use.
    ///
    /// # Errors
    /// What is wrong with the model's files, the adapter's, or `data.max_length`.
    pub fn of_job(spec: &CheckedSpec) -> Result<Self, Vec<Problem>> {
        let encoder = Encoder::load(&spec.model.path, spec.data.chat_template.as_deref())
            .map_err(|problem| vec![problem])?;
        let config = DecoderConfig::read(&spec.model.path)?;
        let adds_tokens = match &spec.adapter {
            Adapter::None => true,
            Adapter::Lora(asked) => {
                let (shape, _) = adapter_shape(asked, &Weights::Spec, &spec.model.path)?;
                keeps_vocabulary(&shape, &config)?
            }
        };
        let n_added = if adds_tokens { encoder.tokenizer.vocab_size() } else { 0 };
        let max_length = max_length(spec, config.max_positions).map_err(|problem| vec![problem])?;
        Ok(Self { encoder, max_length, vocab_size: config.vocab_size.max(n_added) })
    }

    /// Of a directory that needs to hold no more than the tokenizer's files. `spec` is a job over it of which only the
    /// data count.
    ///
    /// # Errors
    /// What is wrong with the tokenizer, the template, or `data.max_length`.
    pub fn of_directory(dir: &Path, spec: &CheckedSpec) -> Result<Self, Vec<Problem>> {
        let encoder =
            Encoder::load(dir, spec.data.chat_template.as_deref()).map_err(|problem| vec![problem])?;
        // The tokens of a model that can't be trained can be counted all the same.
        let config = DecoderConfig::read(dir).ok();
        let context = config.as_ref().map_or(usize::MAX, |config| config.max_positions);
        let max_length = max_length(spec, context).map_err(|problem| vec![problem])?;
        let n_ids = encoder.tokenizer.vocab_size();
        Ok(Self {
            vocab_size: config.map_or(n_ids, |config| config.vocab_size.max(n_ids)),
            encoder,
            max_length,
        })
    }

    /// What the pass takes.
    pub fn side(&self, data: &Data) -> Model<'_> {
        Model {
            encoder: &self.encoder,
            max_length: self.max_length,
            strategy: data.excess_length_strategy,
            loss_on: data.loss_on,
            vocab_size: self.vocab_size,
        }
    }
}
