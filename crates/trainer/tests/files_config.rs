//! config.json: both dialects, transformers' defaults, and every refusal.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod files_support;

use std::fs;
use std::path::Path;
use std::slice;

use files_support::{data, text};
use ftl_core::ProblemKind;
use ftl_trainer::model::config::{
    Bias, DecoderConfig, Head, Rope, RopeScaling, eos_token_ids_for_generation,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn small() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2
    })
}

fn small_with(changes: Value) -> Value {
    let mut config = small();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn parse(config: &Value) -> Result<DecoderConfig, Vec<ftl_core::Problem>> {
    DecoderConfig::from_json(config.as_object().unwrap().clone(), Path::new("config.json"))
}

#[test]
fn missing_keys_take_the_defaults_of_transformers() {
    let config = parse(&json!({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4})).unwrap();
    assert_eq!((config.vocab_size, config.intermediate_size, config.n_layers), (32_000, 11_008, 32));
    assert_eq!((config.n_kv_heads, config.head_dim, config.max_positions), (4, 16, 2048));
    assert_eq!((config.rms_norm_eps, config.initializer_range), (1e-6, 0.02));
    assert_eq!(config.ropes, [Rope { theta: 10_000.0, scaling: RopeScaling::Default }]);
    assert_eq!(
        (config.head, config.biases.qkv, config.biases.o, config.biases.mlp),
        (Head::Separate, Bias::Absent, Bias::Absent, Bias::Absent)
    );
    assert_eq!((config.bos_token_id, config.eos_token_ids, config.pad_token_id), (Some(1), vec![2], None));
}

#[test]
fn both_dialects_say_the_same() {
    let cases = [
        (
            json!({"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0}, "torch_dtype": "float32"}),
            json!({"rope_theta": null, "rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0}, "dtype": "float32"}),
            Rope { theta: 5e5, scaling: RopeScaling::Linear { factor: 4.0 } },
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2}}),
            json!({"rope_theta": null, "rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
            Rope { theta: 10_000.0, scaling: RopeScaling::Linear { factor: 2.0 } },
        ),
        (
            json!({"rope_scaling": null}),
            json!({"rope_theta": null, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 1.0}}),
            Rope { theta: 10_000.0, scaling: RopeScaling::Default },
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(parse(&small_with(old)).unwrap().ropes, slice::from_ref(&expected));
        assert_eq!(parse(&small_with(new)).unwrap().ropes, slice::from_ref(&expected));
    }
}

#[test]
fn eos_ids_of_both_files_end_a_generated_text() {
    let Some(dir) = data("models/stories260K") else { return };
    let config = DecoderConfig::read(&dir).unwrap();
    assert_eq!(config.eos_token_ids, [2]);
    assert_eq!(eos_token_ids_for_generation(&dir, &config).unwrap(), [1, 2]);

    let copy = TempDir::new().unwrap();
    assert_eq!(eos_token_ids_for_generation(copy.path(), &config).unwrap(), [2]);
    fs::write(copy.path().join("generation_config.json"), r#"{"eos_token_id": [1, 512]}"#).unwrap();
    let problem = eos_token_ids_for_generation(copy.path(), &config).unwrap_err().to_string();
    assert!(
        problem.contains("`eos_token_id` is [1,512], but must be token ids below `vocab_size` = 512"),
        "{problem}"
    );
}

#[test]
fn each_bad_value_is_named_with_its_limit() {
    let llama3 = |changes: Value| {
        let mut section = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        for (key, value) in changes.as_object().unwrap() {
            section[key] = value.clone();
        }
        json!({"rope_scaling": section})
    };
    let cases = [
        (json!({"hidden_size": 0}), "`hidden_size` is 0, but must be a whole number from 1 to 1048576"),
        (json!({"hidden_size": -64}), "`hidden_size` is -64, but must be a whole number from 1"),
        (json!({"hidden_size": 1u64 << 60}), "`hidden_size` is 1152921504606846976, but must be"),
        (json!({"hidden_size": "64"}), "`hidden_size` is \"64\", but must be a whole number"),
        (
            json!({"hidden_size": 17}),
            "`hidden_size` = 17 and `num_attention_heads` = 4 leave no whole `head_dim`",
        ),
        (
            json!({"hidden_size": 12}),
            "`hidden_size` = 12 and `num_attention_heads` = 4 make a `head_dim` of 3, but it must be even",
        ),
        (json!({"vocab_size": 1.5}), "`vocab_size` is 1.5, but must be a whole number from 1 to 16777216"),
        (json!({"intermediate_size": 0}), "`intermediate_size` is 0, but must be"),
        (
            json!({"num_hidden_layers": 0}),
            "`num_hidden_layers` is 0, but must be a whole number from 1 to 4096",
        ),
        (json!({"num_hidden_layers": 1_000_000_000}), "`num_hidden_layers` is 1000000000, but must be"),
        (json!({"num_attention_heads": 0}), "`num_attention_heads` is 0, but must be"),
        (
            json!({"num_key_value_heads": 3}),
            "`num_attention_heads` = 4 is not a multiple of `num_key_value_heads` = 3",
        ),
        (
            json!({"num_key_value_heads": 8}),
            "`num_attention_heads` = 4 is not a multiple of `num_key_value_heads` = 8",
        ),
        (json!({"head_dim": 7}), "`head_dim` is 7, but must be even"),
        (json!({"head_dim": 0}), "`head_dim` is 0, but must be a whole number from 1 to 4096"),
        (json!({"max_position_embeddings": 0}), "`max_position_embeddings` is 0, but must be"),
        (json!({"rms_norm_eps": 0.0}), "`rms_norm_eps` is 0.0, but must be a number from"),
        (json!({"rms_norm_eps": -1e-5}), "`rms_norm_eps` is -0.00001, but must be a number"),
        (json!({"initializer_range": -1}), "`initializer_range` is -1, but must be a number from 0 to 100"),
        (json!({"rope_theta": 0}), "`rope_theta` is 0, but must be a number from 1 to"),
        (json!({"rope_theta": "10000"}), "`rope_theta` is \"10000\", but must be a number"),
        (
            json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}),
            "`rope_theta` is 10000, but `rope_parameters.rope_theta` is 500000",
        ),
        (
            json!({"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
            "`rope_parameters` and `rope_scaling` contradict each other",
        ),
        (json!({"rope_scaling": "linear"}), "`rope_scaling` is \"linear\", but must be an object"),
        (json!({"rope_scaling": {"factor": 2.0}}), "`rope_scaling` has no `rope_type`"),
        (json!({"rope_scaling": {"rope_type": 3}}), "`rope_scaling.rope_type` is 3, but must be a name"),
        (json!({"rope_scaling": {"type": "linear"}}), "`rope_scaling.factor` is missing"),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 0.5}}),
            "`rope_scaling.factor` is 0.5, but must be a number from 1 to",
        ),
        (
            llama3(json!({"high_freq_factor": 1.0})),
            "`rope_scaling.high_freq_factor` = 1 must be greater than `low_freq_factor` = 1",
        ),
        (llama3(json!({"low_freq_factor": null})), "`rope_scaling.low_freq_factor` is missing"),
        (
            llama3(json!({"original_max_position_embeddings": null})),
            "`rope_scaling.original_max_position_embeddings` is null, but must be a whole number",
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0, 2.0]}}),
            "`rope_scaling.short_factor` must be a list of 2 numbers from 0.000001 to 1000000, one for each pair",
        ),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "truncate": 1}}),
            "`rope_scaling.truncate` is 1, but must be true or false",
        ),
        (
            json!({"head_dim": 2, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
            "`rope_scaling.rope_type` is `dynamic`, which has no meaning for heads of one pair",
        ),
        (
            json!({"partial_rotary_factor": 0.0}),
            "`partial_rotary_factor` is 0.0, but must be a number above 0 and up to 1",
        ),
        (json!({"attention_bias": "yes"}), "`attention_bias` is \"yes\", but must be true or false"),
        (json!({"tie_word_embeddings": 1}), "`tie_word_embeddings` is 1, but must be true or false"),
        (json!({"bos_token_id": 32}), "`bos_token_id` is 32, but must be token ids below `vocab_size` = 32"),
        (
            json!({"eos_token_id": [2, 99]}),
            "`eos_token_id` is [2,99], but must be token ids below `vocab_size` = 32",
        ),
        (json!({"pad_token_id": -2}), "`pad_token_id` is -2, but must be token ids below"),
    ];
    parse(&small()).unwrap();
    for (changes, expected) in cases {
        let problems = parse(&small_with(changes.clone())).expect_err(&changes.to_string());
        assert!(text(&problems).contains(expected), "{changes}: {}", text(&problems));
        assert_eq!(problems.len(), 1, "one cause is told once: {}", text(&problems));
        assert_eq!(problems[0].kind, ProblemKind::BrokenModel);
        assert_eq!(problems[0].field.as_deref(), Some("config.json"));
    }
}

