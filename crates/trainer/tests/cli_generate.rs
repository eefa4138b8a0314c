//! `ftl-train generate` against transformers: greedy tokens of `FTL_FIXTURES`, and a text of `FTL_DATA`.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod cli_support;

use std::fs;
use std::path::{Path, PathBuf};

use cli_support::{from_env, ftl_train, json as run, read_json};
use serde_json::{Value, json};
use tempfile::TempDir;

fn stories(more: &[&str]) -> Option<Vec<String>> {
    let model = from_env("FTL_DATA", "models/stories260K")?;
    let args = ["generate", "--model", model.to_str().unwrap()];
    Some(args.iter().chain(more).map(|arg| (*arg).to_owned()).collect())
}

fn prompts_file(temp: &TempDir, rows: &Value) -> PathBuf {
    let path = temp.path().join("prompts.json");
    fs::write(&path, json!({"input_ids": rows}).to_string()).unwrap();
    path
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for name in ["llama", "llama_tied_sharded", "llama_bias_linear"] {
        let Some(dir) = from_env("FTL_FIXTURES", &format!("models/{name}")) else { return };
        let golden = read_json(&dir.join("golden.json"))["greedy"].as_array().unwrap().clone();
        let temp = TempDir::new().unwrap();
        let prompts = golden.iter().map(|case| case["prompt_ids"].clone()).collect();
        let path = prompts_file(&temp, &prompts);
        let args = ["generate", "--temperature", "0", "--max-new-tokens", "16", "--model"].map(Path::new);
        let document = run(args.into_iter().chain([dir.as_path(), Path::new("--ids"), &path]));
        for (sequence, case) in document["sequences"].as_array().unwrap().iter().zip(&golden) {
            assert_eq!(sequence["ids"], case["generated_ids"], "{name}");
            assert_eq!(sequence["stop_reason"], "max_new_tokens");
            assert!(sequence["text"].is_string());
        }
    }
}

#[test]
fn an_empty_prompt_begins_a_text() {
    let Some(args) = stories(&["--prompt", "", "--max-new-tokens", "256"]) else { return };
    let document = run(&args);
    let golden = read_json(&Path::new(&args[2]).join("GOLDEN.json"));
    let (text, ids) = (&golden["greedy_from_bos_text"], golden["greedy_from_bos_ids"].as_array().unwrap());
    let sequence = &document["sequences"][0];
    assert!(sequence["text"].as_str().unwrap().starts_with(text.as_str().unwrap()));
    assert_eq!(sequence["ids"].as_array().unwrap()[..ids.len() - 1], ids[1..]);
    // For people the text is written as it grows, and is the same.
    let shown = ftl_train(&args);
    assert_eq!(shown.code, 0);
    assert_eq!(shown.stdout.strip_suffix('\n'), sequence["text"].as_str());
}

#[test]
fn a_seed_repeats_and_another_differs() {
    let drawn = |seed: &str| {
        let args = ["--prompt", "Once", "--max-new-tokens", "24", "--temperature", "1", "--seed", seed];
        stories(&args).map(|args| run(&args)["sequences"][0]["ids"].clone())
    };
    let Some(first) = drawn("1") else { return };
    assert_eq!(drawn("1").unwrap(), first);
    assert_ne!(drawn("2").unwrap(), first);
}

#[test]
fn the_likeliest_of_one_is_greedy() {
    let more = ["--prompt", "Once", "--max-new-tokens", "24"];
    let Some(greedy) = stories(&more) else { return };
    let drawn = stories(&[&more[..], &["--top-k", "1", "--temperature", "2"]].concat()).unwrap();
    assert_eq!(run(&greedy), run(&drawn));
}

#[test]
fn a_full_context_ends_a_text() {
    let Some(args) = stories(&["--max-new-tokens", "9", "--ids"]) else { return };
    let temp = TempDir::new().unwrap();
    let path = prompts_file(&temp, &json!([vec![403; 510]]));
    let document = run(args.iter().map(Path::new).chain([path.as_path()]));
    let sequence = &document["sequences"][0];
    assert_eq!(sequence["ids"].as_array().unwrap().len(), 2);
    assert_eq!(sequence["stop_reason"], "context_full");
}

#[test]
fn an_end_token_ends_a_text_and_is_not_in_it() {
    let Some(args) = stories(&["--max-new-tokens", "400", "--ids"]) else { return };
    let stories = Path::new(&args[2]);
    // Greedy text may go on for ever, so the full stop becomes an end token.
    let temp = TempDir::new().unwrap();
    for entry in fs::read_dir(stories).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), temp.path().join(entry.file_name())).unwrap();
        }
    }
    const FULL_STOP: u64 = 426;
    let path = temp.path().join("generation_config.json");
    fs::set_permissions(&path, fs::metadata(temp.path()).unwrap().permissions()).unwrap();
    fs::write(&path, json!({"eos_token_id": [FULL_STOP]}).to_string()).unwrap();
    let prompts = prompts_file(&temp, &json!([[1, 403, 407, 261]]));
    let args = ["generate", "--max-new-tokens", "400", "--model"].map(Path::new);
    let document = run(args.into_iter().chain([temp.path(), Path::new("--ids"), &prompts]));
    let sequence = &document["sequences"][0];
    assert_eq!(sequence["stop_reason"], "eos");
    assert_eq!(sequence["ids"].as_array().unwrap().last().unwrap(), FULL_STOP);
    assert_eq!(sequence["text"], "time, there was a little girl named Lily");
}
