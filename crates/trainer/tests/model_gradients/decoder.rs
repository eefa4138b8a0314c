//! Small random decoders and batches.

use std::path::Path;

use ftl_trainer::data::batch::Batch;
use ftl_trainer::data::sample::IGNORED;
use ftl_trainer::device::OpenDevice;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::build::{Source, build};
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::decoder::{Decoder, Keep, LossPass};
use ftl_trainer::ops::dropout::Key;
use ftl_trainer::ops::linear::{HalfFactors, Linear, Lora, LoraPart};
use ftl_trainer::ops::neftune::Noise;
use ftl_trainer::ops::param::{Owner, Param, Piece, Slot};
use serde_json::{Map, Value, json};

use crate::draw::Draw;
use crate::outcome::Outcome;
use crate::training::by_name;

pub const VOCAB: usize = 61;

/// What a decoder of these tests has that another has not.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub family: &'static str,
    pub tied: Tied,
    pub biases: Biases,
    pub lora: LowRank,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tied {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Biases {
    Everywhere,
    Nowhere,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LowRank {
    None,
    /// On some parts, with dropout.
    Some,
}

pub const VARIANTS: [Variant; 11] = [
    LLAMA,
    Variant { tied: Tied::Yes, biases: Biases::Everywhere, ..LLAMA },
    Variant { biases: Biases::Everywhere, lora: LowRank::Some, ..LLAMA },
    Variant { tied: Tied::Yes, lora: LowRank::Some, ..LLAMA },
    Variant { family: "qwen2", ..LLAMA },
    Variant { family: "qwen3", biases: Biases::Everywhere, lora: LowRank::Some, ..LLAMA },
    Variant { family: "gemma2", tied: Tied::Yes, ..LLAMA },
    Variant { family: "gemma3_text", tied: Tied::Yes, lora: LowRank::Some, ..LLAMA },
    Variant { family: "phi3", lora: LowRank::Some, ..LLAMA },
    Variant { family: "smollm3", ..LLAMA },
    Variant { family: "olmo2", lora: LowRank::Some, ..LLAMA },
];

const LLAMA: Variant =
    Variant { family: "llama", tied: Tied::No, biases: Biases::Nowhere, lora: LowRank::None };

impl Variant {
    /// The decoder with everything trained.
    pub fn decoder(self, kernels: Kernels) -> Decoder {
        let Value::Object(config) = json!({
            "model_type": self.family,
            "vocab_size": VOCAB,
            "hidden_size": 24,
            "intermediate_size": 36,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 10,
            "rope_theta": 100.0,
            "initializer_range": 0.25,
            "tie_word_embeddings": self.tied == Tied::Yes,
            "attention_bias": self.biases == Biases::Everywhere,
            "mlp_bias": self.biases == Biases::Everywhere,
            // What some of the families have.
            "use_sliding_window": true,
            "sliding_window": 7,
            "max_window_layers": 1,
            "no_rope_layers": [1, 0, 1],
            "rope_local_base_freq": 30.0,
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 12,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 4.0,
            "partial_rotary_factor": (self.family == "phi3").then_some(0.6),
        }) else {
            unreachable!("the config is an object")
        };
        let mut draw = Draw::new(31);
        let mut decoder = random(config, kernels, &mut draw);
        match self.lora {
            LowRank::None => {}
            LowRank::Some => {
                for (layer_index, block) in decoder.blocks.iter_mut().enumerate() {
                    add_lora(&mut block.qkv, &format!("{layer_index}.qkv"), &[[0, 40], [60, 80]], &mut draw);
                    add_lora(&mut block.gate_up, &format!("{layer_index}.gate_up"), &[[36, 72]], &mut draw);
                    add_lora(&mut block.down, &format!("{layer_index}.down"), &[[0, 24]], &mut draw);
                }
            }
        }
        train_everything(&mut decoder);
        decoder
    }
}

/// A random decoder, frozen.
pub fn random(config: Map<String, Value>, kernels: Kernels, draw: &mut Draw) -> Decoder {
    let config = DecoderConfig::from_json(config, Path::new("config.json")).expect("the config is sound");
    let mut decoder = build(&config, &Source::Random { seed: 5 }, &OpenDevice::cpu());
    decoder.kernels = kernels;
    decoder.reserve_positions(64);
    decoder.for_each_param_mut(&mut |param| {
        if param.is_vector() {
            param.value = param.value.clone() + draw.tensor(param.value.dims()).mul_scalar(0.3);
        }
    });
    decoder
}

/// Trains the model and the adapter.
fn train_everything(decoder: &mut Decoder) {
    let mut n_slots = 0;
    decoder.for_each_param_mut(&mut |param| {
        param.slot = Some(Slot(n_slots));
        n_slots += 1;
    });
}

fn add_lora(linear: &mut Linear, name: &str, parts: &[[usize; 2]], draw: &mut Draw) {
    let n_in = linear.weight.dims()[1];
    let mut factor = |name: String, shape: [usize; 2]| {
        let value = draw.tensor(shape).mul_scalar(0.3);
        let piece = Piece { name, values: 0..shape[0] * shape[1], shape: shape.to_vec() };
        Param { owner: Owner::Adapter, pieces: vec![piece], ..Param::frozen(value) }
    };
    let mut n_ranks = 0;
    let mut made = Vec::new();
    for (i, [start, end]) in parts.iter().enumerate() {
        let outputs = *start..*end;
        let ranks = n_ranks..n_ranks + 2 + i;
        n_ranks = ranks.end;
        let b = factor(format!("{name}.b{i}"), [outputs.len(), ranks.len()]);
        made.push(LoraPart { outputs, ranks, b, scale: 1.5, dora: None });
    }
    let a = factor(format!("{name}.a"), [n_ranks, n_in]);
    linear.lora = Some(Lora { a, parts: made, dropout_prob: 0.3, half: HalfFactors::default() });
}

/// Random tokens; the first two of each segment have no label.
pub fn batch(lengths: &[usize], seed: u64) -> Batch {
    let mut draw = Draw::new(seed);
    let mut batch = Batch::default();
    for length in lengths {
        let ids = draw.ids(*length, VOCAB);
        let mut labels: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        labels.iter_mut().take(2).for_each(|label| *label = IGNORED);
        batch.push(&ids, &labels);
    }
    batch
}

pub const PASS: LossPass = LossPass { scale: 1.0, keep: Keep::Everything, dropout: None, noise: None };

/// A pass with noise on the embeddings.
pub fn noisy(seed: u64) -> LossPass {
    LossPass { noise: Some(Noise { alpha: 20.0, key: Key::new(seed) }), ..PASS }
}

/// A pass that drops.
pub fn dropping(seed: u64) -> LossPass {
    LossPass { dropout: Some(Key::new(seed)), ..PASS }
}

/// The gradients by name, and the loss among them as `loss`.
pub fn pass(decoder: &Decoder, batch: &Batch, how: LossPass) -> Outcome {
    let mut gradients = decoder.zero_gradients();
    let sum_nats = decoder.loss_and_gradients(batch, how, &mut gradients);
    let mut outcome = by_name(decoder, &gradients);
    outcome.insert("loss".to_owned(), vec![sum_nats]);
    outcome
}