#[test]
fn what_the_engine_does_not_have_is_refused_by_name() {
    let cases = [
        (
            json!({"model_type": "mamba"}),
            "`model_type` is `mamba`, which the engine does not have; supported: llama (LlamaForCausalLM), mistral \
             (MistralForCausalLM), qwen2 (Qwen2ForCausalLM), qwen3 (Qwen3ForCausalLM), gemma (GemmaForCausalLM), gemma2 \
             (Gemma2ForCausalLM), gemma3_text (Gemma3ForCausalLM), phi3 (Phi3ForCausalLM), smollm3 \
             (SmolLM3ForCausalLM), olmo2 (Olmo2ForCausalLM)",
        ),
        (
            json!({"model_type": null, "architectures": ["FooForCausalLM"]}),
            "architecture `FooForCausalLM` is not one that the engine has; supported: llama",
        ),
        (
            json!({"model_type": null, "architectures": null}),
            "names neither a `model_type` nor `architectures`; supported: llama",
        ),
        (
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            "architecture `LlamaForSequenceClassification` is not one that the engine has",
        ),
        (
            json!({"hidden_act": "gelu"}),
            "`hidden_act` is \"gelu\", but the engine has only `silu` and `gelu_pytorch_tanh`",
        ),
        (
            json!({"rope_scaling": {"rope_type": "proportional", "factor": 4.0}}),
            "`rope_scaling.rope_type` is `proportional`, but the engine has only default, linear, dynamic, yarn, \
             longrope and llama3",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "`partial_rotary_factor` is 0.5, but `llama` turns whole heads",
        ),
        (
            json!({"model_type": "qwen2", "architectures": null, "layer_types": ["full_attention", "chunked_attention"]}),
            "`layer_types` has `chunked_attention`, but the engine has only `full_attention` and `sliding_attention`",
        ),
        (
            json!({"model_type": "gemma", "architectures": null, "use_bidirectional_attention": true}),
            "`use_bidirectional_attention` is true, but the engine has only models that look back",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes"}}),
            "the weights are quantized (`quantization_config`, method `bitsandbytes`, not `load_in_4bit`), which can't be \
             read; only bitsandbytes' `load_in_4bit` with `bnb_4bit_quant_type` = `nf4` can: use the model that this \
             one was made from",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}),
            "method `bitsandbytes`, `bnb_4bit_quant_type` = `fp4`), which can't be read",
        ),
        (
            json!({"quantization_config": {
                "quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_quant_storage": "bfloat16"
            }}),
            "`bnb_4bit_quant_storage` = `bfloat16`), which can't be read",
        ),
        (json!({"quantization_config": {"quant_method": "gptq"}}), "method `gptq`), which can't be read"),
    ];
    for (changes, expected) in cases {
        let problems = parse(&small_with(changes)).unwrap_err();
        assert!(text(&problems).contains(expected), "{}", text(&problems));
        assert_eq!(problems[0].kind, ProblemKind::UnsupportedModel);
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let problems =
        parse(&small_with(json!({"vocab_size": 0, "rms_norm_eps": 7, "num_hidden_layers": -1}))).unwrap_err();
    assert_eq!(problems.len(), 3, "{}", text(&problems));
}

