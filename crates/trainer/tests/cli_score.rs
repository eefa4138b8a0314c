//! `ftl-train score` against transformers.
//!
//! The numbers are those of `FTL_FIXTURES` (transformers 5.23.0 and peft 0.21.2 on the CPU in f32); each file names
//! its tolerance, about twenty times what rounding alone moved the reference. Without the variable the tests pass
//! with a word.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod cli_support;

use std::fs;
use std::path::{Path, PathBuf};

use cli_support::{Tensors, from_env, json as run, largest_difference, read_json};
use serde_json::{Value, json};
use tempfile::TempDir;

const MODELS: [&str; 6] = ["llama", "llama_tied_sharded", "llama_bias_linear", "qwen3", "gemma2", "phi3"];
/// Where a file names none; the largest of those that are named.
const LOGITS_TOLERANCE: f32 = 1e-4;
const LOSS_TOLERANCE: f64 = 1e-4;

fn batch(golden: &Tensors) -> Value {
    let [ids, mask, labels] = ["input_ids", "attention_mask", "labels"].map(|name| golden.rows(name));
    json!({"input_ids": ids, "attention_mask": mask, "labels": labels})
}

fn score(dir: &Path, document: &Value, adapter: Option<&Path>) -> (Value, Tensors) {
    let temp = TempDir::new().unwrap();
    let (ids, logits) = (temp.path().join("ids.json"), temp.path().join("logits.safetensors"));
    fs::write(&ids, document.to_string()).unwrap();
    let mut args = vec!["score".into(), "--model".into(), dir.as_os_str().to_owned()];
    args.extend(["--ids".into(), ids.into(), "--logits".into(), logits.clone().into()]);
    if let Some(adapter) = adapter {
        args.extend(["--adapter".into(), adapter.as_os_str().to_owned()]);
    }
    (run(args), Tensors::read(&logits))
}

#[test]
fn loss_tokens_and_logits_are_those_of_transformers() {
    for name in MODELS {
        let Some(dir) = from_env("FTL_FIXTURES", &format!("models/{name}")) else { return };
        let golden = Tensors::read(&dir.join("golden.safetensors"));
        let facts = read_json(&dir.join("golden.json"));
        let tolerance = |key: &str| facts["suggested_tolerance"][key].as_f64().unwrap();
        let (document, logits) = score(&dir, &batch(&golden), None);

        let loss = document["loss_nats"].as_f64().unwrap() - facts["loss"].as_f64().unwrap();
        assert!(loss.abs() < tolerance("loss_abs"), "{name}: loss differs by {loss}");
        assert_eq!(document["tokens"], facts["n_label_tokens"]);
        assert_eq!(logits.shape("logits"), golden.shape("logits"));
        let difference = largest_difference(&logits.f32("logits"), &golden.f32("logits"));
        assert!(f64::from(difference) < tolerance("logits_abs"), "{name}: logits differ by {difference}");

        let (labels, nll) = (golden.rows("labels"), golden.f32("token_nll"));
        let width = labels[0].len();
        for (row, labels) in labels.iter().enumerate() {
            assert_eq!(document["token_nll"][row].as_array().unwrap().len(), width);
            for (place, label) in labels.iter().enumerate() {
                let got = document["token_nll"][row][place].as_f64();
                assert_eq!(got.is_some(), place > 0 && *label != -100, "{name}: token {place} of row {row}");
                if let Some(got) = got {
                    let expected = f64::from(nll[row * (width - 1) + place - 1]);
                    assert!((got - expected).abs() < LOSS_TOLERANCE, "{name}: {got} for {expected}");
                }
            }
        }
    }
}

/// The directories in a directory of reference numbers.
fn cases(kind: &str) -> Vec<PathBuf> {
    let Some(dir) = from_env("FTL_FIXTURES", kind) else { return Vec::new() };
    let cases: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!cases.is_empty(), "{} is empty", dir.display());
    cases
}

#[test]
fn positions_that_restart_begin_a_new_segment() {
    cases("packed").iter().for_each(|dir| a_packed_row_scores_as_its_documents(dir));
}

fn a_packed_row_scores_as_its_documents(dir: &Path) {
    let golden = Tensors::read(&dir.join("golden.safetensors"));
    let model = dir.join("../..").join(read_json(&dir.join("golden.json"))["base_model"].as_str().unwrap());
    let ids = golden.rows("input_ids");
    let packed = json!({"input_ids": ids, "position_ids": golden.rows("position_ids")});
    let (document, logits) = score(&model, &packed, None);
    let facts = read_json(&dir.join("golden.json"));
    let loss = document["loss_nats"].as_f64().unwrap() - facts["loss"].as_f64().unwrap();
    assert!(loss.abs() < LOSS_TOLERANCE, "loss differs by {loss}");
    assert_eq!(document["tokens"], facts["label_tokens"]);

    let (logits, last) = (logits.f32("logits"), golden.f32("logits_last_document"));
    let difference = largest_difference(&logits[logits.len() - last.len()..], &last);
    assert!(difference < LOGITS_TOLERANCE, "logits differ by {difference}");

    let second_start = facts["lengths"][0].as_u64().unwrap() as usize;
    let nll = document["token_nll"][0].as_array().unwrap();
    assert!(nll[0].is_null() && nll[second_start].is_null() && nll[second_start + 1].is_f64());

    // Without positions it is one segment, which the numbers must show.
    let (one, _) = score(&model, &json!({"input_ids": ids}), None);
    assert_ne!(one["loss_nats"], document["loss_nats"]);
    assert!(one["token_nll"][0][second_start].is_f64());
}

