//! config.json of every family: what its keys mean, what they mean where they are missing, and what is refused.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod files_support;

use std::path::Path;

use files_support::{data, fixture, text};
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::model::config::{Bias, DecoderConfig, Head, LayerConfig, Rope, RopeScaling, Yarn};
use ftl_trainer::model::families::{FAMILIES, expected_tensors};
use ftl_trainer::ops::gated_mlp::Activation;
use serde_json::{Value, json};

fn parse(config: &Value) -> Result<DecoderConfig, Vec<Problem>> {
    DecoderConfig::from_json(config.as_object().unwrap().clone(), Path::new("config.json"))
}

fn of(model_type: &str, keys: &Value) -> Value {
    let mut config = json!({"model_type": model_type, "num_hidden_layers": 4});
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    config
}

fn windows(config: &DecoderConfig) -> Vec<Option<usize>> {
    config.layers.iter().map(|layer| layer.window).collect()
}

/// Sizes are vocabulary, hidden, intermediate, layers, heads, key and value heads, head, positions.
#[test]
fn a_file_with_nothing_but_its_family_means_what_it_means_in_transformers() {
    let silu = Activation::Silu;
    let gelu = Activation::GeluTanh;
    let cases = [
        ("llama", [32_000, 4096, 11_008, 32, 32, 32, 128, 2048], 1e-6, 1e4, Head::Separate, [1, 2, -1], silu),
        (
            "mistral",
            [32_000, 4096, 14_336, 32, 32, 8, 128, 131_072],
            1e-6,
            1e4,
            Head::Separate,
            [1, 2, -1],
            silu,
        ),
        (
            "qwen2",
            [151_936, 4096, 22_016, 32, 32, 32, 128, 32_768],
            1e-6,
            1e4,
            Head::Separate,
            [-1, -1, -1],
            silu,
        ),
        (
            "qwen3",
            [151_936, 4096, 22_016, 32, 32, 32, 128, 32_768],
            1e-6,
            1e4,
            Head::Separate,
            [-1, -1, -1],
            silu,
        ),
        ("gemma", [256_000, 3072, 24_576, 28, 16, 16, 256, 8192], 1e-6, 1e4, Head::Tied, [2, 1, 0], gelu),
        ("gemma2", [256_000, 2304, 9216, 26, 8, 4, 256, 8192], 1e-6, 1e4, Head::Tied, [2, 1, 0], gelu),
        (
            "gemma3_text",
            [262_208, 2304, 9216, 26, 8, 4, 256, 131_072],
            1e-6,
            1e6,
            Head::Tied,
            [2, 1, 0],
            gelu,
        ),
        (
            "phi3",
            [32_064, 3072, 8192, 32, 32, 32, 96, 4096],
            1e-5,
            1e4,
            Head::Separate,
            [1, 32_000, 32_000],
            silu,
        ),
        (
            "smollm3",
            [128_256, 2048, 11_008, 36, 16, 4, 128, 32_768],
            1e-6,
            2e6,
            Head::Tied,
            [128_000, 128_001, 128_004],
            silu,
        ),
        (
            "olmo2",
            [50_304, 4096, 11_008, 32, 32, 32, 128, 2048],
            1e-5,
            1e4,
            Head::Separate,
            [-1, 50_279, 1],
            silu,
        ),
    ];
    assert_eq!(cases.len(), FAMILIES.len());
    for (model_type, sizes, eps, theta, head, [bos, eos, pad], activation) in cases {
        let config = parse(&json!({"model_type": model_type})).unwrap();
        let found = [
            config.vocab_size,
            config.hidden_size,
            config.intermediate_size,
            config.n_layers,
            config.n_heads,
            config.n_kv_heads,
            config.head_dim,
            config.max_positions,
        ];
        assert_eq!(found, sizes, "{model_type}");
        assert_eq!((config.rms_norm_eps, config.ropes[0].theta), (eps, theta), "{model_type}");
        assert_eq!((config.head, config.activation), (head, activation), "{model_type}");
        let id = |id: i64| u32::try_from(id).ok();
        assert_eq!((config.bos_token_id, config.pad_token_id), (id(bos), id(pad)), "{model_type}");
        assert_eq!(config.eos_token_ids, Vec::from_iter(id(eos)), "{model_type}");
        let qkv = if model_type == "qwen2" { Bias::Present } else { Bias::Absent };
        assert_eq!(
            (config.biases.qkv, config.biases.o, config.biases.mlp),
            (qkv, Bias::Absent, Bias::Absent)
        );
    }
}

