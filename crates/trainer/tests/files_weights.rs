//! Weight files: equal values whatever they are stored as, and every damage refused before a number is read.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod files_support;

use std::fs;
use std::path::Path;

use files_support::{copy_of, data, fixture, read_json, safetensors, set_key, text};
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::families::expected_tensors;
use ftl_trainer::model::weights::WeightFiles;
use serde_json::{Value, json};
use tempfile::TempDir;

fn open(dir: &Path) -> Result<(DecoderConfig, WeightFiles), Vec<Problem>> {
    let config = DecoderConfig::read(dir)?;
    let files = WeightFiles::open(dir).map_err(|problem| vec![problem])?;
    files.check(&config)?;
    Ok((config, files))
}

fn refusal(dir: &Path) -> String {
    text(&open(dir).map(|_| ()).unwrap_err())
}

#[test]
fn stored_types_and_shards_give_the_same_values_up_to_their_rounding() {
    let Some(models) = data("models") else { return };
    let (config, exact) = open(&models.join("stories260K")).unwrap();
    // Half a unit in the last place: 8 bits of significand for bf16, 11 for f16 (and 2^-25 where it is subnormal).
    let cases = [
        ("stories260K-bf16", 2f32.powi(-9), 0.0),
        ("stories260K-f16-sharded", 2f32.powi(-12), 2f32.powi(-25)),
    ];
    for (name, relative, absolute) in cases {
        let (_, files) = open(&models.join(name)).unwrap();
        let mut n_different = 0;
        for tensor in expected_tensors(&config) {
            let (expected, found) = (exact.read_f32(&tensor.name), files.read_f32(&tensor.name));
            assert_eq!(expected.len(), found.len());
            for (expected, found) in expected.iter().zip(&found) {
                // f16 and bf16 keep normal numbers within half a unit of the power of two below them.
                assert!(
                    (expected - found).abs() <= relative * 2.0 * expected.abs() + absolute,
                    "{} {expected} {found}",
                    tensor.name
                );
                n_different += usize::from(expected != found);
            }
        }
        assert!(n_different > 100_000, "{name} is rounded: {n_different}");
    }
}

#[test]
fn large_tensors_are_read_like_small_ones() {
    // More than one chunk of the parallel conversion, and an offset that no wide type is aligned to.
    let n = (1 << 18) + 3;
    let dir = TempDir::new().unwrap();
    let values: Vec<f32> = (0..n).map(|i| (i % 509) as f32 / 8.0 - 20.0).collect();
    let halves: Vec<u8> = values.iter().flat_map(|x| half::f16::from_f32(*x).to_le_bytes()).collect();
    let brains: Vec<u8> = values.iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
    let singles: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    for (dtype, bytes) in [("F16", halves), ("BF16", brains), ("F32", singles)] {
        let header = json!({"odd": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
            "x": {"dtype": dtype, "shape": [n], "data_offsets": [1, 1 + bytes.len()]}});
        let mut file = safetensors(&header, 1);
        file.extend(bytes);
        fs::write(dir.path().join("model.safetensors"), file).unwrap();
        let files = WeightFiles::open(dir.path()).unwrap();
        // bf16 has 8 bits of significand: the values here need up to 9 before the point and 3 behind it.
        let tolerance = if dtype == "BF16" { 0.25 } else { 0.0 };
        let read = files.read_f32("x");
        assert!(read.iter().zip(&values).all(|(read, value)| (read - value).abs() <= tolerance), "{dtype}");
        assert_eq!(files.read_f32("x"), read, "pages given back are read again");
    }
}

