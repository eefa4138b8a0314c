//! Adapters of peft 0.21.2: attached, merged, and written again.

#![expect(
    clippy::print_stdout,
    reason = "shows how far from the tolerance each case is, and what is skipped"
)]

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::ProblemKind;
use ftl_trainer::adapter::merge::merge;
use ftl_trainer::adapter::open::attach_directory;
use ftl_trainer::adapter::peft::{AdapterConfig, write_adapter};
use ftl_trainer::data::batch::Batch;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::decoder::{Decoder, Trained};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::golden::{self, Tensors, directory, json};
use crate::outcome::values;

struct Case {
    name: String,
    dir: PathBuf,
    json: Value,
    decoder: Decoder,
    batch: Batch,
    logits: Vec<f64>,
}

/// Every adapter whose model the engine has.
fn cases() -> Vec<Case> {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return Vec::new() };
    let entries = fs::read_dir(fixtures.join("adapters")).expect("reference adapters");
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    dirs.sort();
    let cases: Vec<Case> = dirs.into_iter().filter_map(|dir| case(&fixtures, dir)).collect();
    assert!(!cases.is_empty());
    cases
}

fn case(fixtures: &Path, dir: PathBuf) -> Option<Case> {
    let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
    let json = json(&dir.join("golden.json"));
    let model = fixtures.join(json["base_model"].as_str().expect("a path"));
    if let Err(problems) = DecoderConfig::read(&model) {
        assert!(problems.iter().any(|problem| problem.kind == ProblemKind::UnsupportedModel), "{problems:?}");
        println!("skipped: the model of {name} is not supported");
        return None;
    }
    let row = Tensors::read(&model.join("golden.safetensors")).rows("input_ids").swap_remove(0);
    let ids: Vec<u32> = row.iter().map(|id| *id as u32).collect();
    let mut batch = Batch::default();
    batch.push(&ids, &vec![-100; ids.len()]);
    let logits = Tensors::read(&dir.join("golden.safetensors")).rows("logits_adapter").concat();
    Some(Case { decoder: golden::decoder(&model), name, dir, json, batch, logits })
}

/// About 20 times what merging alone moves the reference's logits, in units of the largest.
const TOLERANCE: f64 = 3e-5;

fn difference(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    got.iter().zip(want).map(|(got, want)| (got - want).abs() / largest).fold(0.0, f64::max)
}

#[test]
fn adapters_give_the_logits_of_peft_attached_and_merged() {
    for Case { name, dir, decoder, batch, logits, json } in cases() {
        for kernels in [Kernels::Plain, Kernels::Cpu] {
            let mut decoder = Decoder { kernels, ..decoder.clone() };
            let base = difference(&values(&decoder.logits(&batch)), &logits);
            attach_directory(&mut decoder, &dir).expect("an adapter of peft");
            let attached = difference(&values(&decoder.logits(&batch)), &logits);
            let cached = {
                let next = decoder.next_logits(&batch.ids, &mut decoder.cache());
                let width = decoder.config.vocab_size;
                difference(&values(&next), &logits[logits.len() - width..])
            };
            merge(&mut decoder).expect("a dense model");
            let merged = difference(&values(&decoder.logits(&batch)), &logits);
            println!(
                "{name} {kernels:?}: attached {attached:.1e}, with a cache {cached:.1e}, merged {merged:.1e}"
            );
            let theirs = json["adapter_vs_merged_max_abs"].as_f64().expect("a difference");
            assert!(theirs < TOLERANCE);
            assert!(attached < TOLERANCE && cached < TOLERANCE && merged < TOLERANCE, "{name} {kernels:?}");
            assert!(base > 100.0 * TOLERANCE, "{name}: the adapter changes nothing: {base}");
        }
    }
}

#[test]
fn merged_weights_are_those_of_peft() {
    // The files hold a weight or two of each case; some of them are of layers that the adapter leaves alone.
    let (mut n_cases, mut moved) = (0, 0.0f64);
    for Case { name, dir, mut decoder, .. } in cases() {
        let tensors = Tensors::read(&dir.join("golden.safetensors"));
        let bytes = fs::read(dir.join("golden.safetensors")).expect("a golden file");
        let file = SafeTensors::deserialize(&bytes).expect("a sound file");
        let base = decoder.named_tensors(Trained::Base);
        attach_directory(&mut decoder, &dir).expect("an adapter of peft");
        merge(&mut decoder).expect("a dense model");
        let ours = decoder.named_tensors(Trained::Base);
        let mut worst = 0.0f64;
        for merged in file.names().into_iter().filter(|name| name.starts_with("merged.")) {
            let weight = merged.trim_start_matches("merged.");
            let f64s = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
            let want = tensors.rows(merged).concat();
            worst = worst.max(difference(&f64s(ours.values(weight)), &want));
            moved = moved.max(difference(&f64s(base.values(weight)), &want));
        }
        println!("{name}: merged weights {worst:.1e}");
        assert!(worst < 1e-6, "{name}: {worst:.1e}");
        n_cases += 1;
    }
    assert!(n_cases == 0 || moved > 1e-3, "{moved:.1e}");
}

#[test]
fn an_adapter_that_was_read_is_written_as_it_was() {
    for Case { name, dir, mut decoder, .. } in cases() {
        attach_directory(&mut decoder, &dir).expect("an adapter of peft");
        let config = AdapterConfig::read(&dir).expect("a config of peft");
        let copy = tempfile::tempdir().expect("a directory");
        let tensors = decoder.named_tensors(Trained::Adapter);
        write_adapter(copy.path(), &config, &decoder.config, |spec| {
            Ok(Cow::Owned(tensors.values(&spec.name)))
        })
        .expect("a written adapter");
        let read = |dir: &Path| fs::read(dir.join("adapter_model.safetensors")).expect("weights");
        let (theirs, ours) = (read(&dir), read(copy.path()));
        let [theirs, ours] =
            [&theirs, &ours].map(|bytes| SafeTensors::deserialize(bytes).expect("a sound file"));
        assert_eq!(ours.len(), theirs.len(), "{name}");
        for (tensor, theirs) in theirs.iter() {
            let ours = ours.tensor(tensor).unwrap_or_else(|error| panic!("{name}: {tensor}: {error}"));
            assert_eq!(ours.shape(), theirs.shape(), "{name}: {tensor}");
            assert!(ours.data() == theirs.data(), "{name}: {tensor}");
        }
        assert_eq!(AdapterConfig::read(copy.path()).expect("our config"), config, "{name}");
        let (theirs, ours) =
            (json(&dir.join("adapter_config.json")), json(&copy.path().join("adapter_config.json")));
        for (key, value) in ours.as_object().expect("an object") {
            assert_eq!(Some(value), theirs.get(key), "{name}: {key}");
        }
    }
}
