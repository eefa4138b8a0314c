//! `--model`, `--adapter` and in which numbers, the same on every command that computes with a trained model.

use std::path::PathBuf;

use ftl_core::Problem;
use ftl_trainer::adapter::open::{adapted_config, attach_directory, open_encoder};
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::error::TrainError;
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::decoder::Decoder;
use ftl_trainer::model::open::{Start, open_quantized};

use crate::output::DeviceArg;
use crate::precision::PrecisionArgs;

/// Which model, and where it computes.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// A model directory.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// A PEFT adapter directory.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    device: DeviceArg,
}

impl ModelArgs {
    /// Loads the model with its adapter.
    pub fn open(&self) -> Result<Decoder, TrainError> {
        let open = self.device.open(self.precision.dtype())?;
        let mut decoder =
            open_quantized(&self.model, Start::Pretrained, self.precision.quantization(), &open)?;
        if let Some(dir) = &self.adapter {
            attach_directory(&mut decoder, dir)?;
        }
        Ok(decoder)
    }

    /// Reads the model's config, with the adapter's rows for added tokens.
    pub fn config(&self) -> Result<DecoderConfig, Vec<Problem>> {
        let config = DecoderConfig::read(&self.model)?;
        match &self.adapter {
            Some(dir) => adapted_config(config, dir),
            None => Ok(config),
        }
    }

    /// Loads the tokenizer, and the chat template that the adapter was trained with, or the model's own.
    pub fn encoder(&self) -> Result<Encoder, Problem> {
        open_encoder(&self.model, self.adapter.as_deref())
    }
}
