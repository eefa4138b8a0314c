//! Random models of every family: separate and tied heads, one file and shards, both dialects of config.json.

use std::path::PathBuf;

use ftl_trainer::data::batch::Batch;
use ftl_trainer::kernels::Kernels;
use ftl_trainer::model::block::Pass;
use ftl_trainer::model::decoder::{Decoder, Keep, LossPass, Trained};
use serde_json::Value;

use crate::golden::{self, Tensors, directory, greedy, ids, json};
use crate::outcome::{Outcome, difference, values};
use crate::training::by_name;

const MODELS: [&str; 13] = [
    "llama",
    "llama_tied_sharded",
    "llama_bias_linear",
    "mistral_bf16",
    "qwen2",
    "qwen2_yarn",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "smollm3",
    "olmo2",
];

/// Norms of gradients, relative: the files suggest no tolerance for them. That of the logits is of the same order,
/// relative to the largest logit.
const GRADIENT_TOLERANCE: f64 = 1e-4;

struct Golden {
    decoder: Decoder,
    tensors: Tensors,
    json: Value,
    /// The rows of `tensors`, each without its padding, as one batch.
    batch: Batch,
    /// Which rows of `[row, token]` are in the batch.
    kept: Vec<bool>,
}

impl Golden {
    fn read(dir: PathBuf) -> Self {
        let tensors = Tensors::read(&dir.join("golden.safetensors"));
        let (mut batch, mut kept) = (Batch::default(), Vec::new());
        let rows = tensors.rows("input_ids").into_iter().zip(tensors.rows("attention_mask"));
        for ((ids, mask), labels) in rows.zip(tensors.rows("labels")) {
            let n = mask.iter().filter(|mask| **mask == 1.0).count();
            assert!(mask[..n].iter().all(|mask| *mask == 1.0), "padding is on the right");
            kept.extend((0..ids.len()).map(|i| i < n));
            let ids: Vec<u32> = ids[..n].iter().map(|id| *id as u32).collect();
            let labels: Vec<i32> = labels[..n].iter().map(|label| *label as i32).collect();
            batch.push(&ids, &labels);
        }
        Self { decoder: golden::decoder(&dir), tensors, json: json(&dir.join("golden.json")), batch, kept }
    }

    /// The values of a tensor `[row, token, width]` at the tokens of the batch.
    fn kept(&self, name: &str) -> Vec<f64> {
        let rows = self.tensors.rows(name).into_iter().zip(&self.kept);
        rows.filter(|(_, kept)| **kept).flat_map(|(row, _)| row).collect()
    }

    fn tolerance(&self, name: &str) -> f64 {
        self.json["suggested_tolerance"][name].as_f64().expect("the golden suggests a tolerance")
    }

    fn of_both_kernels(&self) -> [Decoder; 2] {
        [Kernels::Plain, Kernels::Cpu].map(|kernels| Decoder { kernels, ..self.decoder.clone() })
    }

    fn mean_loss_pass(&self) -> LossPass {
        let scale = 1.0 / self.batch.n_supervised() as f64;
        LossPass { scale, keep: Keep::BlockInputs, dropout: None, noise: None }
    }
}

fn goldens() -> Vec<(&'static str, Golden)> {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return Vec::new() };
    MODELS.map(|name| (name, Golden::read(fixtures.join("models").join(name)))).into()
}

fn largest_difference(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let differences = got.iter().zip(want).map(|(got, want)| (got - want).abs());
    differences.fold(0.0, |worst, d| if d.is_finite() { d.max(worst) } else { f64::INFINITY })
}

#[test]
fn logits_are_those_of_transformers() {
    for (name, golden) in goldens() {
        let want = golden.kept("logits");
        for decoder in golden.of_both_kernels() {
            let seen = largest_difference(&values(&decoder.logits(&golden.batch)), &want);
            println!("{name} {:?}: logits {seen:.1e}", decoder.kernels);
            assert!(seen < golden.tolerance("logits_abs"), "{name} {:?}: {seen:.1e}", decoder.kernels);

            let mut other = golden.batch.clone();
            other.ids[0] += 1;
            let seen = largest_difference(&values(&decoder.logits(&other)), &want);
            assert!(seen > 100.0 * golden.tolerance("logits_abs"));
        }
    }
}