#[test]
fn architecture_alone_names_the_family_and_minus_one_is_no_padding() {
    let config =
        parse(&small_with(json!({"model_type": null, "pad_token_id": -1, "hidden_act": "silu"}))).unwrap();
    assert_eq!((config.family.model_type, config.pad_token_id), ("llama", None));
    assert_eq!(config.raw["pad_token_id"], -1);
}

#[test]
fn unreadable_configs_say_why() {
    let dir = TempDir::new().unwrap();
    let cases: [(&[u8], &str, ProblemKind); 4] = [
        (b"{\"hidden_size\": 64,", "config.json: is not JSON: EOF", ProblemKind::BrokenModel),
        (b"[]", "config.json: holds JSON, but not an object", ProblemKind::BrokenModel),
        (b"\xff\xfe\x00", "config.json: is not JSON", ProblemKind::BrokenModel),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "config.json: is a git-lfs pointer, not the file itself; run `git lfs pull`",
            ProblemKind::BrokenModel,
        ),
    ];
    let missing = DecoderConfig::read(dir.path()).unwrap_err();
    assert!(text(&missing).ends_with("config.json: does not exist"), "{}", text(&missing));
    assert_eq!(missing[0].kind, ProblemKind::NotFound);
    for (bytes, expected, kind) in cases {
        fs::write(dir.path().join("config.json"), bytes).unwrap();
        let problems = DecoderConfig::read(dir.path()).unwrap_err();
        assert!(text(&problems).contains(expected), "{}", text(&problems));
        assert_eq!(problems[0].kind, kind);
    }
    let nowhere = DecoderConfig::read(&dir.path().join("nowhere")).unwrap_err();
    assert!(text(&nowhere).contains("nowhere: is not a directory; give the directory"), "{}", text(&nowhere));
}