#[test]
fn an_adapter_changes_the_logits_as_in_peft() {
    // Those of plain low-rank products; the others have tests of their own.
    let plain =
        |dir: &&PathBuf| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("plain_"));
    cases("adapters").iter().filter(plain).for_each(|dir| an_adapter_scores_as_in_peft(dir));
}

fn an_adapter_scores_as_in_peft(adapter: &Path) {
    let model =
        adapter.join("../..").join(read_json(&adapter.join("golden.json"))["base_model"].as_str().unwrap());
    let golden = Tensors::read(&adapter.join("golden.safetensors"));
    let facts = read_json(&adapter.join("golden.json"));
    let document = batch(&Tensors::read(&model.join("golden.safetensors")));
    let (with, logits) = score(&model, &document, Some(adapter));
    let expected = golden.f32("logits_adapter");
    let difference = largest_difference(&logits.f32("logits")[..expected.len()], &expected);
    assert!(difference < LOGITS_TOLERANCE, "logits differ by {difference}");
    let loss = with["loss_nats"].as_f64().unwrap() - facts["loss"].as_f64().unwrap();
    assert!(loss.abs() < LOSS_TOLERANCE, "loss differs by {loss}");
    let (without, _) = score(&model, &document, None);
    assert_ne!(with["loss_nats"], without["loss_nats"]);
}

#[test]
fn rows_may_differ_in_length_and_score_as_alone() {
    let Some(model) = from_env("FTL_FIXTURES", "models/llama") else { return };
    let rows = [vec![1, 2, 3, 4, 5], vec![7, 8], vec![9]];
    let (together, logits) = score(&model, &json!({"input_ids": rows}), None);
    let vocab = read_json(&model.join("config.json"))["vocab_size"].as_u64().unwrap() as usize;
    assert_eq!(logits.shape("logits"), [3, 5, vocab]);
    assert_eq!(together["tokens"], 5);
    let logits = logits.f32("logits");
    assert!(logits[(5 + 2) * vocab..10 * vocab].iter().all(|logit| *logit == 0.0), "padding has no logits");
    for (row, ids) in rows.iter().enumerate() {
        let (alone, own) = score(&model, &json!({"input_ids": [ids]}), None);
        let own = own.f32("logits");
        let difference = largest_difference(&logits[row * 5 * vocab..][..own.len()], &own);
        assert!(difference < LOGITS_TOLERANCE, "row {row} differs by {difference}");
        assert_eq!(alone["token_nll"][0].as_array().unwrap().len(), ids.len());
    }
    assert_eq!(together["token_nll"][2], json!([null]));
    // A token alone is predicted by nothing.
    assert_eq!(score(&model, &json!({"input_ids": [[9]]}), None).0["loss_nats"], Value::Null);
}

#[test]
fn a_text_longer_than_the_context_is_scored_whole() {
    let Some(model) = from_env("FTL_DATA", "models/stories260K") else { return };
    let text = model.join("../../datasets/text/tinystories_v2_sample.txt");
    let document = run([Path::new("score"), Path::new("--model"), &model, Path::new("--text"), &text]);
    let nll = document["token_nll"][0].as_array().unwrap();
    assert!(nll.len() > 512, "longer than the context");
    assert_eq!(document["tokens"].as_u64().unwrap() as usize, nll.len() - 1);
    assert!(nll[0].is_null() && nll[1..].iter().all(Value::is_f64));
}

#[test]
fn data_is_scored_where_training_would_learn() {
    let Some(model) = from_env("FTL_DATA", "models/stories260K") else { return };
    let temp = TempDir::new().unwrap();
    let data = temp.path().join("data.jsonl");
    fs::write(&data, "{\"prompt\": \"Once upon a\", \"completion\": \" time, there was\"}\n").unwrap();
    let document = run([Path::new("score"), Path::new("--model"), &model, Path::new("--data"), &data]);
    let nll = document["token_nll"][0].as_array().unwrap();
    let n_scored = nll.iter().filter(|nll| !nll.is_null()).count();
    assert_eq!(document["tokens"].as_u64().unwrap() as usize, n_scored);
    // <s> and the prompt's three tokens are given.
    assert!(nll[..4].iter().all(Value::is_null) && nll[4..].iter().all(Value::is_f64), "{nll:?}");
}
