//! Kinds of adapters through whole runs: what is trained, what goes on from what, and added tokens.

use std::collections::BTreeMap;
use std::fs;

use ftl_core::Event;
use ftl_trainer::adapter::open::attach_directory;
use ftl_trainer::model::decoder::Decoder;
use ftl_trainer::train::Begin;
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::job::{Job, VOCAB};

/// An adapter with all that can be asked for.
fn rich() -> Value {
    json!({
        "kind": "lora", "r": 4, "lora_alpha": 8, "use_dora": true, "use_rslora": true,
        "target_modules": ["q_proj", "v_proj", "down_proj"], "rank_pattern": {"v_proj": 2},
        "alpha_pattern": {"layers.1.mlp.down_proj": 3}, "layers_to_transform": [1], "modules_to_save": ["lm_head", "norm"],
    })
}

fn job(adapter: Value) -> Job {
    Job::small(8).set("adapter", adapter).set("train.max_steps", 3)
}

/// The tensors of a safetensors file as f32, by name.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let file = SafeTensors::deserialize(bytes).expect("safetensors");
    let read = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
        let values =
            tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (name, (tensor.shape().to_vec(), values))
    };
    file.tensors().into_iter().map(read).collect()
}

#[test]
fn the_file_holds_what_was_asked_for_and_all_of_it_was_trained() {
    let [start, end] = [0.0, 1e-2].map(|rate| {
        // A rate of zero is refused; a schedule that starts there is not.
        let job = job(rich()).set("train.learning_rate", 1e-2);
        let job = if rate == 0.0 { job.set("train.max_steps", 1).set("train.warmup_steps", 1) } else { job };
        job.finish("out", Begin::New);
        tensors(&job.weights("out"))
    });
    let layer = "base_model.model.model.layers.1";
    let mut expected = Vec::new();
    for (module, r, out, inputs) in
        [("self_attn.q_proj", 4, 32, 32), ("self_attn.v_proj", 2, 16, 32), ("mlp.down_proj", 4, 32, 48)]
    {
        expected.push((format!("{layer}.{module}.lora_A.weight"), vec![r, inputs]));
        expected.push((format!("{layer}.{module}.lora_B.weight"), vec![out, r]));
        expected.push((format!("{layer}.{module}.lora_magnitude_vector"), vec![out]));
    }
    for index in [0, 1] {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            expected.push((format!("base_model.model.model.layers.{index}.{norm}.weight"), vec![32]));
        }
    }
    expected.push(("base_model.model.model.norm.weight".to_owned(), vec![32]));
    expected.push(("base_model.model.lm_head.weight".to_owned(), vec![VOCAB as usize, 32]));
    expected.sort();
    let shapes: Vec<_> = end.iter().map(|(name, (shape, _))| (name.clone(), shape.clone())).collect();
    assert_eq!(shapes, expected);
    for (name, (_, values)) in &end {
        assert_ne!(values, &start[name].1, "{name} was not trained");
    }
}

#[test]
fn training_goes_on_from_every_kind_of_adapter() {
    let first = job(rich());
    first.finish("out", Begin::New);
    let path = first.path("out/final");
    let mut said = rich();
    said["init_from"] = json!(path);
    for adapter in [json!({"kind": "lora", "init_from": path}), said] {
        let next = job(adapter).set("train.learning_rate", 1e-2);
        next.finish("out", Begin::New);
        assert_ne!(next.weights("out"), first.weights("out"));
        let read = |job: &Job, name: &str| -> Value {
            serde_json::from_slice(&job.result("out")[name]).expect("JSON")
        };
        let [was, mut is] = [&first, &next].map(|job| read(job, "adapter_config.json"));
        is["base_model_name_or_path"] = was["base_model_name_or_path"].clone();
        assert_eq!(is, was);
    }
    let cases = [
        ("use_dora", json!(false), "the spec says false, the adapter that training goes on from has true"),
        ("use_rslora", json!(false), "the spec says false, the adapter that training goes on from has true"),
        (
            "rank_pattern",
            json!({}),
            "the spec says none, the adapter that training goes on from has v_proj = 2",
        ),
        (
            "alpha_pattern",
            json!({"down_proj": 3}),
            "the spec says down_proj = 3, the adapter that training goes on from has layers.1.mlp.down_proj = 3",
        ),
        (
            "layers_to_transform",
            json!([0, 1]),
            "the spec says 0, 1, the adapter that training goes on from has 1",
        ),
        (
            "modules_to_save",
            json!(["lm_head"]),
            "the spec says lm_head, the adapter that training goes on from has lm_head, norm",
        ),
        (
            "target_modules",
            json!(["q_proj"]),
            "the spec says q_proj, the adapter that training goes on from has down_proj, q_proj, v_proj",
        ),
    ];
    for (key, value, expected) in cases {
        let mut adapter = json!({"kind": "lora", "init_from": path});
        adapter[key] = value;
        let refusal = job(adapter).refused(("out", Begin::New));
        let expected = format!("adapter.{key}: {expected}; drop the key, or start a new adapter");
        assert!(refusal.contains(&expected), "{refusal}");
    }
}

