//! The loss scale, which f16 needs: with it every step is the same as without, and one whose gradients overflow is taken
//! again. Powers of two round nothing, so that f32 on the CPU shows it to the last bit.

use ftl_core::spec::resolved::{self, AdamW, MomentFormat};
use ftl_trainer::data::sample::Sample;
use ftl_trainer::device::OpenDevice;
use ftl_trainer::methods::reference::DataPart;
use ftl_trainer::methods::{Method, Onto, Tally, Totals};
use ftl_trainer::model::decoder::{Decoder, Keep, TrainPass, Trained};
use ftl_trainer::model::open::{Start, open_decoder};
use ftl_trainer::ops::param::Gradients;
use ftl_trainer::optim::loss_scale::LossScale;
use ftl_trainer::train::optimizer::Optimizer;
use serde_json::json;

const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };

/// A model in training.
struct Training {
    decoder: Decoder,
    optimizer: Optimizer,
    gradients: Gradients,
    method: Method,
}

impl Training {
    fn new(method: resolved::Method, format: MomentFormat, loss_scale: LossScale) -> Self {
        let dir = tempfile::TempDir::new().expect("a directory");
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 40, "hidden_size": 16,
            "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "tie_word_embeddings": true, "initializer_range": 0.1,
        });
        std::fs::write(dir.path().join("config.json"), config.to_string()).expect("a config");
        let decoder = open_decoder(dir.path(), Start::Random { seed: 5 }, &OpenDevice::cpu());
        let mut decoder = decoder.expect("a model");
        decoder.train(Trained::Base);
        decoder.reserve_positions(16);
        let mut optimizer = Optimizer::new(&decoder, (ADAMW, format), Some(0.5));
        assert_eq!(optimizer.loss_scale, LossScale::One, "f32 needs none");
        optimizer.loss_scale = loss_scale;
        Self { gradients: decoder.zero_gradients(), decoder, optimizer, method: Method::of(method) }
    }

    /// Loss and norm.
    fn step(&mut self, seed: u32) -> (f64, f64) {
        let text = |start: u32| -> Sample {
            let ids: Vec<u32> = (0..9).map(|i| (start + 7 * i + i * i) % 40).collect();
            let labels = ids.iter().map(|id| *id as i32).collect();
            Sample::new(ids, labels)
        };
        let samples: Vec<Sample> = (0..3)
            .map(|i| match self.method {
                Method::Texts => text(seed + i),
                Method::Dpo { .. } | Method::Orpo { .. } => Sample::pair(text(seed + i), text(seed + i + 11)),
            })
            .collect();
        let microbatch = self.method.microbatch(DataPart::Train, &samples, &[0, 1, 2]);
        let totals = Totals::of(std::slice::from_ref(&microbatch), self.optimizer.loss_scale.factor());
        let mut tally = Tally::new(&self.method);
        let pass = TrainPass { keep: Keep::Everything, dropout: None, noise: None };
        self.gradients.clear();
        self.method.backward(
            Onto::Gradients(&self.decoder),
            &microbatch,
            (&totals, pass),
            (&mut self.gradients, &mut tally),
        );
        (tally.loss_nats(), self.optimizer.step(&mut self.decoder, &mut self.gradients, 1e-2))
    }

    fn weights(&self) -> Vec<Vec<f32>> {
        let mut weights = Vec::new();
        self.decoder.for_each_param(&mut |param| {
            weights.push(param.value.to_data().try_into_vec().expect("weights are f32"));
        });
        weights
    }
}

fn dynamic(factor: f64) -> LossScale {
    LossScale::Dynamic { factor, steady_steps: 0 }
}

#[test]
fn a_scaled_step_is_the_step() {
    for (method, format) in [
        (resolved::Method::Sft, MomentFormat::F32),
        (resolved::Method::Sft, MomentFormat::Blockwise8Bit),
        (resolved::Method::Orpo { beta: 0.1 }, MomentFormat::F32),
    ] {
        let mut plain = Training::new(method, format, LossScale::One);
        let mut scaled = Training::new(method, format, dynamic(65536.0));
        let before = plain.weights();
        for seed in 0..3 {
            let step = plain.step(seed);
            assert!(step.1 > 0.5, "clipping is part of it: {}", step.1);
            assert_eq!(scaled.step(seed), step, "{method:?}, {format:?}");
        }
        assert_eq!(scaled.weights(), plain.weights(), "{method:?}, {format:?}");
        assert_ne!(plain.weights(), before);
    }
}

#[test]
fn gradients_that_overflow_change_nothing_and_the_next_try_has_half_the_scale() {
    let sft = resolved::Method::Sft;
    let mut plain = Training::new(sft, MomentFormat::F32, LossScale::One);
    // Beyond the largest f32, as gradients in f16 are with much smaller ones.
    let mut scaled = Training::new(sft, MomentFormat::F32, dynamic(2f64.powi(140)));
    let before = scaled.weights();
    let (loss, norm) = scaled.step(0);
    assert!(loss.is_finite() && !norm.is_finite(), "{loss}, {norm}");
    assert_eq!((scaled.weights(), scaled.optimizer.n_steps), (before, 0));
    let mut n_tries = 0;
    let step = loop {
        assert!(scaled.optimizer.loss_scale.overflowed() && n_tries < 30);
        let step = scaled.step(0);
        if step.1.is_finite() {
            break step;
        }
        n_tries += 1;
    };
    assert_eq!(step, plain.step(0));
    assert_eq!(scaled.weights(), plain.weights());
}

#[test]
fn a_scaled_step_is_not_taken_in_parts() {
    let training = Training::new(resolved::Method::Sft, MomentFormat::F32, LossScale::One);
    let parts = |loss_scale| {
        let mut optimizer = training.optimizer.clone();
        (optimizer.max_grad_norm, optimizer.loss_scale) = (None, loss_scale);
        optimizer.can_step_in_parts(1)
    };
    assert!(parts(LossScale::One));
    assert!(!parts(dynamic(2.0)));
}
