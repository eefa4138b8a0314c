//! Logits, losses and gradients of small random models.

use std::path::{Path, PathBuf};

use ftl_core::spec::resolved::{LoraVariant, Quantization, Scales};
use ftl_trainer::adapter::lora::{self, LoraSource};
use ftl_trainer::adapter::peft::{AdapterConfig, Modules};
use ftl_trainer::data::batch::Batch;
use ftl_trainer::device::OpenDevice;
use ftl_trainer::kernels::wide;
use ftl_trainer::model::decoder::{Decoder, Keep, LossPass, Trained};
use ftl_trainer::model::open::{Start, open_quantized};

use crate::device::devices;
use crate::golden::{Tensors, directory, json};
use crate::outcome::{Outcome, values};
use crate::training::by_name;

/// One of each kind: plain, with biases, norms of queries and keys, windows and limits of logits, norms after the
/// sublayers, fused projections.
const MODELS: [&str; 6] = ["llama", "qwen2", "qwen3", "gemma2", "olmo2", "phi3"];

/// The models that are there: all of them, or those that were carried along.
fn models() -> Vec<(&'static str, PathBuf)> {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return Vec::new() };
    let found = MODELS.map(|name| (name, fixtures.join("models").join(name)));
    found.into_iter().filter(|(_, dir)| dir.join("golden.safetensors").exists()).collect()
}

fn opened(dir: &Path, quantization: Quantization, device: &OpenDevice) -> Decoder {
    let mut decoder = open_quantized(dir, Start::Pretrained, quantization, device).expect("a golden model");
    decoder.reserve_positions(decoder.config.max_positions);
    decoder
}

/// The rows of a golden file, without their padding, and which of its tokens they are.
fn batch(tensors: &Tensors) -> (Batch, Vec<bool>) {
    let (mut batch, mut kept) = (Batch::default(), Vec::new());
    let rows = tensors.rows("input_ids").into_iter().zip(tensors.rows("attention_mask"));
    for ((ids, mask), labels) in rows.zip(tensors.rows("labels")) {
        let n = mask.iter().filter(|mask| **mask == 1.0).count();
        kept.extend((0..ids.len()).map(|i| i < n));
        let ids: Vec<u32> = ids[..n].iter().map(|id| *id as u32).collect();
        let labels: Vec<i32> = labels[..n].iter().map(|label| *label as i32).collect();
        batch.push(&ids, &labels);
    }
    (batch, kept)
}

fn loss_and_gradients(decoder: &Decoder, batch: &Batch) -> (f64, Outcome) {
    let scale = 1.0 / batch.n_supervised() as f64;
    let mut gradients = decoder.zero_gradients();
    let pass = LossPass { scale, keep: Keep::Everything, dropout: None, noise: None };
    let loss = decoder.loss_and_gradients(batch, pass, &mut gradients) * scale;
    (loss, by_name(decoder, &gradients))
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// The worst difference of a gradient, relative to its length, or to a hundredth of that of all where it is shorter:
/// gradients that are 0 in theory (of the biases of keys) are what rounding leaves.
fn worst_gradient(got: &Outcome, want: &Outcome) -> (f64, String) {
    let floor = length(want.values().flatten().copied()) / 100.0;
    let off = want.iter().map(|(name, want)| {
        let difference = length(got[name].iter().zip(want).map(|(got, want)| got - want));
        let relative = difference / length(want.iter().copied()).max(floor);
        (if relative.is_finite() { relative } else { f64::INFINITY }, name.clone())
    });
    off.fold((0.0, String::new()), |worst, off| if off.0 >= worst.0 { off } else { worst })
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |most, value| if value.is_finite() { most.max(value.abs()) } else { f64::INFINITY })
}

#[test]
fn logits_are_those_of_transformers() {
    for (name, dir) in models() {
        let tensors = Tensors::read(&dir.join("golden.safetensors"));
        let (batch, kept) = batch(&tensors);
        let rows = tensors.rows("logits").into_iter().zip(&kept);
        let want: Vec<f64> = rows.filter(|(_, kept)| **kept).flat_map(|(row, _)| row).collect();
        for (device, tolerance) in devices() {
            let decoder = opened(&dir, Quantization::None, device);
            let got = values(&wide(&decoder.logits(&batch)));
            let off =
                largest(got.iter().zip(&want).map(|(got, want)| got - want)) / largest(want.iter().copied());
            println!("{name} {} on {}: logits {off:.1e}", device.precision, device.name);
            assert!(off < tolerance.outputs, "{name} {}: {off:.1e}", device.precision);
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_the_reference() {
    for (name, dir) in models() {
        let want_loss = json(&dir.join("golden.json"))["loss"].as_f64().expect("a number");
        let (batch, _) = batch(&Tensors::read(&dir.join("golden.safetensors")));
        let train = |device: &OpenDevice| {
            let mut decoder = opened(&dir, Quantization::None, device);
            decoder.train(Trained::Base);
            loss_and_gradients(&decoder, &batch)
        };
        let (_, want) = train(&OpenDevice::cpu());
        for (device, tolerance) in devices() {
            let (loss, got) = train(device);
            let (off, (worst, which)) = ((loss / want_loss - 1.0).abs(), worst_gradient(&got, &want));
            println!("{name} {} on {}: loss {off:.1e}, gradients {worst:.1e}", device.precision, device.name);
            assert!(off < tolerance.outputs, "{name} {}: loss {loss}, not {want_loss}", device.precision);
            assert!(worst < tolerance.gradients, "{name} {}: {which} {worst:.1e}", device.precision);
        }
    }
}

/// Every kind of adapter that there is code of its own for.
fn adapters() -> [(&'static str, Quantization, AdapterConfig); 5] {
    let plain = || AdapterConfig { r: 4, ..AdapterConfig::default() };
    let ends = ["q_proj", "embed_tokens", "lm_head"].map(str::to_owned).to_vec();
    [
        ("LoRA", Quantization::None, plain()),
        ("QLoRA", Quantization::Nf4(Scales::Double), plain()),
        ("DoRA", Quantization::None, AdapterConfig { variant: LoraVariant::Dora, ..plain() }),
        ("a rank that is no power of two", Quantization::None, AdapterConfig { r: 6, ..plain() }),
        (
            "embedding, head and some linears",
            Quantization::None,
            AdapterConfig { target_modules: Modules::Named(ends), ..plain() },
        ),
    ]
}

#[test]
fn adapters_of_every_kind_train_as_on_the_cpu() {
    let Some((name, dir)) = models().into_iter().next() else { return };
    let (batch, _) = batch(&Tensors::read(&dir.join("golden.safetensors")));
    for (kind, quantization, config) in adapters() {
        let train = |device: &OpenDevice| {
            let mut decoder = opened(&dir, quantization, device);
            lora::attach(&mut decoder, &config, LoraSource::Fresh { seed: 1 }).expect("it fits");
            decoder.train(Trained::Adapter);
            loss_and_gradients(&decoder, &batch)
        };
        let (want_loss, want) = train(&OpenDevice::cpu());
        for (device, tolerance) in devices() {
            let (loss, got) = train(device);
            let (off, (worst, which)) = ((loss / want_loss - 1.0).abs(), worst_gradient(&got, &want));
            let what = format!("{name}, {kind}, {} on {}", device.precision, device.name);
            println!("{what}: loss {off:.1e}, gradients {worst:.1e}");
            assert!(off < tolerance.outputs && worst < tolerance.gradients, "{what}: {which} {worst:.1e}");
        }
    }
}
