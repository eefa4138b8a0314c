//! PEFT adapters: real ones read, what is written read again, and every refusal.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod files_support;

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use files_support::{data, fixture, read_json, set_key, text};
use ftl_core::spec::resolved::{LoraScale, LoraVariant};
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::adapter::peft::{AdapterConfig, AdapterWeights, Layout, Modules, Named, write_adapter};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::tensor_file::TensorSpec;
use serde_json::json;
use tempfile::TempDir;

fn named(names: &[&str]) -> Modules {
    Modules::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

fn model() -> DecoderConfig {
    let json = json!({"model_type": "llama", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2});
    DecoderConfig::from_json(json.as_object().unwrap().clone(), Path::new("config.json")).unwrap()
}

fn open(dir: &Path, model: &DecoderConfig) -> Result<(AdapterConfig, AdapterWeights), Vec<Problem>> {
    let config = AdapterConfig::read(dir)?;
    let weights = AdapterWeights::open(dir, &config, model)?;
    Ok((config, weights))
}

#[test]
fn real_adapters_are_read() {
    let cases = [
        (data("parity/lora_init"), data("models/stories260K"), 35, 8),
        (data("parity/lora_after_20"), data("models/stories260K"), 35, 8),
        (fixture("adapters/plain_llama"), fixture("models/llama"), 14, 8),
        (fixture("training/lora_llama_linear/final_adapter"), fixture("models/llama"), 14, 8),
    ];
    for (adapter, model, n_targets, r) in cases {
        let (Some(adapter), Some(model)) = (adapter, model) else { continue };
        // Other trees of references have other cases.
        if !adapter.exists() {
            continue;
        }
        let model = DecoderConfig::read(&model).unwrap();
        let (config, weights) = open(&adapter, &model).unwrap();
        assert_eq!((config.r, config.lora_alpha, config.lora_dropout_prob), (r, 16.0, 0.0));
        assert_eq!(weights.layout().low_rank.len(), n_targets);
        for (low_rank, factors) in weights.layout().low_rank.iter().zip(weights.tensors().chunks(2)) {
            let target = low_rank.target;
            assert_eq!(factors[0].name, format!("base_model.model.{}.lora_A.weight", target.name()));
            assert_eq!(factors[0].shape, [r, target.inputs(&model)]);
            assert_eq!(factors[1].shape, [target.outputs(&model), r]);
            let (a, b) = (weights.read_f32(&factors[0].name), weights.read_f32(&factors[1].name));
            let is_fresh = adapter.ends_with("lora_init");
            assert_eq!(b.iter().all(|x| *x == 0.0), is_fresh, "B is zero only before training");
            assert!(a.iter().any(|x| *x != 0.0));
        }
    }
}

#[test]
fn written_adapter_is_read_as_it_was_and_has_the_bytes_of_its_source() {
    let (Some(source), Some(model)) = (fixture("adapters/plain_llama"), fixture("models/llama")) else {
        return;
    };
    if !source.exists() {
        return;
    }
    let model = DecoderConfig::read(&model).unwrap();
    let (config, weights) = open(&source, &model).unwrap();
    let copy = TempDir::new().unwrap();
    write_adapter(copy.path(), &config, &model, |spec| Ok(Cow::Owned(weights.read_f32(&spec.name)))).unwrap();
    let (config_again, weights_again) = open(copy.path(), &model).unwrap();
    assert_eq!(config_again, config);
    assert_eq!(weights_again.tensors(), weights.tensors());
    for TensorSpec { name, .. } in weights.tensors() {
        assert_eq!(weights_again.read_f32(name), weights.read_f32(name));
    }
    // What PEFT wrote and what is written here agree in every key that both have.
    let (theirs, ours) =
        (read_json(&source.join("adapter_config.json")), read_json(&copy.path().join("adapter_config.json")));
    for (key, value) in &ours {
        assert_eq!(Some(value), theirs.get(key), "{key}");
    }
    let [first, _, second, ..] = weights.tensors() else { panic!("14 targets") };
    assert_ne!(weights.read_f32(&first.name), weights.read_f32(&second.name));
}

#[test]
fn all_linear_and_fractional_alpha_are_written_by_name_and_value() {
    let model = model();
    let dir = TempDir::new().unwrap();
    let config = AdapterConfig {
        r: 2,
        lora_alpha: 2.5,
        lora_dropout_prob: 0.1,
        target_modules: Modules::AllLinear,
        base_model_name_or_path: Some("base".to_owned()),
        ..AdapterConfig::default()
    };
    write_adapter(dir.path(), &config, &model, |spec| Ok(Cow::Owned(vec![1.0; spec.n_elements()]))).unwrap();
    let json = read_json(&dir.path().join("adapter_config.json"));
    assert_eq!(
        json["target_modules"],
        json!(["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"])
    );
    assert_eq!((&json["lora_alpha"], &json["r"]), (&json!(2.5), &json!(2)));
    let (read, weights) = open(dir.path(), &model).unwrap();
    assert_eq!((read.lora_alpha, read.lora_dropout_prob, weights.layout().low_rank.len()), (2.5, 0.1, 14));
}

/// An adapter on the modules that `targets` names.
fn on(targets: Modules) -> AdapterConfig {
    AdapterConfig { r: 2, target_modules: targets, ..AdapterConfig::default() }
}

fn targets(config: &AdapterConfig) -> Vec<String> {
    let layout = Layout::of(config, &model(), Named::InFile).unwrap();
    layout.low_rank.iter().map(|part| part.target.name()).collect()
}

#[test]
fn targets_are_matched_by_whole_parts_of_names() {
    let count = |names: &[&str]| targets(&on(named(names))).len();
    assert_eq!(targets(&on(Modules::AllLinear)).len(), 14);
    assert_eq!(count(&["q_proj"]), 2);
    assert_eq!(count(&["q_proj", "v_proj", "self_attn.q_proj"]), 4);
    assert_eq!(count(&["layers.1.mlp.up_proj"]), 1);
    assert_eq!(count(&["model.layers.0.self_attn.o_proj"]), 1);
    assert_eq!(targets(&on(named(&["lm_head", "embed_tokens"]))), ["model.embed_tokens", "lm_head"]);
    let cases = [
        (
            "proj",
            "`proj` is no linear of this model; choose from q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, embed_tokens, lm_head",
        ),
        ("self_attn", "`self_attn` is no linear"),
        ("layers.2.self_attn.q_proj", "is no linear of this model"),
        ("", "`` is no linear"),
        ("norm", "`norm` is no linear"),
    ];
    for (name, expected) in cases {
        let config = on(named(&["q_proj", name]));
        let problems = Layout::of(&config, &model(), Named::InSpec).unwrap_err();
        assert!(text(&problems).contains(expected), "{}", text(&problems));
        assert_eq!((problems.len(), problems[0].kind), (1, ProblemKind::InvalidValue));
        // PEFT is content if one of several fits.
        assert_eq!(targets(&config).len(), 2);
        let problems = Layout::of(&on(named(&[name])), &model(), Named::InFile).unwrap_err();
        assert!(text(&problems).contains(expected), "{}", text(&problems));
    }
    let nothing = Layout::of(&on(named(&[])), &model(), Named::InFile).unwrap_err();
    assert!(text(&nothing).contains("names no module; choose from"), "{}", text(&nothing));
}

#[test]
fn targets_are_matched_as_in_peft() {
    // Checked against `check_target_module_exists` of peft 0.21.2.
    let pattern = |text: &str| Modules::Pattern(text.to_owned());
    let layers =
        |layers: &[usize], config| AdapterConfig { layers_to_transform: Some(layers.to_vec()), ..config };
    let q_and_v = || on(named(&["q_proj", "v_proj"]));
    assert_eq!(targets(&on(pattern(r".*\.1\..*(q|v)_proj"))).len(), 2);
    assert_eq!(targets(&on(pattern(r".*embed_tokens|lm_head"))), ["model.embed_tokens", "lm_head"]);
    assert_eq!(targets(&layers(&[1], q_and_v())).len(), 2);
    assert_eq!(targets(&layers(&[0, 1, 7], q_and_v())).len(), 4);
    assert_eq!(targets(&layers(&[], q_and_v())).len(), 4);
    // A full name is taken whatever the layers; what is in no layer is left out.
    let full = on(named(&["model.layers.0.self_attn.q_proj", "v_proj", "lm_head", "embed_tokens"]));
    assert_eq!(
        targets(&layers(&[1], full)),
        ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj", "lm_head"]
    );
    let of_pattern =
        |name: &str| AdapterConfig { layers_pattern: vec![name.to_owned()], ..layers(&[1], q_and_v()) };
    assert_eq!(targets(&of_pattern("layers")).len(), 2);
    let nothing = Layout::of(&of_pattern("blocks"), &model(), Named::InFile).unwrap_err();
    assert!(text(&nothing).contains("no module is left that would get an adapter"), "{}", text(&nothing));
    let without = |modules| AdapterConfig { exclude_modules: Some(modules), ..q_and_v() };
    assert_eq!(targets(&without(named(&["layers.0.self_attn.q_proj"]))).len(), 3);
    assert_eq!(targets(&without(pattern(r".*\.0\..*"))).len(), 2);
    let saving = |names: &[&str]| AdapterConfig {
        modules_to_save: names.iter().map(|name| (*name).to_owned()).collect(),
        ..on(named(&["q_proj", "lm_head"]))
    };
    assert_eq!(targets(&saving(&["lm_head"])).len(), 2);
    assert_eq!(targets(&saving(&["norm"])).len(), 3);
    // "norm" ends the names of all of them.
    let saved = |names: &[&str]| {
        let layout = Layout::of(&saving(names), &model(), Named::InFile).unwrap();
        layout.saved.into_iter().map(|module| module.tensor).collect::<Vec<_>>()
    };
    assert_eq!(saved(&["norm"]).len(), 5);
    assert_eq!(saved(&["model.norm", "lm_head"]), ["model.norm.weight", "lm_head.weight"]);
    assert_eq!(saved(&["embed_tokens"]), ["model.embed_tokens.weight"]);
}

#[test]
fn ranks_and_scales_follow_the_first_pattern_that_fits_the_end_of_a_name() {
    // As `get_pattern_key` of peft 0.21.2.
    let config = AdapterConfig {
        lora_alpha: 16.0,
        rank_pattern: vec![("layers.1.mlp.down_proj".to_owned(), 3), ("down_proj|q_proj".to_owned(), 5)],
        alpha_pattern: vec![("proj".to_owned(), 1.0), (".*_proj".to_owned(), 4.0)],
        ..on(named(&["q_proj", "down_proj", "lm_head"]))
    };
    let of = |config: &AdapterConfig| {
        let layout = Layout::of(config, &model(), Named::InFile).unwrap();
        layout.low_rank.iter().map(|part| (part.target.short_name(), part.r, part.scale)).collect::<Vec<_>>()
    };
    let [q, down, lm_head] = ["q_proj", "down_proj", "lm_head"].map(str::to_owned);
    let expected = [
        (q.clone(), 5, 4.0 / 5.0),
        (down.clone(), 5, 4.0 / 5.0),
        (q.clone(), 5, 4.0 / 5.0),
        (down, 3, 4.0 / 3.0),
        (lm_head, 2, 8.0),
    ];
    assert_eq!(of(&config), expected);
    let root = AdapterConfig { scale: LoraScale::ByRootOfRank, ..config };
    assert_eq!(of(&root)[0], (q, 5, 4.0 / 5f64.sqrt()));
}

#[test]
fn names_in_a_spec_that_change_nothing_are_refused() {
    let q = || on(named(&["q_proj"]));
    let ranks = |name: &str| AdapterConfig { rank_pattern: vec![(name.to_owned(), 1)], ..q() };
    let saving = |name: &str| AdapterConfig { modules_to_save: vec![name.to_owned()], ..q() };
    let can_save = "choose from embed_tokens, input_layernorm, lm_head, norm, post_attention_layernorm";
    let cases = [
        (
            ranks("v_proj"),
            ProblemKind::InvalidValue,
            "rank_pattern: `v_proj` fits no module that gets an adapter; name one as `q_proj` or `layers.0.self_attn.q_proj`".to_owned(),
        ),
        (
            ranks("("),
            ProblemKind::InvalidValue,
            "rank_pattern: `(` is no regular expression that this program reads".to_owned(),
        ),
        (
            AdapterConfig { alpha_pattern: vec![("layers.9.self_attn.q_proj".to_owned(), 1.0)], ..q() },
            ProblemKind::InvalidValue,
            "alpha_pattern: `layers.9.self_attn.q_proj` fits no module that gets an adapter; name one as `q_proj` or `layers.0.self_attn.q_proj`".to_owned(),
        ),
        (
            AdapterConfig { layers_to_transform: Some(vec![0, 2]), ..q() },
            ProblemKind::InvalidValue,
            "layers_to_transform: layer 2 is not there: the model has 2 layers; choose from 0 to 1".to_owned(),
        ),
        (
            saving("head"),
            ProblemKind::InvalidValue,
            String::new(),
        ),
        (
            saving("wte"),
            ProblemKind::InvalidValue,
            format!("modules_to_save: `wte` is no module of this model that can be saved; {can_save}"),
        ),
        (
            saving("o_proj"),
            ProblemKind::NotAvailable,
            format!("modules_to_save: `o_proj` can't be trained in full beside an adapter in this version; {can_save}"),
        ),
        (
            saving("mlp"),
            ProblemKind::NotAvailable,
            format!("modules_to_save: `mlp` can't be trained in full beside an adapter in this version; {can_save}"),
        ),
        (
            AdapterConfig { variant: LoraVariant::Dora, ..on(named(&["q_proj", "embed_tokens"])) },
            ProblemKind::NotAvailable,
            "target_modules: DoRA on `embed_tokens` is not available in this version".to_owned(),
        ),
    ];
    for (config, kind, expected) in cases {
        match Layout::of(&config, &model(), Named::InSpec) {
            // "head" ends `lm_head`, which PEFT takes, too.
            Ok(layout) => assert!(expected.is_empty() && layout.saved.len() == 1, "{config:?}"),
            Err(problems) => {
                let told: Vec<_> = problems.iter().map(|problem| format!("{problem}")).collect();
                assert!(told.iter().any(|told| told.contains(&expected)), "{told:?} without {expected}");
                assert_eq!(problems[0].kind, kind, "{told:?}");
                assert_eq!(problems.len(), 1, "{told:?}");
            }
        }
    }
}

#[test]
fn every_kind_of_config_is_written_and_read_again() {
    let model = model();
    let config = AdapterConfig {
        r: 2,
        lora_alpha: 3.0,
        lora_dropout_prob: 0.1,
        target_modules: Modules::Pattern(r".*\.(q|v)_proj|lm_head".to_owned()),
        exclude_modules: Some(named(&["layers.0.self_attn.q_proj"])),
        scale: LoraScale::ByRootOfRank,
        variant: LoraVariant::Dora,
        rank_pattern: vec![("v_proj".to_owned(), 3)],
        alpha_pattern: vec![("q_proj".to_owned(), 0.5), ("lm_head".to_owned(), 4.0)],
        layers_to_transform: Some(vec![1, 0]),
        layers_pattern: vec!["layers".to_owned()],
        modules_to_save: vec!["embed_tokens".to_owned()],
        kept: Vec::new(),
        base_model_name_or_path: Some("base".to_owned()),
    };
    let dir = TempDir::new().unwrap();
    write_adapter(dir.path(), &config, &model, |spec| Ok(Cow::Owned(vec![0.5; spec.n_elements()]))).unwrap();
    let (read, weights) = open(dir.path(), &model).unwrap();
    assert_eq!(read, config);
    assert_eq!(weights.layout(), &Layout::of(&config, &model, Named::InFile).unwrap());
    let names: Vec<&str> = weights.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert!(names.contains(&"base_model.model.model.embed_tokens.weight"), "{names:?}");
    assert!(
        names.contains(&"base_model.model.model.layers.1.self_attn.v_proj.lora_magnitude_vector"),
        "{names:?}"
    );
}

/// An adapter of rank 2 on `q_proj` and `down_proj`.
fn small_adapter() -> TempDir {
    let dir = TempDir::new().unwrap();
    let config = AdapterConfig {
        r: 2,
        lora_alpha: 4.0,
        target_modules: named(&["q_proj", "down_proj"]),
        ..AdapterConfig::default()
    };
    let model = model();
    write_adapter(dir.path(), &config, &model, |spec| Ok(Cow::Owned(vec![0.5; spec.n_elements()]))).unwrap();
    dir
}

#[test]
fn configs_that_ask_for_what_is_not_there_are_refused_by_name() {
    let unavailable = [
        ("fan_in_fan_out", json!(true), "`fan_in_fan_out` is true, which"),
        ("lora_bias", json!(true), "`lora_bias` is true, which"),
        ("trainable_token_indices", json!([1]), "`trainable_token_indices` is [1], which"),
        ("target_parameters", json!(["w"]), "`target_parameters` is [\"w\"], which"),
        ("layer_replication", json!([[0, 1]]), "`layer_replication` is [[0,1]], which"),
        ("bias", json!("all"), "`bias` is \"all\", but only \"none\" can be used"),
        ("peft_type", json!("IA3"), "`peft_type` is `IA3`, but only LORA can be used"),
        ("task_type", json!("SEQ_CLS"), "`task_type` is \"SEQ_CLS\", but only CAUSAL_LM can be used"),
        (
            "init_lora_weights",
            json!("pissa_niter_4"),
            "`init_lora_weights` is \"pissa_niter_4\", a start that changes the base's weights; convert it",
        ),
        ("use_later", json!(3), "`use_later` is 3, a key that this version does not know"),
    ];
    let broken = [
        ("peft_type", json!(null), "has no `peft_type`"),
        ("r", json!(0), "`r` is 0, but must be a whole number from 1 to 65536"),
        ("r", json!(-8), "`r` is -8, but must be"),
        ("r", json!(1u64 << 40), "`r` is 1099511627776, but must be"),
        ("lora_alpha", json!(0), "`lora_alpha` is 0, but must be a number above 0"),
        ("lora_alpha", json!("16"), "`lora_alpha` is \"16\", but must be a number above 0"),
        ("lora_dropout", json!(1.0), "`lora_dropout` is 1.0, but must be a probability from 0 to below 1"),
        ("target_modules", json!(null), "`target_modules` is missing, but must be a list of module names"),
        ("target_modules", json!([]), "`target_modules` is [], but must be a list"),
        ("target_modules", json!([1]), "`target_modules` is [1], but must be a list"),
        ("use_dora", json!("yes"), "`use_dora` is \"yes\", but must be true or false"),
        (
            "rank_pattern",
            json!({"q_proj": 0}),
            "`rank_pattern.q_proj` is 0, but must be a whole number from 1",
        ),
        (
            "alpha_pattern",
            json!({"q_proj": -1}),
            "`alpha_pattern.q_proj` is -1, but must be a number above 0",
        ),
        (
            "alpha_pattern",
            json!(["q_proj"]),
            "`alpha_pattern` is [\"q_proj\"], but must be a table of module names",
        ),
        (
            "layers_to_transform",
            json!([-1]),
            "`layers_to_transform` is [-1], but must be layers counted from 0",
        ),
        ("layers_pattern", json!(3), "`layers_pattern` is 3, but must be a list of module names"),
        ("modules_to_save", json!("lm_head"), "`modules_to_save` is \"lm_head\", but must be a list"),
        ("exclude_modules", json!([1]), "`exclude_modules` is [1], but must be a list"),
    ];
    let cases = unavailable
        .map(|case| (case, ProblemKind::NotAvailable))
        .into_iter()
        .chain(broken.map(|case| (case, ProblemKind::BrokenAdapter)));
    for ((key, value, expected), kind) in cases {
        let dir = small_adapter();
        let path = dir.path().join("adapter_config.json");
        set_key(&path, key, value);
        let problems = AdapterConfig::read(dir.path()).unwrap_err();
        assert!(text(&problems).contains(expected), "{key}: {}", text(&problems));
        assert_eq!((problems.len(), problems[0].kind), (1, kind), "{}", text(&problems));
    }
    let dir = small_adapter();
    for init in [json!(true), json!(false), json!("gaussian"), json!(null)] {
        set_key(&dir.path().join("adapter_config.json"), "init_lora_weights", init);
        AdapterConfig::read(dir.path()).unwrap();
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let model = model();
    let refusal = |dir: &Path| text(&open(dir, &model).unwrap_err());
    let with_key = |key: &str, value| {
        let dir = small_adapter();
        set_key(&dir.path().join("adapter_config.json"), key, value);
        refusal(dir.path())
    };
    open(small_adapter().path(), &model).unwrap();

    let message = with_key("r", json!(4));
    assert!(message.contains("adapter_model.safetensors: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` has shape [2, 16], expected [4, 16]"), "{message}");
    let message = with_key("target_modules", json!(["q_proj", "k_proj", "down_proj"]));
    assert!(
        message
            .contains("tensor `base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight` is missing"),
        "{message}"
    );
    let message = with_key("target_modules", json!(["q_proj"]));
    assert!(message.contains("has a tensor `base_model.model.model.layers.0.mlp.down_proj.lora_A.weight` that does not belong there"), "{message}");
    let message = with_key("target_modules", json!(["c_attn"]));
    assert!(
        message.contains(
            "adapter_config.json: target_modules: `c_attn` is no linear of this model; choose from"
        ),
        "{message}"
    );

    let dir = small_adapter();
    let weights = dir.path().join("adapter_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 4]).unwrap();
    let problems = open(dir.path(), &model).unwrap_err();
    assert!(text(&problems).contains("is cut off: its header promises"), "{}", text(&problems));
    assert_eq!(problems[0].kind, ProblemKind::BrokenAdapter);

    fs::remove_file(&weights).unwrap();
    assert!(
        refusal(dir.path()).contains("adapter_model.safetensors: does not exist"),
        "{}",
        refusal(dir.path())
    );
    fs::write(dir.path().join("adapter_model.bin"), b"\x80").unwrap();
    assert!(
        refusal(dir.path())
            .contains("only as `adapter_model.bin`, a pickle, which is never read; convert it"),
        "{}",
        refusal(dir.path())
    );
    fs::write(dir.path().join("adapter_config.json"), b"{").unwrap();
    assert!(refusal(dir.path()).contains("adapter_config.json: is not JSON"), "{}", refusal(dir.path()));
    fs::remove_file(dir.path().join("adapter_config.json")).unwrap();
    assert!(refusal(dir.path()).contains("adapter_config.json: does not exist"), "{}", refusal(dir.path()));
}

#[test]
fn adapter_of_another_model_is_refused() {
    let (Some(adapter), Some(model)) = (data("parity/lora_init"), fixture("models/llama")) else { return };
    let model = DecoderConfig::read(&model).unwrap();
    let problems = open(&adapter, &model).unwrap_err();
    let message = text(&problems);
    let width = model.intermediate_size;
    let expected = format!("layers.0.mlp.gate_proj.lora_B.weight` has shape [172, 8], expected [{width}, 8]");
    assert!(message.contains(&expected), "{message}");
    assert!(message.contains("layers.4.mlp.up_proj.lora_B.weight` that does not belong there"), "{message}");
}
