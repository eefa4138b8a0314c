//! Chat templates against transformers 5.23 `apply_chat_template`: text, ids, masks and errors.
//! The cases come from outside the repository, from the directory in `FTL_FIXTURES`.

use std::path::{Path, PathBuf};

use ftl_trainer::data::encode::{Encoder, View};
use ftl_trainer::data::format::Conversation;
use ftl_trainer::data::template::{ChatTemplate, Ending};
use ftl_trainer::data::tokenize::{Around, Specials, Tokenizer};
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
        let encoder = Encoder { tokenizer, template: Some(template), arguments };
        let view = encoder.view(&conversation, ending).map_err(|problem| problem.to_string())?;
        let mask: Vec<u8> = view.mask.iter().map(|trained| u8::from(*trained)).collect();
        if json!(mask) != case["assistant_masks"] {
            return Err(format!("mask {mask:?} instead of {}", case["assistant_masks"]));
        }
    }
    Ok(())
}

/// Several answers, leading and trailing spaces, a last word of the user.
fn conversations() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        vec![("user", "Name a town."), ("assistant", "Oslo")],
        vec![
            ("user", "Name a town."),
            ("assistant", "Oslo"),
            ("user", "Another one, Oslo is cold."),
            ("assistant", "  Rome, then.\n\nOr Oslo. "),
            ("user", "No."),
            ("assistant", "Ok"),
        ],
        vec![("user", "1"), ("assistant", "1"), ("user", "1"), ("assistant", "1"), ("user", "1")],
    ]
}

/// The text of each run of trained tokens.
fn trained(tokenizer: &Tokenizer, view: &View) -> Vec<String> {
    let mut runs: Vec<Vec<u32>> = Vec::new();
    let mut before = false;
    for (id, trained) in view.ids.iter().zip(&view.mask) {
        if *trained && !before {
            runs.push(Vec::new());
        }
        if *trained {
            runs.last_mut().expect("pushed").push(*id);
        }
        before = *trained;
    }
    runs.iter().map(|run| tokenizer.decode(run, Specials::Shown).expect("decodes")).collect()
}

#[test]
fn all_answers_and_nothing_else_are_trained_in_every_family() {
    let Some(dir) = fixtures() else { return };
    let file = read_json(&dir.join("templates/cases.json"));
    let mut n_checked = 0;
    // The token that ends a turn, from each family's documentation.
    for (family, end, space_before_end) in [
        ("chatml", "<|im_end|>", ""),
        ("chatml_default_system", "<|im_end|>", ""),
        ("chatml_generation", "<|im_end|>", ""),
        ("llama2", "</s>", " "),
        ("mistral_instruct", "</s>", ""),
        ("zephyr", "</s>", ""),
        ("llama3", "<|eot_id|>", ""),
        ("llama3_training", "<|eot_id|>", ""),
        ("llama3_1", "<|eot_id|>", ""),
        ("qwen2_5", "<|im_end|>", ""),
        ("qwen2_5_training", "<|im_end|>", ""),
        ("qwen3", "<|im_end|>", ""),
        ("qwen3_training", "<|im_end|>", ""),
        ("gemma", "<end_of_turn>", ""),
        ("gemma_training", "<end_of_turn>", ""),
        ("gemma3", "<end_of_turn>", ""),
        ("phi3", "<|end|>", ""),
        ("phi3_training", "<|end|>", ""),
    ] {
        let case = file["cases"].as_array().expect("cases").iter().find(|case| case["template"] == family);
        let case = case.expect("a case of the family");
        let tokenizer = dir.join("templates/tokenizers").join(case["tokenizer"].as_str().expect("a name"));
        let tokenizer = Tokenizer::load(&tokenizer).expect("a tokenizer");
        let source = file["templates"][family].as_str().expect("a source");
        let template = ChatTemplate::new(source, family, tokenizer.special_tokens()).expect("compiles");
        let encoder = Encoder { tokenizer, template: Some(template), arguments: Map::new() };
        for turns in conversations() {
            let messages: Vec<Value> =
                turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
            let conversation = Conversation::from_parts(&json!(messages), None).expect("valid");
            let view = encoder.view(&conversation, Ending::Complete).expect("a view");
            let runs = trained(&encoder.tokenizer, &view);
            let answers: Vec<&str> =
                turns.iter().filter(|(role, _)| *role == "assistant").map(|(_, text)| *text).collect();
            assert_eq!(runs.len(), answers.len(), "{family}: {runs:?} in {:?}", view.text);
            for (run, answer) in runs.iter().zip(&answers) {
                // Templates may trim an answer, think before it, and end the last one with one more token.
                let thought = run.rsplit("</think>").next().expect("a part");
                let said = thought.split(end).next().expect("a part");
                assert_eq!(said.trim(), answer.trim(), "{family}: {runs:?}");
                assert!(run.contains(&format!("{}{end}", said.trim_start())), "{family}: {runs:?}");
                let extra = run.split(end).nth(1).expect("the end token is trained");
                assert!(["", "\n", "\n<|endoftext|>", "<|endoftext|>"].contains(&extra), "{family}: {run:?}");
                if !encoder.template.as_ref().expect("set").marks_generation() && !extra.contains("endoftext")
                {
                    assert!(run.ends_with(end), "{family}: the white space after {run:?} is not trained");
                }
                assert!(said.ends_with(space_before_end), "{family}: {run:?}");
                n_checked += 1;
            }
        }
    }
    assert_eq!(n_checked, 18 * 6);
}
