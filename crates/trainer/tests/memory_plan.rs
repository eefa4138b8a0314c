//! The memory plan against what the engine allocates, byte by byte: every allocation of the process is counted while a
//! model is made, given an adapter, rehearsed and trained for a step.

use std::fs;

use ftl_core::spec::resolved::{AdamW, LoraVariant, MomentFormat, Quantization, Scales};
use ftl_trainer::adapter::lora::{self, LoraSource};
use ftl_trainer::adapter::peft::{AdapterConfig, Layout, Modules, Named};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::decoder::{Decoder, Keep, TrainPass, Trained};
use ftl_trainer::model::open::{Start, open_quantized};
use ftl_trainer::ops::dropout::Key;
use ftl_trainer::plan::verify::rehearse;
use ftl_trainer::plan::{
    Dropout, Machine, Memory, ModelShape, Precision, Reference, Update, Workload, most_held_bytes, peak,
};
use ftl_trainer::train::optimizer::Optimizer;
use serde_json::{Value, json};

#[path = "support/counting.rs"]
mod counting;

use counting::{peak_of, turn};

/// What small things take that the plan does not count: names, shapes, the threads' own buffers.
const TOLERANCE: f64 = 0.03;

struct Case {
    name: &'static str,
    config: Value,
    adapter: Option<AdapterConfig>,
    quantization: Quantization,
    change: fn(&mut Workload),
}

/// A small model of a family, large enough that its tensors count for nearly all.
fn config(model_type: &str, architecture: &str, more: Value) -> Value {
    let mut config = json!({
        "architectures": [architecture], "model_type": model_type, "vocab_size": 4096, "hidden_size": 256,
        "intermediate_size": 640, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 32, "max_position_embeddings": 512, "initializer_range": 0.02, "pad_token_id": 0,
    });
    for (key, value) in more.as_object().expect("keys") {
        config[key] = value.clone();
    }
    config
}

fn llama() -> Value {
    config("llama", "LlamaForCausalLM", json!({"tie_word_embeddings": false}))
}

fn lora(r: usize) -> AdapterConfig {
    AdapterConfig { r, ..AdapterConfig::default() }
}

fn cases() -> Vec<Case> {
    let none = Quantization::None;
    let case =
        |name, config, adapter, quantization, change| Case { name, config, adapter, quantization, change };
    let tied =
        |model_type, architecture| config(model_type, architecture, json!({"tie_word_embeddings": true}));
    let (qwen3, gemma2) = (tied("qwen3", "Qwen3ForCausalLM"), tied("gemma2", "Gemma2ForCausalLM"));
    let dora = |lora_dropout_prob| AdapterConfig { variant: LoraVariant::Dora, lora_dropout_prob, ..lora(8) };
    let ends =
        AdapterConfig { modules_to_save: vec!["embed_tokens".to_owned(), "lm_head".to_owned()], ..lora(8) };
    let named = ["q_proj", "embed_tokens", "lm_head"].map(str::to_owned).to_vec();
    let on_ends = AdapterConfig { target_modules: Modules::Named(named), ..lora(8) };
    let dropped: fn(&mut Workload) = |work| work.dropout = Dropout::Present;
    let block: fn(&mut Workload) = |work| work.keep = Keep::BlockInputs;
    let as_it_is: fn(&mut Workload) = |_| {};
    vec![
        case("lora", llama(), Some(lora(16)), none, as_it_is),
        case("lora, block inputs kept", llama(), Some(lora(16)), none, block),
        case(
            "lora with dropout",
            llama(),
            Some(AdapterConfig { lora_dropout_prob: 0.1, ..lora(16) }),
            none,
            dropped,
        ),
        case("lora, scored as well", llama(), Some(lora(16)), none, |work| work.eval_tokens = 1024),
        case("lora, two microbatches", llama(), Some(lora(64)), none, |work| work.n_microbatches = 2),
        case("in 4 bits", llama(), Some(lora(16)), Quantization::Nf4(Scales::Double), block),
        case(
            "in 4 bits, scales in f32",
            qwen3.clone(),
            Some(lora(16)),
            Quantization::Nf4(Scales::F32),
            as_it_is,
        ),
        case("norms of queries and keys", qwen3.clone(), Some(lora(16)), none, as_it_is),
        case("norms of queries and keys, block", qwen3.clone(), Some(lora(16)), none, block),
        case("norms behind branches", gemma2.clone(), Some(lora(16)), none, as_it_is),
        case("norms behind branches, block", gemma2.clone(), Some(lora(16)), none, block),
        case("no norms before branches", tied("olmo2", "Olmo2ForCausalLM"), Some(lora(16)), none, as_it_is),
        case("fused projections", tied("phi3", "Phi3ForCausalLM"), Some(lora(16)), none, as_it_is),
        case("biases", tied("qwen2", "Qwen2ForCausalLM"), None, none, as_it_is),
        case("magnitudes", llama(), Some(dora(0.0)), none, as_it_is),
        case("magnitudes, queries and keys normed", qwen3.clone(), Some(dora(0.0)), none, as_it_is),
        case("magnitudes with dropout", llama(), Some(dora(0.1)), none, dropped),
        case("embedding and head kept", qwen3.clone(), Some(ends.clone()), none, as_it_is),
        case("embedding and head kept, untied", llama(), Some(ends), none, as_it_is),
        case("updates of embedding and head", llama(), Some(on_ends), none, as_it_is),
        case("full", llama(), None, none, as_it_is),
        case("full, tied", qwen3.clone(), None, none, as_it_is),
        case("full, in parts", llama(), None, none, |work| work.update = Update::InParts),
        case("full, in parts, tied, block", qwen3, None, none, |work| {
            work.update = Update::InParts;
            work.keep = Keep::BlockInputs;
        }),
        case("full, moments in 8 bits", gemma2, None, none, |work| {
            work.moments = MomentFormat::Blockwise8Bit;
        }),
    ]
}

