//! From an adapter directory to a decoder that has the adapter.

use std::path::Path;

use ftl_core::Problem;

use crate::adapter::lora::{self, LoraSource};
use crate::adapter::peft::{AdapterConfig, AdapterWeights};
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
