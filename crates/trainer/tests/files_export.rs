//! Whole models as Hugging Face directories.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod files_support;

use std::borrow::Cow;
use std::fs;

use files_support::{data, fixture, read_json};
use ftl_trainer::error::TrainError;
use ftl_trainer::export::directory::{copy_companions, write_model, write_weights};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::families::expected_tensors;
use ftl_trainer::model::tensor_file::TensorSpec;
use ftl_trainer::model::weights::WeightFiles;
use serde_json::json;
use tempfile::TempDir;

/// One of each family, and both ways to store a model.
const MODELS: [&str; 12] = [
    "llama_bias_linear",
    "llama_tied_sharded",
    "mistral_bf16",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "smollm3",
    "olmo2",
    "qwen2_yarn",
];

#[test]
fn written_model_is_the_one_that_was_read() {
    let mut bases = vec![data("models/stories260K"), data("models/stories260K-bf16")];
    bases.extend(MODELS.map(|name| fixture(&format!("models/{name}"))));
    for base in bases.into_iter().flatten() {
        let (config, files) = (DecoderConfig::read(&base).unwrap(), WeightFiles::open(&base).unwrap());
        let dir = TempDir::new().unwrap();
        write_model(dir.path(), &config, |spec| Ok(Cow::Owned(files.read_f32(&spec.name)))).unwrap();
        copy_companions(&base, dir.path()).unwrap();

        let (config_again, files_again) =
            (DecoderConfig::read(dir.path()).unwrap(), WeightFiles::open(dir.path()).unwrap());
        files_again.check(&config_again).unwrap();
        for tensor in expected_tensors(&config) {
            assert_eq!(files_again.read_f32(&tensor.name), files.read_f32(&tensor.name), "{}", tensor.name);
        }
        let mut expected = config.raw.clone();
        let dtype_key = if expected.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        expected.insert(dtype_key.to_owned(), json!("float32"));
        assert_eq!(config_again.raw, expected);
        for name in
            ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"]
        {
            assert_eq!(fs::read(dir.path().join(name)).ok(), fs::read(base.join(name)).ok(), "{name}");
        }
        assert!(!fs::metadata(dir.path().join("tokenizer.json")).unwrap().permissions().readonly());
        assert!(!dir.path().join("GOLDEN.json").exists() && !dir.path().join("golden.json").exists());
    }
}

#[test]
fn large_models_go_into_shards_with_an_index() {
    let Some(base) = data("models/stories260K") else { return };
    let (config, files) = (DecoderConfig::read(&base).unwrap(), WeightFiles::open(&base).unwrap());
    let tensors: Vec<TensorSpec> = expected_tensors(&config)
        .into_iter()
        .map(|tensor| TensorSpec { shape: tensor.shape(), name: tensor.name })
        .collect();
    let dir = TempDir::new().unwrap();
    const MAX: u64 = 300_000;
    write_weights(dir.path(), &tensors, MAX, |spec| Ok(Cow::Owned(files.read_f32(&spec.name)))).unwrap();

    let index = read_json(&dir.path().join("model.safetensors.index.json"));
    assert_eq!(index["metadata"]["total_size"], 260_032 * 4);
    assert_eq!(index["weight_map"].as_object().unwrap().len(), tensors.len());
    let shards: Vec<_> = (1..=4).map(|shard| format!("model-{shard:05}-of-00004.safetensors")).collect();
    for shard in &shards {
        let n_bytes = fs::metadata(dir.path().join(shard)).unwrap().len();
        assert!(n_bytes < MAX + 10_000, "{shard} has {n_bytes} bytes");
    }
    let again = WeightFiles::open(dir.path()).unwrap();
    again.check(&config).unwrap();
    for tensor in &tensors {
        assert_eq!(again.read_f32(&tensor.name), files.read_f32(&tensor.name));
    }

    // A tensor larger than a shard has one of its own.
    let dir = TempDir::new().unwrap();
    write_weights(dir.path(), &tensors, 1, |spec| Ok(Cow::Owned(files.read_f32(&spec.name)))).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), tensors.len() + 1);
    WeightFiles::open(dir.path()).unwrap().check(&config).unwrap();
}

#[test]
fn failing_source_of_numbers_ends_the_export() {
    let Some(base) = data("models/stories260K") else { return };
    let config = DecoderConfig::read(&base).unwrap();
    let dir = TempDir::new().unwrap();
    let error = write_model(dir.path(), &config, |spec| {
        Err(TrainError::file("read", spec.name.as_ref())(std::io::ErrorKind::Other.into()))
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "can't read `model.embed_tokens.weight`");
}
