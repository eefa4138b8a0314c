//! Models in 4 bits: quantized while they load, and as transformers saved them with `load_in_4bit`.

use std::path::{Path, PathBuf};

use ftl_core::spec::resolved::{Quantization, Scales};
use ftl_trainer::data::batch::Batch;
use ftl_trainer::device::OpenDevice;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::decoder::Decoder;
use ftl_trainer::model::open::{Start, open_quantized};
use ftl_trainer::ops::linear::{Frozen, Weight};
use ftl_trainer::quant::StoredScales;

use crate::golden::{Tensors, directory, json};
use crate::outcome::values;

/// About 20 times what was seen, relative to the largest logit: the reference computes with the same dense weights,
/// in another order.
const TOLERANCE: f64 = 2e-5;

fn open(dir: &Path, quantization: Quantization) -> Decoder {
    let opened = open_quantized(dir, Start::Pretrained, quantization, &OpenDevice::cpu());
    let mut decoder = opened.unwrap_or_else(|problems| panic!("{}: {problems:?}", dir.display()));
    decoder.reserve_positions(64);
    decoder
}

/// A row without its padding.
fn row(tensors: &Tensors) -> Batch {
    let (ids, mask) = (&tensors.rows("input_ids")[0], &tensors.rows("attention_mask")[0]);
    let n = mask.iter().filter(|mask| **mask == 1.0).count();
    let ids: Vec<u32> = ids[..n].iter().map(|id| *id as u32).collect();
    let mut batch = Batch::default();
    batch.push(&ids, &ids.iter().map(|id| *id as i32).collect::<Vec<_>>());
    batch
}

/// The largest difference of the first logits, relative to the largest of them.
fn difference(decoder: &Decoder, batch: &Batch, want: &[f64]) -> f64 {
    let got = values(&decoder.logits(batch));
    let largest = want.iter().fold(0f64, |largest, want| largest.max(want.abs()));
    let worst = got.iter().zip(want).fold(0f64, |worst, (got, want)| worst.max((got - want).abs()));
    assert!(got.len() >= want.len() && worst.is_finite());
    worst / largest
}

fn of_both_kernels(decoder: &Decoder) -> [Decoder; 2] {
    [Kernels::Plain, Kernels::Cpu].map(|kernels| Decoder { kernels, ..decoder.clone() })
}

fn directories(parent: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).expect("a directory of reference numbers");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.is_dir() && wanted(&path.file_name().expect("a name").to_string_lossy()));
    paths.sort();
    paths
}

#[test]
fn logits_of_a_base_quantized_while_it_loads_are_those_of_the_reference() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for dir in directories(&fixtures.join("training"), |name| name.starts_with("qlora")) {
        let trajectory = json(&dir.join("trajectory.json"));
        let model = fixtures.join(trajectory["base_model"].as_str().expect("a model"));
        let scales = match trajectory["double_quant"].as_bool().expect("how scales are held") {
            true => Scales::Double,
            false => Scales::F32,
        };
        let decoder = open(&model, Quantization::Nf4(scales));
        let batch = row(&Tensors::read(&dir.join("batches.safetensors")));
        let want = Tensors::read(&dir.join("quantized_base.safetensors"))
            .rows("logits_batch0_row0_first16")
            .concat();
        for decoder in of_both_kernels(&decoder) {
            let seen = difference(&decoder, &batch, &want);
            println!("{} {:?}: logits {seen:.1e}", dir.display(), decoder.kernels);
            assert!(seen < TOLERANCE, "{} {:?}: {seen:.1e}", dir.display(), decoder.kernels);
        }
        let dense = open(&model, Quantization::None);
        assert!(difference(&dense, &batch, &want) > 100.0 * TOLERANCE);
    }
}

#[test]
fn checkpoint_of_bitsandbytes_gives_the_logits_of_the_reference() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for dir in directories(&fixtures.join("nf4"), |name| name.ends_with("-bnb-4bit")) {
        // What it holds in 4 bits stays as it is, whatever is asked for.
        for asked in [Quantization::None, Quantization::Nf4(Scales::F32)] {
            let decoder = open(&dir, asked);
            let golden = Tensors::read(&dir.join("golden.safetensors"));
            let batch = row(&golden);
            let vocab = decoder.config.vocab_size;
            let want: Vec<f64> = golden.rows("logits").concat()[..batch.ids.len() * vocab].to_vec();
            for decoder in of_both_kernels(&decoder) {
                let seen = difference(&decoder, &batch, &want);
                println!("{} {:?}: logits {seen:.1e}", dir.display(), decoder.kernels);
                assert!(seen < TOLERANCE, "{} {:?}: {seen:.1e}", dir.display(), decoder.kernels);
            }
        }
    }
}

#[test]
fn checkpoint_of_bitsandbytes_holds_what_quantizing_its_base_gives() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    for dir in directories(&fixtures.join("nf4"), |name| name.ends_with("-bnb-4bit")) {
        let stored = open(&dir, Quantization::None);
        let base = dir.file_name().expect("a name").to_string_lossy().replace("-bnb-4bit", "");
        let scales = match tensors(&stored)[0].1 {
            StoredScales::Single(_) => Scales::F32,
            StoredScales::Double(_) => Scales::Double,
        };
        let made = open(&fixtures.join("models").join(base), Quantization::Nf4(scales));
        assert_eq!(tensors(&stored), tensors(&made), "{}", dir.display());
        assert_eq!(tensors(&stored).len(), 7 * stored.blocks.len());
    }
}

/// Codes and scales of all linears.
fn tensors(decoder: &Decoder) -> Vec<(Vec<u8>, StoredScales)> {
    let mut tensors = Vec::new();
    for mut block in decoder.blocks.clone() {
        for linear in block.linears_mut() {
            let Weight::Nf4(weight) = &linear.weight else {
                panic!("every linear of the blocks is quantized")
            };
            tensors.extend(weight.parts().iter().map(|part| match part {
                Frozen::Nf4(part) => part.stored(),
                Frozen::Dense(_) => panic!("every linear of the blocks is quantized"),
            }));
        }
    }
    tensors
}
