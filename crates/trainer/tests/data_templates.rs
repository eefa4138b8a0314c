//! Chat templates against transformers 5.23 `apply_chat_template`: text, ids, masks and errors.
//! The cases come from outside the repository, from the directory in `FTL_FIXTURES`.

use std::path::{Path, PathBuf};

use ftl_trainer::data::format::Conversation;
use ftl_trainer::data::template::{ChatTemplate, Ending};
use ftl_trainer::data::tokenize::{Around, Tokenizer};
use serde_json::{Map, Value, json};

fn fixtures() -> Option<PathBuf> {
    let dir = std::env::var_os("FTL_FIXTURES").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: FTL_FIXTURES is not set");
    }
    dir
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the fixture can be read");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

/// What an option of a case is for us: an ending, tools, or a template variable.
fn options(case: &Value) -> (Ending, Map<String, Value>) {
    let mut ending = Ending::Complete;
    let mut arguments = Map::new();
    for (name, value) in case["options"].as_object().expect("options") {
        match (name.as_str(), value) {
            ("add_generation_prompt", Value::Bool(true)) => ending = Ending::GenerationPrompt,
            ("continue_final_message", Value::Bool(true)) => ending = Ending::ContinueFinalMessage,
            ("add_generation_prompt" | "continue_final_message", Value::Bool(false)) | ("tools", _) => {}
            _ => {
                arguments.insert(name.clone(), value.clone());
            }
        }
    }
    (ending, arguments)
}

#[test]
fn templates_render_as_transformers_renders_them() {
    let Some(dir) = fixtures() else { return };
    let file = read_json(&dir.join("templates/cases.json"));
    let mut failures = Vec::new();
    let cases = file["cases"].as_array().expect("cases");
    for case in cases {
        if let Err(what) = check(&dir, &file, case) {
            failures.push(format!("{}: {what}", case["id"]));
        }
    }
    println!("{} of {} cases", cases.len() - failures.len(), cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn check(dir: &Path, file: &Value, case: &Value) -> Result<(), String> {
    let source = file["templates"][case["template"].as_str().expect("a name")].as_str().expect("a source");
    let mut special_tokens = Map::new();
    for name in ["bos_token", "eos_token"] {
        if !case[name].is_null() {
            special_tokens.insert(name.to_owned(), case[name].clone());
        }
    }
    let template =
        ChatTemplate::new(source, "a fixture", &special_tokens).map_err(|problem| problem.to_string())?;
    let conversation = Conversation::from_parts(&case["messages"], case["options"].get("tools"))?;
    let (ending, arguments) = options(case);
    let rendered = match (template.render(&conversation, ending, &arguments), case.get("expected_error")) {
        (Err(problem), Some(expected)) if problem.message.contains(expected.as_str().unwrap_or("?")) => {
            return Ok(());
        }
        (Err(problem), expected) => return Err(format!("{problem}, expected {expected:?}")),
        (Ok(rendered), Some(expected)) => {
            return Err(format!("{rendered:?} instead of the error {expected}"));
        }
        (Ok(rendered), None) => rendered,
    };
    let expected = case["expected"].as_str().expect("a text");
    if rendered.text != expected {
        return Err(format!("\n{:?}\ninstead of\n{expected:?}", rendered.text));
    }
    let tokenizer =
        Tokenizer::load(&dir.join("templates/tokenizers").join(case["tokenizer"].as_str().expect("a name")))
            .map_err(|problem| problem.to_string())?;
    let encoded = tokenizer
        .encode_with_offsets(&rendered.text, Around::Nothing)
        .map_err(|problem| problem.to_string())?;
    if json!(encoded.ids) != case["expected_ids"] {
        return Err(format!("{:?} instead of {}", encoded.ids, case["expected_ids"]));
    }
    if let Some(spans) = case.get("assistant_char_spans") {
        let chars = |byte: usize| rendered.text[..byte].chars().count();
        let ours: Vec<[usize; 2]> =
            rendered.generated.iter().map(|span| [chars(span.start), chars(span.end)]).collect();
        if json!(ours) != *spans {
            return Err(format!("spans {ours:?} instead of {spans}"));
        }
    }
    Ok(())
}
