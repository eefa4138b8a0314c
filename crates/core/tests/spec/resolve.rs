use std::collections::BTreeMap;
use std::path::PathBuf;

use ftl_core::spec::JobSpec;
use ftl_core::spec::resolved::{
    AdamW, Adapter, CheckedSpec, Checkpointing, DataFormat, DeviceKind, DpoLoss, Duration, Eval, Every,
    ExcessLength, FinalWeights, LearnsFrom, Lora, LoraExpectation, LoraScale, LoraShape, LoraVariant, LossOn,
    Method, ModelDtype, ModelInit, PredictionTimes, Predictions, Rows, SampleOrder, Schedule, TargetModules,
    Warmup, Wsd, WsdShape,
};
use proptest::prelude::{ProptestConfig, Strategy, any, proptest};
use serde_json::{Value, json};

use super::{merge, minimal, patched};

fn checked(patch: &Value) -> CheckedSpec {
    patched(patch).check().unwrap_or_else(|problems| panic!("{patch} is refused: {problems:?}"))
}

/// A patch for each part of the spec that resolves to something else than its default.
fn variants() -> Vec<Value> {
    let schedule = |kind: &str, kwargs: Value| json!({ "train": { "lr_scheduler_type": kind, "lr_scheduler_kwargs": kwargs } });
    vec![
        json!({}),
        json!({ "name": "Überraschung \"1\"" }),
        json!({ "model": { "init": "random", "dtype": "f32" } }),
        json!({ "data": { "train": ["/a b.jsonl", { "path": "/c", "max_samples": 7 }], "max_samples": 9 } }),
        json!({ "data": { "train": ["/a", { "path": "/b", "weight": 0.5 }] } }),
        json!({ "data": { "packing": true } }),
        json!({ "data": { "packing": true, "shuffle": false } }),
        json!({ "train": { "group_by_length": true } }),
        json!({ "data": { "eval": { "fraction": 0.05 } }, "train": { "eval_steps": 10 } }),
        json!({ "data": { "eval": { "path": "/e.jsonl" } } }),
        json!({ "data": { "eval": { "path": "/e.jsonl" } }, "predictions": {} }),
        json!({ "data": { "eval": { "path": "/e.jsonl" } }, "predictions": { "count": 2, "every_steps": 9 } }),
        json!({ "data": { "eval": { "path": "/e.jsonl" } }, "train": { "load_best_model_at_end": true } }),
        json!({ "data": { "eval": { "path": "/e.jsonl" } }, "train": { "early_stopping_patience": 2 } }),
        json!({ "data": { "eval": { "path": "/e.jsonl" } }, "train": { "eval_steps": 0 } }),
        json!({ "data": { "max_length": 512, "excess_length_strategy": "split", "format": "text", "shuffle": false } }),
        json!({ "data": { "assistant_only_loss": false, "chat_template": "/t.jinja" } }),
        json!({ "method": { "kind": "cpt" } }),
        json!({ "method": { "kind": "dpo" }, "data": { "format": "preference" } }),
        json!({ "method": { "kind": "dpo", "beta": 0.3, "loss_type": "ipo" } }),
        json!({ "method": { "kind": "dpo", "loss_type": "hinge" } }),
        json!({ "method": { "kind": "dpo", "loss_type": "cdpo", "label_smoothing": 0.1 } }),
        json!({ "method": { "kind": "orpo", "beta": 0.25 }, "data": { "format": "tokens" } }),
        json!({ "adapter": { "kind": "none" } }),
        json!({ "adapter": { "r": 4, "lora_alpha": 1.5, "lora_dropout": 0.1, "target_modules": "q_proj" } }),
        json!({ "adapter": { "target_modules": ["q_proj", "v_proj"] } }),
        json!({ "adapter": { "init_from": "/adapter" } }),
        json!({ "adapter": { "init_from": "/adapter", "r": 4, "lora_alpha": 8, "target_modules": "all-linear" } }),
        json!({ "quantization": { "kind": "nf4" } }),
        json!({ "train": { "optim": "adamw_8bit" } }),
        json!({ "quantization": { "kind": "nf4", "double_quant": false } }),
        json!({ "adapter": { "use_rslora": true } }),
        json!({ "adapter": { "use_dora": true } }),
        json!({ "adapter": { "rank_pattern": { "q_proj": 4 } } }),
        json!({ "adapter": { "alpha_pattern": { "q_proj": 4 } } }),
        json!({ "adapter": { "layers_to_transform": [0, 2] } }),
        json!({ "adapter": { "modules_to_save": ["embed_tokens", "lm_head"] } }),
        json!({ "adapter": { "init_from": "/adapter", "use_rslora": true } }),
        json!({ "adapter": { "init_from": "/adapter", "use_dora": false } }),
        json!({ "adapter": { "init_from": "/adapter", "rank_pattern": {}, "alpha_pattern": { "q_proj": 4 } } }),
        json!({ "adapter": { "init_from": "/adapter", "layers_to_transform": 1, "modules_to_save": [] } }),
        json!({ "train": { "max_steps": 12, "num_train_epochs": 2 } }),
        json!({ "train": { "neftune_noise_alpha": 5 } }),
        json!({ "train": { "num_train_epochs": 0.25, "warmup_steps": 0.03 } }),
        json!({ "train": { "warmup_steps": 10.0, "max_grad_norm": 0, "seed": i64::MAX } }),
        json!({ "train": { "logging_steps": 0, "save_steps": 0, "save_total_limit": 1 } }),
        json!({ "train": { "save_steps": 100, "gradient_checkpointing": "block" } }),
        json!({ "device": { "kind": "cuda:1" } }),
        json!({ "train": { "lr_scheduler_type": "constant" } }),
        json!({ "train": { "lr_scheduler_type": "constant_with_warmup", "warmup_steps": 3 } }),
        json!({ "train": { "lr_scheduler_type": "linear" } }),
        schedule("cosine", json!({ "num_cycles": 1.5 })),
        schedule("cosine_with_restarts", json!({ "num_cycles": 4 })),
        schedule("cosine_with_min_lr", json!({ "min_lr_rate": 0.1 })),
        schedule("cosine_with_min_lr", json!({ "min_lr": 1e-5 })),
        schedule("polynomial", json!({ "power": 2, "lr_end": 0 })),
        schedule("inverse_sqrt", json!({})),
        schedule("inverse_sqrt", json!({ "timescale": 100 })),
        schedule("wsd", json!({ "num_decay_steps": 5 })),
        schedule(
            "wsd",
            json!({ "num_decay_steps": 5, "num_stable_steps": 0, "warmup_type": "cosine", "decay_type": "1-sqrt", "min_lr_ratio": 0.1 }),
        ),
    ]
}

