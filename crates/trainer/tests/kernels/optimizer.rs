//! Whole steps of the optimizer on a model, with gradients that are given.

use burn::tensor::Device;
use ftl_core::spec::resolved::{AdamW, MomentFormat, Quantization};
use ftl_trainer::device::OpenDevice;
use ftl_trainer::model::decoder::{Decoder, Trained};
use ftl_trainer::model::open::{Start, open_quantized};
use ftl_trainer::ops::param::{Gradients, Slot};
use ftl_trainer::optim::loss_scale::LossScale;
use ftl_trainer::train::optimizer::Optimizer;
use serde_json::json;

use crate::device::{assert_close, device, values};
use crate::random::{self, generator, matrix};

const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };

/// How a step is taken.
#[derive(Clone, Copy, Debug)]
enum Taken {
    /// With all gradients at hand.
    Whole { max_grad_norm: Option<f64> },
    /// Weight by weight.
    InParts,
}

/// A model on a device, and its optimizer.
struct Training {
    decoder: Decoder,
    optimizer: Optimizer,
    taken: Taken,
}

impl Training {
    fn new(device: Device, format: MomentFormat, taken: Taken) -> Self {
        let dir = tempfile::TempDir::new().expect("a directory");
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 160, "hidden_size": 32,
            "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "tie_word_embeddings": true, "initializer_range": 0.02,
        });
        std::fs::write(dir.path().join("config.json"), config.to_string()).expect("a config");
        let device = OpenDevice { device, ..OpenDevice::cpu() };
        let start = Start::Random { seed: 3 };
        let decoder = open_quantized(dir.path(), start, Quantization::None, &device);
        let mut decoder = decoder.expect("a model");
        decoder.train(Trained::Base);
        let max_grad_norm = match taken {
            Taken::Whole { max_grad_norm } => max_grad_norm,
            Taken::InParts => None,
        };
        let optimizer = Optimizer::new(&decoder, (ADAMW, format), max_grad_norm);
        Self { decoder, optimizer, taken }
    }

    /// Gradients that follow from a seed; one of them with a value that is `wrong`.
    fn gradients(&self, seed: u64, wrong: Option<f32>) -> Gradients {
        let mut rng = generator(seed);
        let mut gradients = self.decoder.zero_gradients();
        self.decoder.for_each_param(&mut |param| {
            let Some(slot) = param.slot else { return };
            let [rows, columns] = param.value.dims();
            let mut values = random::values(&mut rng, rows * columns);
            if let (Slot(3), Some(wrong)) = (slot, wrong) {
                values[5] = wrong;
            }
            gradients.add(slot, matrix(&values, [rows, columns], &self.decoder.device));
        });
        gradients
    }

    /// Returns the norm.
    fn step(&mut self, seed: u64, wrong: Option<f32>) -> f64 {
        let mut gradients = self.gradients(seed, wrong);
        match self.taken {
            Taken::Whole { .. } => self.optimizer.step(&mut self.decoder, &mut gradients, 1e-2),
            Taken::InParts => {
                let (mut params, mut step) = (0, self.optimizer.begin_step(&self.decoder, 1e-2));
                self.decoder.for_each_param_mut(&mut |param| {
                    step.update(param, &mut gradients);
                    params += 1;
                });
                assert!(params > 0);
                step.finish()
            }
        }
    }

    fn weights(&self) -> Vec<Vec<f32>> {
        let mut weights = Vec::new();
        self.decoder.for_each_param(&mut |param| weights.push(values(param.value.clone())));
        weights
    }
}

#[test]
fn steps_equal_those_of_the_cpu() {
    let Some(device) = device() else { return };
    for (format, taken) in [
        (MomentFormat::F32, Taken::Whole { max_grad_norm: None }),
        (MomentFormat::F32, Taken::Whole { max_grad_norm: Some(1.0) }),
        (MomentFormat::F32, Taken::InParts),
        (MomentFormat::Blockwise8Bit, Taken::Whole { max_grad_norm: Some(1.0) }),
        (MomentFormat::Blockwise8Bit, Taken::InParts),
    ] {
        let mut gpu = Training::new(device.clone(), format, taken);
        let mut cpu = Training::new(Device::flex(), format, taken);
        for seed in 0..3 {
            let (got, want) = (gpu.step(seed, None), cpu.step(seed, None));
            assert!((got - want).abs() <= 1e-5 * want, "{taken:?}: norm {got}, not {want}");
        }
        assert_eq!(gpu.optimizer.n_steps, 3);
        // A moment in the middle between two codes may go either way.
        let tolerance = match format {
            MomentFormat::F32 => 1e-5,
            MomentFormat::Blockwise8Bit => 2e-3,
        };
        for (index, (got, want)) in gpu.weights().iter().zip(cpu.weights()).enumerate() {
            assert_close(&format!("{format:?}, {taken:?}, weight {index}"), got, &want, tolerance);
        }
    }
}

#[test]
fn a_loss_scale_is_taken_away_again() {
    let Some(device) = device() else { return };
    let taken = Taken::Whole { max_grad_norm: Some(1.0) };
    for format in [MomentFormat::F32, MomentFormat::Blockwise8Bit] {
        let [mut plain, mut scaled] = [(); 2].map(|()| Training::new(device.clone(), format, taken));
        let before = plain.weights();
        scaled.optimizer.loss_scale = LossScale::Dynamic { factor: 1024.0, steady_steps: 0 };
        for seed in 0..3 {
            let unscaled = scaled.gradients(seed, None);
            let mut gradients = scaled.decoder.zero_gradients();
            for slot in (0..scaled.optimizer.moments.len()).map(Slot) {
                gradients.add(slot, unscaled.get(slot).clone().mul_scalar(1024.0));
            }
            let got = scaled.optimizer.step(&mut scaled.decoder, &mut gradients, 1e-2);
            let want = plain.step(seed, None);
            assert!((got - want).abs() <= 1e-6 * want, "norm {got}, not {want}");
        }
        for (got, want) in scaled.weights().iter().zip(plain.weights()) {
            assert_close("a weight", got, &want, 1e-6);
        }
        assert_ne!(plain.weights(), before);
    }
}

#[test]
fn a_step_whose_gradient_is_not_finite_is_not_taken() {
    let Some(device) = device() else { return };
    let taken = Taken::Whole { max_grad_norm: Some(1.0) };
    for format in [MomentFormat::F32, MomentFormat::Blockwise8Bit] {
        let [mut disturbed, mut calm] = [(); 2].map(|()| Training::new(device.clone(), format, taken));
        let before = calm.weights();
        calm.step(0, None);
        disturbed.step(0, None);
        assert!(!disturbed.step(7, Some(f32::NAN)).is_finite());
        assert_eq!(disturbed.optimizer.n_steps, 1);
        assert_eq!(disturbed.step(1, None), calm.step(1, None));
        assert_eq!(disturbed.weights(), calm.weights());
        assert_ne!(calm.weights(), before);
    }
}