#[test]
fn reference_models_open_and_fit_their_configs() {
    for name in ["llama", "llama_bias_linear", "llama_tied_sharded"] {
        let Some(dir) = fixture(&format!("models/{name}")) else { return };
        let (config, files) = open(&dir).unwrap();
        for tensor in expected_tensors(&config) {
            assert_eq!(files.shape(&tensor.name), Some(tensor.shape().as_slice()));
            assert!(files.read_f32(&tensor.name).iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn damaged_models_of_the_collection_are_refused() {
    let cases = [
        ("bad_offsets", "has an unsound header: invalid"),
        ("config_more_layers", "model.safetensors: is empty (0 bytes)"),
        ("config_wrong_hidden", "model.safetensors: is empty (0 bytes)"),
        ("huge_header", "its header would have 1152921504606846976 bytes, the format allows 100000000"),
        ("lfs_pointer", "is a git-lfs pointer, not the file itself; run `git lfs pull`"),
        ("truncated", "is cut off: its header promises 1040128"),
    ];
    let Some(dir) = data("dirty_models") else { return };
    for (name, expected) in cases {
        let message = refusal(&dir.join(name));
        assert!(message.contains(expected), "{name}: {message}");
    }
    let n_dirs = fs::read_dir(dir).unwrap().count();
    assert_eq!(n_dirs, cases.len(), "every directory of the collection has a case");
}

#[test]
fn config_that_disagrees_with_intact_weights_is_named_by_its_key() {
    let Some(dir) = data("models/stories260K") else { return };
    let cases = [
        (
            "num_hidden_layers",
            json!(6),
            "config.json says num_hidden_layers = 6, but the files have 5 layers: `model.layers.5.…` is not there; use the config.json that belongs",
        ),
        (
            "num_hidden_layers",
            json!(4),
            "config.json says num_hidden_layers = 4, but the files have 5 layers, such as `model.layers.4.",
        ),
        (
            "hidden_size",
            json!(128),
            "config.json says hidden_size = 128, which gives `model.embed_tokens.weight` the shape [512, 128], but it has [512, 64] (46 more disagree in the same way)",
        ),
        (
            "vocab_size",
            json!(500),
            "config.json says vocab_size = 500, which gives `model.embed_tokens.weight` the shape [500, 64], but it has [512, 64]",
        ),
        (
            "intermediate_size",
            json!(176),
            "config.json says intermediate_size = 176, which gives `model.layers.0.mlp.gate_proj.weight` the shape [176, 64], but it has [172, 64] (14 more",
        ),
        (
            "num_attention_heads",
            json!(4),
            "config.json says num_attention_heads = 4 and head_dim = 8, which gives `model.layers.0.self_attn.q_proj.weight` the shape [32, 64], but it has [64, 64]",
        ),
        (
            "num_key_value_heads",
            json!(8),
            "config.json says num_key_value_heads = 8 and head_dim = 8, which gives `model.layers.0.self_attn.k_proj.weight` the shape [64, 64], but it has [32, 64] (9 more",
        ),
        (
            "tie_word_embeddings",
            json!(false),
            "config.json says tie_word_embeddings = false, but `lm_head.weight` is not in the files",
        ),
        (
            "attention_bias",
            json!(true),
            "config.json says attention_bias = true, but `model.layers.0.self_attn.q_proj.bias` (and 19 more) is not in the files",
        ),
        (
            "mlp_bias",
            json!(true),
            "config.json says mlp_bias = true, but `model.layers.0.mlp.gate_proj.bias` (and 14 more) is not in the files",
        ),
    ];
    for (key, value, expected) in cases {
        let copy = copy_of(&dir);
        set_key(&copy.path().join("config.json"), key, value);
        let message = refusal(copy.path());
        assert!(message.contains(expected), "{key}: {message}");
        assert_eq!(message.lines().count(), 1, "one cause is told once: {message}");
    }
    open(copy_of(&dir).path()).unwrap();
}

#[test]
fn biases_in_the_files_that_config_denies_are_refused() {
    let Some(dir) = fixture("models/llama_bias_linear") else { return };
    let copy = copy_of(&dir);
    set_key(&copy.path().join("config.json"), "attention_bias", json!(false));
    let message = refusal(copy.path());
    assert!(message.contains("config.json says attention_bias = false, but the files have `model.layers.0.self_attn.k_proj.bias` (and 7 more)"), "{message}");
}

/// Rewrites the header of `model.safetensors` and appends bytes to its tensors.
fn edit_header(dir: &Path, append: usize, edit: impl FnOnce(&mut serde_json::Map<String, Value>, usize)) {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    edit(&mut header, bytes.len() - 8 - length);
    let mut edited = safetensors(&Value::Object(header), 0);
    edited.extend(&bytes[8 + length..]);
    edited.extend(vec![0; append]);
    fs::write(path, edited).unwrap();
}

#[test]
fn headers_that_lie_are_refused() {
    let Some(dir) = data("models/stories260K") else { return };
    type Edit = fn(&mut serde_json::Map<String, Value>, usize);
    let cases: [(Edit, &str); 6] = [
        (
            |header, _| header["model.norm.weight"]["data_offsets"] = json!([0, 256]),
            "has an unsound header: invalid offset for tensor",
        ),
        (
            |header, _| header["model.norm.weight"]["shape"] = json!([65]),
            "has an unsound header: invalid shape, data type, or offset",
        ),
        (
            |header, _| header["model.norm.weight"]["shape"] = json!([u64::MAX, u64::MAX]),
            "has an unsound header: overflow",
        ),
        (
            |header, end| header["model.norm.weight"]["data_offsets"] = json!([end - 256, u64::MAX]),
            "has an unsound header: invalid",
        ),
        (
            |header, _| header["model.norm.weight"]["dtype"] = json!("F99"),
            "has an unsound header: unknown variant `F99`",
        ),
        (
            |header, _| {
                header.remove("model.layers.0.mlp.down_proj.weight");
            },
            "has an unsound header: invalid offset",
        ),
    ];
    for (edit, expected) in cases {
        let copy = copy_of(&dir);
        edit_header(copy.path(), 0, edit);
        let message = refusal(copy.path());
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let copy = copy_of(&dir);
    edit_header(copy.path(), 8, |_, _| {});
    let message = refusal(copy.path());
    assert!(message.contains("is too long: its header promises 1040128"), "{message}");
}

#[test]
fn tensors_that_the_model_would_not_use_are_refused_but_relics_are_not() {
    let Some(dir) = data("models/stories260K") else { return };
    let add = |name: &'static str, dtype: &'static str, n_bytes: usize, shape: Value| {
        let copy = copy_of(&dir);
        edit_header(copy.path(), n_bytes, |header, end| {
            header.insert(
                name.to_owned(),
                json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + n_bytes]}),
            );
        });
        copy
    };
    open(add("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 16, json!([4])).path()).unwrap();
    open(add("lm_head.weight", "F32", 512 * 64 * 4, json!([512, 64])).path()).unwrap();
    let message = refusal(add("model.layers.0.self_attn.q_norm.weight", "F32", 32, json!([8])).path());
    assert!(
        message.contains("LlamaForCausalLM has no tensor `model.layers.0.self_attn.q_norm.weight`"),
        "{message}"
    );

    let copy = copy_of(&dir);
    edit_header(copy.path(), 0, |header, _| header["model.norm.weight"]["dtype"] = json!("I32"));
    let message = refusal(copy.path());
    assert!(
        message.contains(
            "model.safetensors: `model.norm.weight` is stored as I32, but only F32, BF16 and F16 are read"
        ),
        "{message}"
    );

    let copy = copy_of(&dir);
    edit_header(copy.path(), 0, |header, _| header["model.norm.weight"]["shape"] = json!([8, 8]));
    let message = refusal(copy.path());
    assert!(message.contains("`model.norm.weight` has shape [8, 8], expected [64]"), "{message}");

    let copy = copy_of(&dir);
    edit_header(copy.path(), 0, |header, _| {
        let norm = header.remove("model.norm.weight").unwrap();
        header.insert("norm.weight".to_owned(), norm);
    });
    let message = refusal(copy.path());
    assert!(message.contains("`model.norm.weight` is not in the files"), "{message}");
    assert!(message.contains("LlamaForCausalLM has no tensor `norm.weight`"), "{message}");
}

#[test]
fn damaged_shards_and_indexes_are_refused() {
    let Some(dir) = data("models/stories260K-f16-sharded") else { return };
    const SECOND: &str = "model-00002-of-00002.safetensors";
    const INDEX: &str = "model.safetensors.index.json";
    let with_shard = |shard: Value| {
        let copy = copy_of(&dir);
        let mut index = read_json(&copy.path().join(INDEX));
        index["weight_map"]["model.norm.weight"] = shard;
        fs::write(copy.path().join(INDEX), serde_json::to_vec(&index).unwrap()).unwrap();
        copy
    };

    let copy = copy_of(&dir);
    let shard = copy.path().join(SECOND);
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[..bytes.len() - 100]).unwrap();
    let message = refusal(copy.path());
    assert!(message.contains(SECOND) && message.contains("is cut off: its header promises"), "{message}");

    fs::remove_file(&shard).unwrap();
    let message = refusal(copy.path());
    assert!(
        message.contains("names the shard `model-00002-of-00002.safetensors`, which is not there; download"),
        "{message}"
    );

    for outside in ["../model.safetensors", "/etc/passwd", "a/../../b", "", "./x/.."] {
        let message = refusal(with_shard(json!(outside)).path());
        assert!(message.contains("which is not a file name inside the directory"), "{outside}: {message}");
    }
    let message = refusal(with_shard(json!(7)).path());
    assert!(
        message.contains("`model.norm.weight` is said to be in 7, which is not a file name"),
        "{message}"
    );
    let message = refusal(with_shard(json!("model-00001-of-00002.safetensors")).path());
    assert!(
        message.contains(
            "says that `model.norm.weight` is in `model-00001-of-00002.safetensors`, but it is not there"
        ),
        "{message}"
    );

    for (bytes, expected) in [
        (&b"{}"[..], "has no object `weight_map`"),
        (b"{\"weight_map\": {}}", "has an empty `weight_map`"),
        (b"not", "is not JSON"),
    ] {
        let copy = copy_of(&dir);
        fs::write(copy.path().join(INDEX), bytes).unwrap();
        let message = refusal(copy.path());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn directories_without_safetensors_say_what_to_do() {
    let dir = TempDir::new().unwrap();
    let problem = WeightFiles::open(dir.path()).unwrap_err();
    assert_eq!(problem.kind, ProblemKind::NotFound);
    assert!(
        problem
            .to_string()
            .contains("holds neither `model.safetensors` nor `model.safetensors.index.json`; give"),
        "{problem}"
    );

    fs::write(dir.path().join("pytorch_model.bin"), b"\x80\x02").unwrap();
    let problem = WeightFiles::open(dir.path()).unwrap_err().to_string();
    assert!(
        problem.contains("only as `pytorch_model.bin`, a pickle, which is never read; convert it"),
        "{problem}"
    );

    fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    let problem = WeightFiles::open(dir.path()).unwrap_err().to_string();
    assert!(problem.contains("model.safetensors: is not a file"), "{problem}");
}
