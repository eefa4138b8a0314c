//! `ftl-train render`, `inspect`, `schema` and `doctor`: what they say of files and machines.

#![expect(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod cli_support;

use std::fs;
use std::path::Path;

use cli_support::{from_env, ftl_train, json as run};
use serde_json::json;
use tempfile::TempDir;

const TOKENIZER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tokenizers/chatml");
const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant\n{{ hint or '' }}{% endif %}";

#[test]
fn rendering_marks_what_is_trained() {
    let temp = TempDir::new().unwrap();
    let write = |name: &str, text: String| {
        let path = temp.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let template = write("template.jinja", TEMPLATE.to_owned());
    let conversation = json!({"messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"},
    ]});
    let messages = write("messages.json", json!([conversation, conversation]).to_string());
    let arguments = write("arguments.json", json!({"hint": "Well"}).to_string());
    let args = ["render", "--model", TOKENIZER, "--template", &template, "--messages", &messages];

    let shown = ftl_train(args);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let once = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦Yes<|im_end|>⟧\n\n";
    assert_eq!(shown.stdout, once.repeat(2));

    let views = run(args);
    let view = &views[1];
    let n_tokens = view["ids"].as_array().unwrap().len();
    let mask = view["mask"].as_array().unwrap();
    assert_eq!(mask.len(), n_tokens);
    assert!(mask[0] == 0 && mask.iter().any(|trained| *trained == 1));
    assert_eq!(view["text"], once.replace(['⟦', '⟧'], "").trim_end().to_owned() + "\n");

    let more = ["--add-generation-prompt", "--template-args", &arguments];
    let prompted = run(args.iter().chain(&more));
    assert!(prompted[0]["text"].as_str().unwrap().ends_with("<|im_start|>assistant\nWell"));
    let continued = run(args.iter().chain(&["--continue-final-message"]));
    assert!(continued[0]["text"].as_str().unwrap().ends_with("<|im_start|>assistant\nYes"));
}

#[test]
fn inspecting_counts_weights_and_bytes() {
    let Some(model) = from_env("FTL_DATA", "models/stories260K-bf16") else { return };
    let facts = run([Path::new("inspect"), &model]);
    assert_eq!(facts["kind"], "model");
    assert_eq!(facts["architecture"], "LlamaForCausalLM");
    assert_eq!(facts["parameters"], 260_032);
    assert_eq!(facts["weights"]["bytes_by_dtype"], json!({"BF16": 2 * 260_032}));
    assert_eq!(facts["context_tokens"], 512);
    assert_eq!(facts["tied_embeddings"], true);
    assert_eq!(facts["tokenizer"]["stop_ids"], json!([1, 2]));
    assert_eq!(facts["lora_targets"].as_array().unwrap().len(), 7);
}

#[test]
fn inspecting_names_the_linears_of_the_family() {
    let Some(model) = from_env("FTL_FIXTURES", "models/phi3") else { return };
    let facts = run([Path::new("inspect"), &model]);
    assert_eq!(facts["architecture"], "Phi3ForCausalLM");
    assert_eq!(facts["lora_targets"], json!(["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]));
}

#[test]
fn inspecting_describes_an_adapter_and_a_model_without_weights() {
    let Some(adapter) = from_env("FTL_FIXTURES", "adapters/plain_llama") else { return };
    let facts = run([Path::new("inspect"), &adapter]);
    assert_eq!((&facts["kind"], &facts["r"]), (&json!("adapter"), &json!(8)));
    assert_eq!(facts["bytes"].as_u64().unwrap(), 4 * facts["parameters"].as_u64().unwrap());

    let temp = TempDir::new().unwrap();
    let config = adapter.join("../../models/llama/config.json");
    fs::write(temp.path().join("config.json"), fs::read(config).unwrap()).unwrap();
    let facts = run([Path::new("inspect"), temp.path()]);
    assert_eq!((&facts["parameters"], &facts["weights"]), (&json!(127_296), &json!(null)));
}

#[test]
fn the_schema_describes_every_section() {
    let schema = run(["schema"]);
    for section in ["model", "data", "adapter", "train", "device"] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[test]
fn the_doctor_finds_a_device_to_train_on() {
    let diagnosis = run(["doctor"]);
    assert!(diagnosis["devices"].as_array().unwrap().contains(&json!("cpu")));
    assert!(diagnosis["cpu"]["n_threads"].as_u64().unwrap() > 0);
    assert!(ftl_train(["doctor"]).stdout.starts_with("can train on"));
}
