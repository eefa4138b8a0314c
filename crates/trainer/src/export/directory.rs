//! A whole model as a Hugging Face directory: `config.json`, weights as f32, and the files of the base model that go
//! with them. Knows names and numbers; where they come from is the caller's business.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::layout::CHAT_TEMPLATE_JINJA;
use crate::error::TrainError;
use crate::model::config::{CONFIG_JSON, DecoderConfig};
use crate::model::families::expected_tensors;
use crate::model::json_file;
use crate::model::tensor_file::{TensorSpec, write_f32};
use crate::model::weights::{MODEL_SAFETENSORS, MODEL_SAFETENSORS_INDEX};

/// Weights beyond this go into several files: transformers' `max_shard_size` of 5GB.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// What a tokenizer and a chat template are made of, and what generation starts from; copied where they are there.
const COMPANIONS: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    CHAT_TEMPLATE_JINJA,
    "generation_config.json",
];

/// Writes `config.json` and the weights as f32 into `dir`, which exists. `numbers` is asked for each tensor of the
/// model once, in the order of the file, so that the model need not be in memory twice.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses, and whatever `numbers` returns.
pub fn write_model<'a>(
    dir: &Path,
    config: &DecoderConfig,
    numbers: impl FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>, TrainError>,
) -> Result<(), TrainError> {
    json_file::write(&dir.join(CONFIG_JSON), &config_f32(&config.raw))?;
    let tensors: Vec<TensorSpec> = expected_tensors(config)
        .into_iter()
        .map(|tensor| TensorSpec { shape: tensor.shape(), name: tensor.name })
        .collect();
    write_weights(dir, &tensors, MAX_SHARD_BYTES, numbers)
}

/// Writes `model.safetensors`, or shards of at most `max_shard_bytes` (a larger tensor has its own) and their index.
///
/// # Errors
/// As [`write_model`].
pub fn write_weights<'a>(
    dir: &Path,
    tensors: &[TensorSpec],
    max_shard_bytes: u64,
    mut numbers: impl FnMut(&TensorSpec) -> Result<Cow<'a, [f32]>, TrainError>,
) -> Result<(), TrainError> {
    let shards = shards(tensors, max_shard_bytes);
    if let [only] = shards.as_slice() {
        return write_f32(&dir.join(MODEL_SAFETENSORS), only, numbers);
    }
    let mut weight_map = Map::new();
    for (shard_index, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", shard_index + 1, shards.len());
        write_f32(&dir.join(&name), shard, &mut numbers)?;
        weight_map.extend(shard.iter().map(|tensor| (tensor.name.clone(), Value::from(name.as_str()))));
    }
    let total_size: u64 = tensors.iter().map(TensorSpec::n_bytes).sum();
    let index = json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
    json_file::write(&dir.join(MODEL_SAFETENSORS_INDEX), &index)
}

/// Copies the tokenizer, the chat template and the generation settings that `base` has into `dir`.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn copy_companions(base: &Path, dir: &Path) -> Result<(), TrainError> {
    for name in COMPANIONS {
        let from = base.join(name);
        let mut source = match File::open(&from) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(TrainError::file("open", &from)(error)),
        };
        // Not `fs::copy`: a read-only base would make a read-only result.
        let to = dir.join(name);
        let mut target = File::create(&to).map_err(TrainError::file("create", &to))?;
        io::copy(&mut source, &mut target).map_err(TrainError::file("write", &to))?;
    }
    copy_named_templates(base, dir)
}

/// transformers keeps templates beside the default one in a folder.
fn copy_named_templates(base: &Path, dir: &Path) -> Result<(), TrainError> {
    const FOLDER: &str = "additional_chat_templates";
    let (from, to) = (base.join(FOLDER), dir.join(FOLDER));
    if !from.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(&to).map_err(TrainError::file("create", &to))?;
    for entry in fs::read_dir(&from).map_err(TrainError::file("list", &from))? {
        let entry = entry.map_err(TrainError::file("list", &from))?;
        let template = fs::read(entry.path()).map_err(TrainError::file("read", &entry.path()))?;
        let copy = to.join(entry.file_name());
        fs::write(&copy, template).map_err(TrainError::file("write", &copy))?;
    }
    Ok(())
}

/// The base's config.json with the type that is written now, under the keys that it uses.
fn config_f32(raw: &Map<String, Value>) -> Map<String, Value> {
    const NEW: &str = "dtype";
    const OLD: &str = "torch_dtype";
    let mut config = raw.clone();
    // What is written is dense, whatever it was made from.
    config.remove("quantization_config");
    // Both generations of transformers read the old key.
    let n_known = [NEW, OLD].iter().filter(|key| config.contains_key(**key)).count();
    for key in [NEW, OLD] {
        if config.contains_key(key) || (n_known == 0 && key == OLD) {
            config.insert(key.to_owned(), "float32".into());
        }
    }
    config
}

/// Consecutive tensors that go into one file each.
fn shards(tensors: &[TensorSpec], max_shard_bytes: u64) -> Vec<&[TensorSpec]> {
    let mut shards = Vec::new();
    let (mut start, mut n_bytes) = (0, 0);
    for (index, tensor) in tensors.iter().enumerate() {
        if index > start && n_bytes + tensor.n_bytes() > max_shard_bytes {
            shards.push(&tensors[start..index]);
            (start, n_bytes) = (index, 0);
        }
        n_bytes += tensor.n_bytes();
    }
    shards.push(&tensors[start..]);
    shards
}