fn workload(change: fn(&mut Workload)) -> Workload {
    let mut work = Workload {
        most_tokens: 512,
        longest_segment: 256,
        n_microbatches: 1,
        update: Update::AtOnce,
        moments: MomentFormat::F32,
        keep: Keep::Everything,
        dropout: Dropout::Absent,
        eval_tokens: 0,
        reference: Reference::None,
        answer_tokens: 0,
        tokenizer_bytes: 0,
    };
    change(&mut work);
    work
}

/// The config as it is read, and what the adapter comes to on it.
fn read(case: &Case, dir: &std::path::Path) -> (DecoderConfig, Option<Layout>) {
    fs::write(dir.join("config.json"), case.config.to_string()).expect("a config");
    let config = DecoderConfig::read(dir).unwrap_or_else(|problems| panic!("{}: {problems:?}", case.name));
    let layout = case.adapter.as_ref().map(|a| Layout::of(a, &config, Named::InSpec).expect("a layout"));
    (config, layout)
}

fn made(case: &Case, dir: &std::path::Path) -> Decoder {
    let start = Start::Random { seed: 3 };
    let mut decoder = open_quantized(dir, start, case.quantization, &ftl_trainer::device::OpenDevice::cpu())
        .expect("a model");
    if let Some(adapter) = &case.adapter {
        lora::attach(&mut decoder, adapter, LoraSource::Fresh { seed: 3 }).expect("an adapter");
    }
    decoder.train(if case.adapter.is_some() { Trained::Adapter } else { Trained::Base });
    decoder
}

/// All that a run does, but for its files.
fn trained(case: &Case, dir: &std::path::Path, work: &Workload) -> Decoder {
    let mut decoder = made(case, dir);
    decoder.reserve_positions(work.longest_segment);
    let adamw = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let mut optimizer = Optimizer::new(&decoder, (adamw, work.moments), Some(1.0));
    let mut gradients = decoder.zero_gradients();
    let pass = TrainPass { keep: work.keep, dropout: Some(Key::new(1)), noise: None };
    rehearse(&mut decoder, (&mut gradients, &mut optimizer.moments), work, pass);
    decoder
}