#[test]
fn every_default_is_the_documented_one() {
    let CheckedSpec { name, model, data, method, adapter, train, predictions, device, .. } =
        checked(&json!({}));
    assert_eq!(predictions, None);
    assert_eq!(name, "tiny-train");
    assert_eq!((model.dtype, model.init), (ModelDtype::Auto, ModelInit::Pretrained));
    assert_eq!((data.format, data.eval), (DataFormat::Auto, Eval::Never));
    assert_eq!((data.max_length, data.max_samples, data.chat_template), (None, None, None));
    assert_eq!(data.excess_length_strategy, ExcessLength::Error);
    assert_eq!((data.loss_on, data.order), (LossOn::AssistantTokens, SampleOrder::Shuffled));
    assert_eq!((data.rows, data.train[0].weight), (Rows::Samples, None));
    assert_eq!(method, Method::Sft);
    let shape = LoraShape {
        r: 16,
        lora_alpha: 32.0,
        lora_dropout_prob: 0.0,
        target_modules: TargetModules::AllLinear,
        scale: LoraScale::ByRank,
        variant: LoraVariant::Plain,
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        layers_to_transform: None,
        modules_to_save: Vec::new(),
    };
    assert_eq!(adapter, Adapter::Lora(Lora::Fresh(shape)));
    assert_eq!(train.duration, Duration::Epochs(3.0));
    assert_eq!((train.per_device_train_batch_size, train.gradient_accumulation_steps), (4, 1));
    assert_eq!(train.schedule, Schedule::Cosine { num_cycles: 0.5 });
    assert_eq!(train.warmup, Warmup::Steps(0));
    assert_eq!(train.adamw, AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 });
    assert_eq!((train.max_grad_norm, train.seed), (Some(1.0), 42));
    assert_eq!(train.neftune_noise_alpha, None);
    assert_eq!(train.gradient_checkpointing, Checkpointing::Auto);
    assert_eq!((train.logging, train.eval, train.save), (Every::Steps(1), Every::Never, Every::Epoch));
    assert_eq!(train.save_total_limit, Some(3));
    assert_eq!((train.result, train.early_stopping_patience), (FinalWeights::Last, None));
    assert_eq!(device.kind, DeviceKind::Auto);
}

#[test]
fn default_learning_rate_follows_method_and_adapter() {
    for (method, adapter, rate) in [
        ("sft", "lora", 2e-4),
        ("sft", "none", 2e-5),
        ("cpt", "lora", 2e-5),
        ("cpt", "none", 2e-5),
        ("dpo", "lora", 5e-6),
        ("dpo", "none", 5e-6),
        ("orpo", "lora", 8e-6),
        ("orpo", "none", 8e-6),
    ] {
        let spec = checked(&json!({ "method": { "kind": method }, "adapter": { "kind": adapter } }));
        assert_eq!(spec.train.learning_rate, rate, "{method} {adapter}");
    }
}