#[test]
fn losses_are_those_of_transformers() {
    for (name, golden) in goldens() {
        let (loss, tolerance) =
            (golden.json["loss"].as_f64().expect("a number"), golden.tolerance("loss_abs"));
        let labels = golden.tensors.rows("labels");
        let rows = golden.tensors.rows("token_nll").into_iter().zip(labels);
        let counted = rows.flat_map(|(nll, labels)| nll.into_iter().zip(labels.into_iter().skip(1)));
        let want: Vec<f64> = counted.filter(|(_, label)| *label != -100.0).map(|(nll, _)| nll).collect();
        assert_eq!(want.len() as u64, golden.json["n_label_tokens"].as_u64().expect("a count"));
        for decoder in golden.of_both_kernels() {
            let got: Vec<f64> = decoder.score(&golden.batch).iter().map(|s| s.nll_nats.into()).collect();
            let seen = largest_difference(&got, &want);
            let mean = got.iter().sum::<f64>() / got.len() as f64;
            let sum = decoder.loss_and_gradients(
                &golden.batch,
                golden.mean_loss_pass(),
                &mut decoder.zero_gradients(),
            );
            let off = (mean - loss).abs().max((sum / want.len() as f64 - loss).abs());
            println!("{name} {:?}: token nll {seen:.1e}, loss {off:.1e}", decoder.kernels);
            assert!(seen < golden.tolerance("logits_abs") && off < tolerance, "{name} {:?}", decoder.kernels);
            assert!(largest_difference(&got[1..], &want[..want.len() - 1]) > 100.0 * tolerance);
        }
    }
}

#[test]
fn hidden_states_are_those_of_transformers() {
    // Not every tree has them, and those that do have them for some models.
    for (name, golden) in goldens() {
        if !golden.tensors.contains("hidden_states.0") {
            continue;
        }
        for decoder in golden.of_both_kernels() {
            let kernels = decoder.kernels;
            let ropes = decoder.ropes_for(&golden.batch);
            let segments = &decoder.segments_of(&golden.batch);
            let pass = Pass { kernels, ropes: &ropes, batch: &golden.batch, segments, dropout: None };
            let mut x = decoder.embedded(&golden.batch.ids);
            let mut states = vec![values(&x)];
            for (layer_index, block) in decoder.blocks.iter().enumerate() {
                x = block.forward(&x, layer_index, &pass).0;
                states.push(values(&x));
            }
            // The last of transformers' states is the one after the final norm.
            *states.last_mut().expect("the embeddings at least") = values(&decoder.hidden(&golden.batch));
            let want: Vec<Vec<f64>> =
                (0..states.len()).map(|i| golden.kept(&format!("hidden_states.{i}"))).collect();
            for (i, state) in states.iter().enumerate() {
                let seen = largest_difference(state, &want[i]);
                println!("{name} {kernels:?}: state {i} {seen:.1e}");
                assert!(seen < golden.tolerance("logits_abs"), "{name} {kernels:?}, state {i}: {seen:.1e}");
                assert!(largest_difference(state, &want[(i + 1) % want.len()]) > 0.1);
            }
        }
    }
}

#[test]
fn gradients_of_every_tensor_have_the_norms_of_transformers() {
    for (name, golden) in goldens() {
        let norms = golden.json["grad_l2"].as_object().expect("norms by name").iter();
        let want: Outcome =
            norms.map(|(tensor, norm)| (tensor.clone(), vec![norm.as_f64().expect("a norm")])).collect();
        for mut decoder in golden.of_both_kernels() {
            decoder.train(Trained::Base);
            let norms = |batch: &Batch| -> Outcome {
                let mut gradients = decoder.zero_gradients();
                decoder.loss_and_gradients(batch, golden.mean_loss_pass(), &mut gradients);
                let norm = |values: Vec<f64>| values.iter().map(|value| value * value).sum::<f64>().sqrt();
                by_name(&decoder, &gradients).into_iter().map(|(name, g)| (name, vec![norm(g)])).collect()
            };
            let seen = difference(&norms(&golden.batch), &want);
            println!("{name} {:?}: norms of gradients {seen:.1e}", decoder.kernels);
            assert!(seen < GRADIENT_TOLERANCE, "{name} {:?}: {seen:.1e}", decoder.kernels);

            let mut other = golden.batch.clone();
            other.ids[0] += 1;
            assert!(difference(&norms(&other), &want) > 10.0 * GRADIENT_TOLERANCE);
        }
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for (name, golden) in goldens() {
        let texts = golden.json["greedy"].as_array().expect("a list");
        for decoder in golden.of_both_kernels() {
            for text in texts {
                let (prompt, want) = (ids(&text["prompt_ids"]), ids(&text["generated_ids"]));
                assert_eq!(greedy(&decoder, &prompt, want.len()), want, "{name} {:?}", decoder.kernels);
                assert_ne!(greedy(&decoder, &prompt[..prompt.len() - 1], want.len()), want);
            }
        }
    }
}