#[test]
fn windows_are_in_the_layers_where_transformers_has_them() {
    const W: Option<usize> = Some(8);
    let lasting = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"];
    let cases = [
        ("llama", json!({"sliding_window": 8}), [None; 4]),
        ("mistral", json!({"sliding_window": 8}), [W; 4]),
        ("mistral", json!({"sliding_window": null}), [None; 4]),
        ("mistral", json!({}), [Some(4096); 4]),
        ("phi3", json!({"sliding_window": 8}), [W; 4]),
        ("phi3", json!({}), [None; 4]),
        ("qwen2", json!({"sliding_window": 8}), [None; 4]),
        (
            "qwen2",
            json!({"sliding_window": 8, "use_sliding_window": false, "max_window_layers": 0}),
            [None; 4],
        ),
        ("qwen2", json!({"sliding_window": 8, "use_sliding_window": true}), [None; 4]),
        (
            "qwen2",
            json!({"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 2}),
            [None, None, W, W],
        ),
        ("qwen3", json!({"use_sliding_window": true, "max_window_layers": 0}), [Some(4096); 4]),
        (
            "qwen3",
            json!({"sliding_window": 8, "use_sliding_window": true, "layer_types": lasting}),
            [W, None, None, W],
        ),
        ("gemma2", json!({"sliding_window": 8}), [W, None, W, None]),
        ("gemma2", json!({"sliding_window": 8, "layer_types": lasting}), [W, None, None, W]),
        ("gemma3_text", json!({"sliding_window": 8}), [W; 4]),
        ("gemma3_text", json!({"sliding_window": 8, "sliding_window_pattern": 3}), [W, W, None, W]),
        (
            "gemma3_text",
            json!({"sliding_window": 8, "sliding_window_pattern": 3, "layer_types": lasting}),
            [W, None, None, W],
        ),
        ("smollm3", json!({"sliding_window": 8}), [None; 4]),
        ("smollm3", json!({"sliding_window": 8, "use_sliding_window": true}), [None, None, None, W]),
        (
            "smollm3",
            json!({"sliding_window": 8, "use_sliding_window": true, "no_rope_layers": [0, 1, 0, 1]}),
            [W, None, W, None],
        ),
        ("olmo2", json!({"sliding_window": 8}), [None; 4]),
    ];
    for (model_type, keys, expected) in cases {
        let config = parse(&of(model_type, &keys)).unwrap_or_else(|problems| panic!("{}", text(&problems)));
        assert_eq!(windows(&config), expected, "{model_type} {keys}");
    }
}

#[test]
fn layers_turn_by_the_angles_that_transformers_gives_them() {
    let ropes = |keys: Value, model_type: &str| {
        let config = parse(&of(model_type, &keys)).unwrap();
        config.layers.iter().map(|layer: &LayerConfig| layer.rope_index).collect::<Vec<_>>()
    };
    let some = |index: [usize; 4]| index.map(Some).to_vec();
    assert_eq!(ropes(json!({}), "llama"), some([0; 4]));
    assert_eq!(ropes(json!({"sliding_window_pattern": 2}), "gemma3_text"), some([1, 0, 1, 0]));
    assert_eq!(ropes(json!({}), "smollm3"), [Some(0), Some(0), Some(0), None]);
    assert_eq!(ropes(json!({"no_rope_layer_interval": 2}), "smollm3"), [Some(0), None, Some(0), None]);
    // Longer lists are fine, as in transformers.
    assert_eq!(ropes(json!({"no_rope_layers": [0, 1, 1, 0, 1]}), "smollm3"), [None, Some(0), Some(0), None]);
}

#[test]
fn gemma3_has_angles_for_both_kinds_of_layers_in_both_dialects() {
    let linear = RopeScaling::Linear { factor: 8.0 };
    let rope = |theta, scaling| Rope { theta, scaling };
    let cases = [
        (json!({}), [rope(1e6, RopeScaling::Default), rope(1e4, RopeScaling::Default)]),
        (
            json!({"rope_theta": 5e5, "rope_local_base_freq": 500.0, "rope_scaling": {"rope_type": "linear", "factor": 8}}),
            [rope(5e5, linear.clone()), rope(500.0, RopeScaling::Default)],
        ),
        (
            json!({"rope_parameters": {
                "full_attention": {"rope_theta": 5e5, "rope_type": "linear", "factor": 8.0},
                "sliding_attention": {"rope_theta": 500.0, "rope_type": "default"},
            }}),
            [rope(5e5, linear), rope(500.0, RopeScaling::Default)],
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            [rope(1e6, RopeScaling::Default), rope(1e4, RopeScaling::Default)],
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(parse(&of("gemma3_text", &keys)).unwrap().ropes, expected, "{keys}");
    }
    let problems = parse(&of("gemma3_text", &json!({"rope_parameters": {"rope_theta": 1e6}}))).unwrap_err();
    let expected = "`rope_parameters` must have the sections `full_attention` and `sliding_attention`";
    assert!(text(&problems).contains(expected), "{}", text(&problems));
}

#[test]
fn every_scaling_is_read_with_its_defaults() {
    let scaling = |section: Value| {
        let config =
            parse(&of("llama", &json!({"max_position_embeddings": 512, "rope_scaling": section}))).unwrap();
        (config.ropes[0].scaling.clone(), config.max_positions)
    };
    let dynamic = RopeScaling::Dynamic { factor: 4.0, original_max_positions: 512 };
    assert_eq!(scaling(json!({"type": "dynamic", "factor": 4})), (dynamic, 2048));

    let yarn = Yarn {
        factor: 4.0,
        attention_factor: 0.1 * 4f64.ln() + 1.0,
        beta_fast: 32.0,
        beta_slow: 1.0,
        original_max_positions: 512,
        truncate: true,
    };
    assert_eq!(scaling(json!({"rope_type": "yarn", "factor": 4})), (RopeScaling::Yarn(yarn), 512));
    let asked = json!({"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 128, "beta_fast": 24,
        "beta_slow": 2, "mscale": 0.5, "mscale_all_dim": 0.25, "truncate": false});
    let attention_factor = (0.05 * 4f64.ln() + 1.0) / (0.025 * 4f64.ln() + 1.0);
    let other = Yarn {
        attention_factor,
        beta_fast: 24.0,
        beta_slow: 2.0,
        original_max_positions: 128,
        truncate: false,
        ..yarn
    };
    assert_eq!(scaling(asked).0, RopeScaling::Yarn(other));

    let factors: Vec<f64> = (0..64).map(|i| 1.0 + f64::from(i)).collect();
    let long = |attention_factor, original_max_positions| RopeScaling::Long {
        short_factor: factors.clone(),
        long_factor: factors.clone(),
        attention_factor,
        original_max_positions,
    };
    let section = |kind: &str| json!({"type": kind, "short_factor": factors, "long_factor": factors});
    assert_eq!(scaling(section("longrope")).0, long(1.0, 512));
    let mut stretched = section("longrope");
    stretched["original_max_position_embeddings"] = json!(64);
    assert_eq!(scaling(stretched).0, long((1.0 + 8f64.ln() / 64f64.ln()).sqrt(), 64));

    // Phi-3 has the original context beside the section, 4096 where it is missing, and old names for this scaling.
    for kind in ["longrope", "su", "yarn"] {
        let keys =
            json!({"max_position_embeddings": 131_072, "head_dim": 128, "rope_scaling": section(kind)});
        let config = parse(&of("phi3", &keys)).unwrap();
        let factor = (1.0 + 32f64.ln() / 4096f64.ln()).sqrt();
        assert_eq!(config.ropes[0].scaling, long(factor, 4096), "{kind}");
    }
}

#[test]
fn phi3_turns_part_of_a_head() {
    let part = |factor: f64, dialect: &str| {
        let keys = match dialect {
            "old" => json!({"partial_rotary_factor": factor}),
            _ => json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": factor}}),
        };
        parse(&of("phi3", &keys)).unwrap().rotary_dim
    };
    for dialect in ["old", "new"] {
        assert_eq!([1.0, 0.75, 0.5, 0.4].map(|factor| part(factor, dialect)), [96, 72, 48, 38]);
    }
}

#[test]
fn gemma_limits_and_scales_what_its_files_say() {
    let config = |model_type: &str, keys: Value| parse(&of(model_type, &keys)).unwrap();
    let caps = |config: DecoderConfig| (config.attention_softcap, config.final_softcap);
    assert_eq!(caps(config("gemma2", json!({}))), (Some(50.0), Some(30.0)));
    let none = json!({"attn_logit_softcapping": null, "final_logit_softcapping": null});
    assert_eq!(caps(config("gemma2", none)), (None, None));
    // Its attention does not look at the key.
    let both = json!({"attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0});
    assert_eq!(caps(config("gemma3_text", both)), (None, Some(8.0)));
    assert_eq!(caps(config("gemma3_text", json!({}))), (None, None));
    assert_eq!(config("gemma2", json!({})).score_scale, 1.0 / 16.0);
    assert_eq!(config("gemma2", json!({"query_pre_attn_scalar": 64})).score_scale, 1.0 / 8.0);
    assert_eq!(config("gemma", json!({"query_pre_attn_scalar": 64})).score_scale, 1.0 / 16.0);
    // What Gemma's first files call the approximation by tanh.
    assert_eq!(config("gemma", json!({"hidden_act": "gelu"})).activation, Activation::GeluTanh);
}

#[test]
fn reference_models_have_the_parameters_that_transformers_counts() {
    let cases = [
        ("llama", "llama"),
        ("llama_tied_sharded", "llama"),
        ("llama_bias_linear", "llama"),
        ("mistral_bf16", "mistral"),
        ("qwen2", "qwen2"),
        ("qwen2_yarn", "qwen2"),
        ("qwen3", "qwen3"),
        ("gemma", "gemma"),
        ("gemma2", "gemma2"),
        ("gemma3_text", "gemma3_text"),
        ("phi3", "phi3"),
        ("smollm3", "smollm3"),
        ("olmo2", "olmo2"),
    ];
    for (name, model_type) in cases {
        let Some(dir) = fixture(&format!("models/{name}")) else { return };
        let config = DecoderConfig::read(&dir).unwrap();
        assert_eq!(config.family.model_type, model_type);
        let golden: Value = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
        let counted: usize =
            expected_tensors(&config).iter().map(|tensor| tensor.shape().iter().product::<usize>()).sum();
        assert_eq!(Some(counted as u64), golden["n_params"].as_u64(), "{name}");
        assert_eq!(Some(config.head == Head::Tied), golden["tied"].as_bool(), "{name}");
        assert_eq!(config.biases.o == Bias::Present, name == "llama_bias_linear", "{name}");
    }
}

#[test]
fn models_of_other_kinds_are_refused_by_name_with_what_there_is() {
    let list = "supported: llama (LlamaForCausalLM), mistral (MistralForCausalLM), qwen2";
    for name in ["gpt2", "qwen3_moe"] {
        let Some(dir) = fixture(&format!("models/{name}")) else { return };
        let problems = DecoderConfig::read(&dir).unwrap_err();
        let expected = format!("`model_type` is `{name}`, which the engine does not have; {list}");
        assert!(text(&problems).contains(&expected), "{}", text(&problems));
        assert_eq!(problems[0].kind, ProblemKind::UnsupportedModel);
    }
    for model_type in ["mixtral", "gemma3", "gemma3n", "phi", "deepseek_v3", "qwen2_moe"] {
        let problems = parse(&json!({"model_type": model_type})).unwrap_err();
        let expected = format!("`model_type` is `{model_type}`, which the engine does not have; {list}");
        assert!(text(&problems).contains(&expected), "{}", text(&problems));
    }
}

#[test]
fn real_configs_are_read_or_refused_by_name() {
    let Some(tokenizers) = data("tokenizers") else { return };
    let qwen = DecoderConfig::read(&tokenizers.join("qwen2.5-0.5b-instruct")).unwrap();
    assert_eq!((qwen.family.model_type, qwen.n_layers, qwen.head), ("qwen2", 24, Head::Tied));
    assert_eq!(qwen.ropes, [Rope { theta: 1e6, scaling: RopeScaling::Default }]);
    assert!(windows(&qwen).iter().all(Option::is_none));
    let counted: usize =
        expected_tensors(&qwen).iter().map(|tensor| tensor.shape().iter().product::<usize>()).sum();
    assert_eq!(counted, 494_032_768);
    let problems = DecoderConfig::read(&tokenizers.join("gpt2")).unwrap_err();
    assert!(text(&problems).contains("`model_type` is `gpt2`"), "{}", text(&problems));
}

#[test]
fn bad_values_of_the_families_are_named_with_their_limits() {
    let cases = [
        (
            of("qwen2", &json!({"layer_types": ["full_attention"]})),
            "`layer_types` is [\"full_attention\"], but must be a list of 4 names, one for each layer",
        ),
        (
            of("gemma2", &json!({"sliding_window": null})),
            "some layers have `sliding_attention`, but there is no `sliding_window`",
        ),
        (
            of("gemma2", &json!({"sliding_window": 0})),
            "`sliding_window` is 0, but must be a whole number from 1 to 2147483648",
        ),
        (
            of("smollm3", &json!({"no_rope_layers": [1, 0, 2, 1]})),
            "`no_rope_layers` is [1,0,2,1], but must be a list of 0 and 1 for each of 4 layers",
        ),
        (of("smollm3", &json!({"no_rope_layers": [1]})), "for each of 4 layers"),
        (
            of("gemma2", &json!({"attn_logit_softcapping": 0})),
            "`attn_logit_softcapping` is 0, but must be a number from 0.001 to 1000000",
        ),
        (
            of("gemma2", &json!({"query_pre_attn_scalar": -1})),
            "`query_pre_attn_scalar` is -1, but must be a number from 0.000001 to 1000000000",
        ),
        (
            of("phi3", &json!({"partial_rotary_factor": 0.001})),
            "`partial_rotary_factor` = 0.001 leaves nothing of a head of 96 to turn",
        ),
        (of("qwen3", &json!({"head_dim": 5})), "`head_dim` is 5, but must be even"),
    ];
    for (config, expected) in cases {
        let problems = parse(&config).unwrap_err();
        assert!(text(&problems).contains(expected), "{}", text(&problems));
        assert_eq!(problems.len(), 1, "one cause is told once: {}", text(&problems));
        assert_eq!(problems[0].kind, ProblemKind::BrokenModel);
    }
}