#[test]
fn preference_methods_resolve_with_what_they_need() {
    let method = |patch: Value| checked(&json!({ "method": patch })).method;
    for (patch, expected) in [
        (json!({ "kind": "dpo" }), Method::Dpo { beta: 0.1, loss: DpoLoss::Sigmoid }),
        (
            json!({ "kind": "dpo", "beta": 0.5, "loss_type": "cdpo" }),
            Method::Dpo { beta: 0.5, loss: DpoLoss::Cdpo { label_smoothing: 0.0 } },
        ),
        (json!({ "kind": "orpo" }), Method::Orpo { beta: 0.1 }),
    ] {
        assert_eq!(method(patch), expected);
        assert_eq!(expected.learns_from(), LearnsFrom::Pairs);
    }
    assert_eq!(method(json!({})).learns_from(), LearnsFrom::Texts);
}

#[test]
fn default_name_comes_from_model_and_data() {
    for (model, data, name) in [
        ("/models/Qwen3-0.6B", "/data/alpaca.train.jsonl", "Qwen3-0.6B-alpaca.train"),
        ("/", "/data/a.jsonl", "a"),
        ("/", "/", "run"),
        ("/models/a\nb", "/c.jsonl", "ab-c"),
    ] {
        assert_eq!(checked(&json!({ "model": { "path": model }, "data": { "train": data } })).name, name);
    }
    let long = checked(&json!({ "model": { "path": "m".repeat(90) }, "data": { "train": "d".repeat(90) } }));
    assert_eq!(long.name.len(), 100);
}

#[test]
fn keys_resolve_to_what_they_mean() {
    let train =
        |patch: Value| checked(&json!({ "data": { "eval": { "fraction": 0.1 } }, "train": patch })).train;
    assert_eq!(train(json!({ "max_steps": 7, "num_train_epochs": 2 })).duration, Duration::Steps(7));
    assert_eq!(train(json!({})).eval, Every::Epoch);
    assert_eq!(train(json!({ "eval_steps": 0 })).eval, Every::Never);
    assert_eq!(train(json!({ "eval_steps": 9 })).eval, Every::Steps(9));
    let predictions = |patch: Value| {
        checked(&json!({ "data": { "eval": { "fraction": 0.1 } }, "predictions": patch })).predictions
    };
    let usual = Predictions { count: 5, times: PredictionTimes::Evaluations, max_new_tokens: 256 };
    assert_eq!(predictions(json!({})), Some(usual));
    assert_eq!(predictions(json!({ "count": 0 })), None);
    let often = Predictions { times: PredictionTimes::Steps(3), ..usual };
    assert_eq!(predictions(json!({ "every_steps": 3 })), Some(often));
    assert_eq!(train(json!({ "max_grad_norm": 0 })).max_grad_norm, None);
    for (given, warmup) in [
        (json!(0), Warmup::Steps(0)),
        (json!(0.0), Warmup::Steps(0)),
        (json!(0.5), Warmup::Fraction(0.5)),
        (json!(1), Warmup::Steps(1)),
        (json!(1.0), Warmup::Steps(1)),
        (json!(100), Warmup::Steps(100)),
    ] {
        assert_eq!(train(json!({ "warmup_steps": given })).warmup, warmup, "{given}");
    }
    assert_eq!(checked(&json!({ "method": { "kind": "cpt" } })).data.loss_on, LossOn::AllTokens);
}

#[test]
fn adapter_to_go_on_from_keeps_what_was_said_beside_it() {
    let from = |patch: Value| match checked(&json!({ "adapter": patch })).adapter {
        Adapter::Lora(Lora::From { path, expected, .. }) => (path, expected),
        other => panic!("{other:?}"),
    };
    let path = PathBuf::from("/adapter");
    assert_eq!(from(json!({ "init_from": "/adapter" })), (path.clone(), LoraExpectation::default()));
    let expected = LoraExpectation {
        r: Some(8),
        target_modules: Some(TargetModules::Named(vec!["q".into()])),
        variant: Some(LoraVariant::Plain),
        ..LoraExpectation::default()
    };
    let said = json!({ "init_from": "/adapter", "r": 8, "target_modules": "q", "use_dora": false });
    assert_eq!(from(said), (path, expected));
}