#[test]
fn the_plan_says_what_the_engine_allocates() {
    let _turn = turn();
    // What the threads take once and keep is taken by the first pass.
    let warm_up = cases().swap_remove(0);
    let dir = tempfile::TempDir::new().expect("a directory");
    read(&warm_up, dir.path());
    drop(trained(&warm_up, dir.path(), &workload(warm_up.change)));

    let machine = Machine { memory: Memory::Cpu, precision: Precision::F32, n_threads: 1, runtime_bytes: 0 };
    let mut wrong = Vec::new();
    for case in cases() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let (config, layout) = read(&case, dir.path());
        let work = workload(case.change);
        let shape = ModelShape::of(&config, layout.as_ref(), case.quantization);
        // What is there whatever is trained is there at every moment.
        let parts = peak(&shape, &work, &machine);
        let planned = (most_held_bytes(&shape, &work, &machine) - parts.runtime) as f64;
        let (_decoder, counted) = peak_of(|| trained(&case, dir.path(), &work));
        let off = planned / counted as f64 - 1.0;
        println!("{:<36} planned {planned:>11} counted {counted:>11} {:>+6.2} %", case.name, off * 100.0);
        if off.abs() > TOLERANCE {
            wrong.push(format!("{}: {planned} planned, {counted} counted: {parts:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_plan_knows_every_tensor_that_is_trained() {
    let _turn = turn();
    for case in cases() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let (config, layout) = read(&case, dir.path());
        let mut planned = ModelShape::of(&config, layout.as_ref(), case.quantization).all_trained();
        let mut found = Vec::new();
        made(&case, dir.path()).for_each_param(&mut |param| {
            if param.slot.is_some() {
                found.push(param.value.dims().iter().product::<usize>());
            }
        });
        planned.sort_unstable();
        found.sort_unstable();
        assert_eq!(planned, found, "{}", case.name);
    }
}

#[test]
fn a_gpu_holds_what_is_frozen_in_16_bits_and_the_rest_as_the_cpu() {
    let _turn = turn();
    let case = cases().swap_remove(0);
    let dir = tempfile::TempDir::new().expect("a directory");
    let (config, layout) = read(&case, dir.path());
    let shape = ModelShape::of(&config, layout.as_ref(), Quantization::None);
    let work = workload(case.change);
    let on = |memory, precision| {
        peak(&shape, &work, &Machine { memory, precision, n_threads: 1, runtime_bytes: 0 })
    };
    let (cpu, gpu) = (on(Memory::Cpu, Precision::F32), on(Memory::Gpu, Precision::HALF));
    assert_eq!(gpu.weights * 2, cpu.weights);
    assert_eq!((gpu.adapter, gpu.optimizer), (cpu.adapter, cpu.optimizer));
    // Statistics of the norms and of attention stay in f32.
    let share = gpu.activations as f64 / cpu.activations as f64;
    assert!(share > 0.5 && share < 0.52, "{share}");
}

#[test]
fn eight_billion_weights_in_4_bits_are_planned_for_a_card_of_8_gib() {
    let _turn = turn();
    let dir = tempfile::TempDir::new().expect("a directory");
    let llama_8b = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "tie_word_embeddings": false, "max_position_embeddings": 131072,
    });
    let scales = Quantization::Nf4(Scales::Double);
    let mut case = cases().swap_remove(0);
    (case.config, case.quantization) = (llama_8b, scales);
    let (config, layout) = read(&case, dir.path());
    let machine =
        Machine { memory: Memory::Gpu, precision: Precision::HALF, n_threads: 1, runtime_bytes: 512 << 20 };
    let bytes = |quantization, keep, most_tokens| {
        let work = Workload { keep, most_tokens, longest_segment: most_tokens, ..workload(|_| {}) };
        peak(&ModelShape::of(&config, layout.as_ref(), quantization), &work, &machine).total()
    };
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let dense = gib(bytes(Quantization::None, Keep::BlockInputs, 512));
    let coded = gib(bytes(scales, Keep::BlockInputs, 512));
    let kept = gib(bytes(scales, Keep::Everything, 2048));
    println!(
        "LoRA {dense:.2} GiB, QLoRA {coded:.2} GiB, QLoRA with 2048 tokens and everything kept {kept:.2} GiB"
    );
    assert!(dense > 15.0 && coded < 7.5 && kept > coded + 4.0, "{dense} {coded} {kept}");
}
