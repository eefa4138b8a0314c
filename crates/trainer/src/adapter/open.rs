//! From an adapter directory to a decoder that has the adapter, and to the way from text to its tokens.

use std::path::Path;

use ftl_core::Problem;

use crate::adapter::lora::{self, LoraSource};
use crate::adapter::peft::{AdapterConfig, AdapterWeights};
use crate::checkpoint::layout::CHAT_TEMPLATE_JINJA;
use crate::data::encode::Encoder;
use crate::model::config::DecoderConfig;
use crate::model::decoder::Decoder;

/// Reads the PEFT adapter in `dir` and attaches it.
///
/// # Errors
/// What is wrong with the directory, or why it does not fit the model; the decoder is unchanged then.
pub fn attach_directory(decoder: &mut Decoder, dir: &Path) -> Result<(), Vec<Problem>> {
    let config = AdapterConfig::read(dir)?;
    let weights = AdapterWeights::open(dir, &config, &decoder.config)?;
    lora::attach(decoder, &config, LoraSource::Files(&weights))
}

/// The model's config as it is with the adapter in `dir`, which may have rows for added tokens.
///
/// # Errors
/// What is wrong with the directory, or why it does not fit the model.
pub fn adapted_config(config: DecoderConfig, dir: &Path) -> Result<DecoderConfig, Vec<Problem>> {
    let adapter = AdapterConfig::read(dir)?;
    let vocab_size = AdapterWeights::open(dir, &adapter, &config)?.vocab_size();
    Ok(DecoderConfig { vocab_size, ..config })
}

/// Reads the tokenizer of `model`, and the chat template that `adapter` was trained with, or the model's own.
///
/// # Errors
/// What [`Encoder::load`] says.
pub fn open_encoder(model: &Path, adapter: Option<&Path>) -> Result<Encoder, Problem> {
    let of_adapter = adapter.map(|dir| dir.join(CHAT_TEMPLATE_JINJA));
    Encoder::load(model, of_adapter.as_deref().filter(|path| path.exists()))
}