#[test]
fn schedules_resolve_with_the_defaults_of_transformers() {
    let schedule = |kind: &str, kwargs: Value| {
        checked(&json!({ "train": { "lr_scheduler_type": kind, "lr_scheduler_kwargs": kwargs } }))
            .train
            .schedule
    };
    for (kind, kwargs, expected) in [
        ("cosine_with_restarts", json!({}), Schedule::CosineWithRestarts { num_cycles: 1 }),
        (
            "cosine_with_min_lr",
            json!({ "min_lr": 1e-4 }),
            Schedule::CosineWithMinLr { min_lr_rate: 0.5, num_cycles: 0.5 },
        ),
        ("polynomial", json!({}), Schedule::Polynomial { lr_end: 1e-7, power: 1.0 }),
        ("inverse_sqrt", json!({}), Schedule::InverseSqrt { timescale: None }),
        (
            "wsd",
            json!({ "num_decay_steps": 3 }),
            Schedule::Wsd(Wsd {
                num_stable_steps: None,
                num_decay_steps: 3,
                warmup_type: WsdShape::Linear,
                decay_type: WsdShape::Cosine,
                min_lr_ratio: 0.0,
                num_cycles: 0.5,
            }),
        ),
    ] {
        assert_eq!(schedule(kind, kwargs), expected);
    }
}

/// The same spec through `to_spec`, JSON, TOML and YAML (which reads JSON).
fn assert_comes_back(spec: &CheckedSpec) {
    assert_eq!(spec.to_spec().check().as_ref(), Ok(spec));
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [("s.json", spec.to_json()), ("s.toml", spec.to_toml()), ("s.yaml", spec.to_json())] {
        let path = folder.path().join(name);
        std::fs::write(&path, &text).expect("a written file");
        let read = JobSpec::read(&path).unwrap_or_else(|problems| panic!("{name}: {problems:?}\n{text}"));
        assert_eq!(read.check().as_ref(), Ok(spec), "{name}:\n{text}");
    }
}

#[test]
fn resolved_spec_comes_back_as_itself() {
    let mut seen = Vec::new();
    for variant in variants() {
        let spec = checked(&variant);
        assert_comes_back(&spec);
        assert!(!seen.contains(&spec), "{variant} should differ from the variants before");
        seen.push(spec);
    }
}

#[test]
fn resolved_spec_writes_every_default_out() {
    let spec: Value = serde_json::from_str(&checked(&json!({})).to_json()).expect("JSON");
    assert_eq!(spec["train"]["learning_rate"], json!(2e-4));
    assert_eq!(spec["adapter"]["target_modules"], json!("all-linear"));
    assert_eq!(spec["data"]["train"], json!(["/data/train.jsonl"]));
    assert_eq!(spec["quantization"]["kind"], json!("none"));
    let nf4: Value = serde_json::from_str(&checked(&json!({ "quantization": { "kind": "nf4" } })).to_json())
        .expect("JSON");
    assert_eq!(nf4["quantization"], json!({ "kind": "nf4", "double_quant": true }));
    // These have no value that says what their default is.
    let schema = JobSpec::json_schema();
    for (section, absent) in
        [("train", vec!["max_steps", "save_steps"]), ("model", vec![]), ("device", vec!["max_memory"])]
    {
        let name = format!("{}{}Spec", section[..1].to_uppercase(), &section[1..]);
        let keys = schema["$defs"][&name]["properties"].as_object().expect("a table");
        let missing: Vec<_> = keys.keys().filter(|key| spec[section].get(key).is_none()).collect();
        assert_eq!(missing, absent, "{section}");
    }
}

proptest! {
    // A failure is to become a case of its own in a table, not a file of seeds.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_accepted_spec_comes_back_as_itself(
        patch in patches(),
        epochs in 0.001..1e6_f64,
        rate in 1e-12..1.0_f64,
        seed in any::<u64>(),
        steps in any::<u64>(),
        warmup in 0.0..1e6_f64,
        alpha in any::<f64>(),
        name in any::<String>(),
    ) {
        let mut spec = JobSpec::from_value(patch).expect("variants are readable");
        spec.name = Some(name);
        spec.train.num_train_epochs = Some(epochs);
        spec.train.learning_rate = Some(rate);
        spec.train.seed = Some(seed);
        spec.train.save_steps = Some(steps >> 24);
        spec.train.warmup_steps = Some(Warmup::Fraction(if seed.is_multiple_of(2) { warmup.floor() } else { warmup / 1e6 }));
        if spec.adapter.lora_alpha.is_some() {
            spec.adapter.lora_alpha = Some(alpha);
        }
        if let Ok(spec) = spec.check() {
            assert_comes_back(&spec);
        }
    }
}

fn patches() -> impl Strategy<Value = Value> {
    proptest::sample::select(variants()).prop_map(|patch| {
        let mut tree = minimal();
        merge(&mut tree, &patch);
        tree
    })
}