#[test]
fn names_that_fit_nothing_are_refused_at_their_keys() {
    let cases = [
        (json!({"rank_pattern": {"c_attn": 2}}), "adapter.rank_pattern: `c_attn` fits no module"),
        (
            json!({"rank_pattern": {"q_proj": 33}}),
            "adapter.rank_pattern: rank 33 exceeds the smallest target `q_proj` (32 ",
        ),
        (
            json!({"alpha_pattern": {"q_proj(": 2}}),
            "adapter.alpha_pattern: `q_proj(` is no regular expression",
        ),
        (
            json!({"layers_to_transform": 2}),
            "adapter.target_modules: no module is left that would get an adapter",
        ),
        (
            json!({"layers_to_transform": [0, 5]}),
            "adapter.layers_to_transform: layer 5 is not there: the model has 2 layers",
        ),
        (
            json!({"modules_to_save": ["score"]}),
            "adapter.modules_to_save: `score` is no module of this model that can be saved",
        ),
        (
            json!({"modules_to_save": ["q_proj"], "target_modules": ["v_proj"]}),
            "adapter.modules_to_save: `q_proj` can't be trained in full",
        ),
        (
            json!({"target_modules": ["embed_tokens"], "use_dora": true}),
            "adapter.target_modules: DoRA on `embed_tokens` is not available",
        ),
        (
            json!({"target_modules": ["qkv_proj"]}),
            "adapter.target_modules: `qkv_proj` is no linear of this model; choose from q_proj",
        ),
    ];
    for (keys, expected) in cases {
        let mut adapter = json!({"kind": "lora", "r": 4});
        for (key, value) in keys.as_object().expect("keys") {
            adapter[key] = value.clone();
        }
        let refusal = job(adapter).refused(("out", Begin::New));
        assert!(refusal.contains(expected), "{refusal} without {expected}");
    }
}

/// A model that knows 12 ids less than its tokenizer, and a sample with one of these.
fn with_added_tokens(adapter: Value) -> Job {
    let job = job(adapter);
    let path = job.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a config")).expect("JSON");
    config["vocab_size"] = json!(VOCAB - 12);
    fs::write(path, config.to_string()).expect("a config");
    let text = fs::read_to_string(job.path("train.jsonl")).expect("samples");
    job.write("train.jsonl", &format!("{text}{}\n", json!({"input_ids": [9, VOCAB - 5, 7, VOCAB - 1]})));
    job.set("train.max_steps", 6)
}

fn saved_vocabulary() -> Value {
    json!({"kind": "lora", "r": 4, "modules_to_save": ["embed_tokens", "lm_head"]})
}

#[test]
fn added_tokens_are_refused_where_nothing_trains_their_rows() {
    let refusal = with_added_tokens(json!({"kind": "lora", "r": 4})).refused(("out", Begin::New));
    assert!(
        refusal.contains(
            "has the id 507 at place 1; the model has 500 ids from 0; if the tokenizer has added tokens, train them: \
             `adapter.modules_to_save` = [\"embed_tokens\", \"lm_head\"], or `adapter.kind` = `none`"
        ),
        "{refusal}"
    );
}

#[test]
fn added_tokens_start_as_the_mean_and_are_trained() {
    for tied in [false, true] {
        let job = with_added_tokens(saved_vocabulary());
        let path = job.path("model/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a config")).expect("JSON");
        config["tie_word_embeddings"] = json!(tied);
        fs::write(path, config.to_string()).expect("a config");
        let mut notes = Vec::new();
        let mut observer = |event: &Event| {
            if let Event::Note { message, .. } = event {
                notes.push(message.clone());
            }
        };
        job.train(("out", Begin::New), &mut observer, &ftl_core::StopSignal::new()).expect("a run");
        let note = "12 added tokens: their rows of embedding and head start as the mean of the 500 others";
        assert!(notes.iter().any(|text| text == note), "{notes:?}");
        let trained = tensors(&job.weights("out"));
        let rows = |name: &str| {
            let (shape, values) = &trained[name];
            assert_eq!(shape, &[512, 32]);
            values.chunks(32).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let embed = rows("base_model.model.model.embed_tokens.weight");
        let head = rows("base_model.model.lm_head.weight");
        // Rows of ids that no sample has are what they were, and equal; one that is in a sample moved.
        assert_eq!(embed[500], embed[501]);
        assert_ne!(embed[507], embed[500]);
        assert_ne!(embed, head, "copies of a tied pair go their own ways");

        // The model with the adapter knows the added ids.
        let start = ftl_trainer::model::open::Start::Random { seed: 42 };
        let open = || {
            ftl_trainer::model::open::open_decoder(
                &job.path("model"),
                start,
                &ftl_trainer::device::OpenDevice::cpu(),
            )
        };
        let mut decoder: Decoder = open().expect("a model");
        attach_directory(&mut decoder, &job.path("out/final")).expect("an adapter");
        assert_eq!((decoder.config.vocab_size, decoder.embed.value.dims()), (512, [512, 32]));
        let mut mean = vec![0f64; 32];
        let base = open().expect("a model").embed.value.to_data().try_into_vec::<f32>().expect("f32");
        base.chunks(32)
            .for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) / 500.0));
        // AdamW without decay leaves alone what has no gradient.
        for (got, want) in embed[500].iter().zip(&mean) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
    }
}

#[test]
fn full_fine_tuning_takes_added_tokens_into_the_model() {
    let job = with_added_tokens(json!({"kind": "none"}));
    job.finish("out", Begin::New);
    let config: Value = serde_json::from_slice(&job.result("out")["config.json"]).expect("JSON");
    assert_eq!(config["vocab_size"], json!(512));
    let trained = tensors(&job.weights("out"));
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        assert_eq!(trained[name].0, [512, 32]);
    }
}

#[test]
fn a_run_with_added_tokens_goes_on_as_itself() {
    for adapter in [saved_vocabulary(), json!({"kind": "none"})] {
        let job = with_added_tokens(adapter);
        job.finish("whole", Begin::New);
        job.stop_at(("stopped", Begin::New), |event| matches!(event, Event::Stepped(step) if step.step == 2));
        job.finish("stopped", Begin::Resume);
        assert!(job.weights("stopped") == job.weights("whole"));
    }
}
