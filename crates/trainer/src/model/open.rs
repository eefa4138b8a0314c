//! Opens a model directory: config, files checked against it, then weights.

use std::path::Path;

use ftl_core::spec::resolved::Quantization;
use ftl_core::{Problem, ProblemKind};

use crate::device::OpenDevice;
use crate::model::build::{Source, build_quantized, build_to_train};
use crate::model::config::DecoderConfig;
use crate::model::decoder::Decoder;
use crate::model::weights::WeightFiles;

/// Where the weights come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The directory's files.
    Pretrained,
    /// Random numbers; the directory needs only a config.json.
    Random {
        /// Where they come from.
        seed: u64,
    },
    /// The directory's files, or numbers to measure speed with when it has none.
    PretrainedOrRough {
        /// Where they come from.
        seed: u64,
    },
}

/// Reads the decoder of a model directory.
///
/// # Errors
/// What is wrong with the directory, all at once; nothing is loaded before it was checked.
pub fn open_decoder(dir: &Path, start: Start, device: &OpenDevice) -> Result<Decoder, Vec<Problem>> {
    open_quantized(dir, start, Quantization::None, device)
}

/// As [`open_decoder`]; the linears of the blocks are quantized while they are read, if wanted. Those that the files
/// hold in 4 bits stay as they are.
///
/// # Errors
/// As [`open_decoder`].
pub fn open_quantized(
    dir: &Path,
    start: Start,
    quantization: Quantization,
    device: &OpenDevice,
) -> Result<Decoder, Vec<Problem>> {
    open(dir, start, device, |config, source| build_quantized(config, source, quantization, device))
}

/// As [`open_decoder`], for all weights to be trained ([`build_to_train`]).
///
/// # Errors
/// As [`open_decoder`].
pub fn open_to_train(dir: &Path, start: Start, device: &OpenDevice) -> Result<Decoder, Vec<Problem>> {
    open(dir, start, device, |config, source| build_to_train(config, source, device))
}

/// Weights live as long as the model: on a GPU each takes memory of its own, of exactly its size, beside the pools of what
/// comes and goes in a step.
fn open(
    dir: &Path,
    start: Start,
    device: &OpenDevice,
    build: impl Fn(&DecoderConfig, &Source<'_>) -> Decoder + Sync,
) -> Result<Decoder, Vec<Problem>> {
    let config = DecoderConfig::read(dir)?;
    let to_stay =
        |source: &Source<'_>| device.device.memory_persistent_allocations((), |()| build(&config, source));
    match start {
        Start::Random { seed } => return Ok(to_stay(&Source::Random { seed })),
        Start::PretrainedOrRough { seed } if !has_weights(dir) => {
            return Ok(to_stay(&Source::Rough { seed }));
        }
        Start::Pretrained | Start::PretrainedOrRough { .. } => {}
    }
    let files = WeightFiles::open(dir).map_err(|problem| vec![problem])?;
    files.check(&config)?;
    Ok(to_stay(&Source::Files(&files)))
}

fn has_weights(dir: &Path) -> bool {
    let weights = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        name.contains(".safetensors") || name.ends_with(".bin")
    };
    std::fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|entry| weights(&entry.file_name())))
}

impl Decoder {
    /// Refuses sequences beyond the model's context.
    ///
    /// # Errors
    /// A problem that names the limit.
    pub fn check_length(&self, n_tokens: usize) -> Result<(), Problem> {
        let limit = self.config.max_positions;
        if n_tokens <= limit {
            return Ok(());
        }
        let message = format!("a sequence of {n_tokens} tokens exceeds the model's context of {limit}");
        Err(Problem::new(ProblemKind::InvalidValue, message)
            .hint("shorten it, or choose a model with more context"))
    }
}
