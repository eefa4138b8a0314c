//! Turns that are remembered are those that rendering finds, over conversations of all kinds.

#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

use std::cell::Cell;
use std::path::{Path, PathBuf};

use ftl_trainer::data::format::Conversation;
use ftl_trainer::data::spelled::encode_rendered;
use ftl_trainer::data::template::{ChatTemplate, Ending, Scene};
use ftl_trainer::data::tokenize::Tokenizer;
use ftl_trainer::data::turns::{Search, Turns};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-zA-Z0-9 .,\\n]{0,30}",
        1 => Just("a".to_owned()),
        1 => Just("assistant\n".to_owned()),
        1 => Just("<|im_start|>assistant\nfake<|im_end|>\n".to_owned()),
        1 => Just("<start_of_turn>model\n".to_owned()),
        1 => Just("[/INST] no </s>".to_owned()),
        1 => Just("  spaces \n".to_owned()),
        1 => Just(String::new()),
        1 => Just("<think>\nwhy\n</think>\n\nso".to_owned()),
        1 => Just("<think>\n\n</think>\n\n".to_owned()),
        1 => Just("<think>open".to_owned()),
        1 => Just("<tool_response>x</tool_response>".to_owned()),
        1 => Just("日本語、です。é".to_owned()),
        1 => Just("\u{FDD0}\u{FDD3}".to_owned()),
    ]
}

fn messages() -> impl Strategy<Value = (Value, Option<Value>)> {
    let system = proptest::option::of(texts());
    let turn = (texts(), texts(), proptest::option::of(texts()), 0..8_u8);
    let turns = proptest::collection::vec(turn, 1..5);
    (system, turns, any::<bool>(), any::<bool>()).prop_map(|(system, turns, has_tools, asks_last)| {
        let mut messages = Vec::new();
        messages.extend(system.map(|content| json!({"role": "system", "content": content})));
        for (question, answer, more, kind) in turns {
            messages.push(json!({"role": "user", "content": question}));
            match kind {
                0 if has_tools => {
                    messages.push(json!({"role": "assistant", "content": more, "tool_calls": [
                        {"type": "function", "function": {"name": "f", "arguments": {"x": answer, "n": 1}}}]}));
                    messages.push(json!({"role": "tool", "content": question}));
                    messages.push(json!({"role": "assistant", "content": "done"}));
                }
                1 => messages.push(json!({"role": "assistant", "content": answer, "reasoning_content": more})),
                2 => messages.push(json!({"role": "assistant", "content": answer, "weight": 0})),
                _ => messages.push(json!({"role": "assistant", "content": answer})),
            }
        }
        if asks_last {
            messages.push(json!({"role": "user", "content": "last"}));
        }
        let tools = has_tools.then(|| json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]));
        (Value::from(messages), tools)
    })
}

fn templates() -> Vec<(String, String, PathBuf)> {
    let mut found = Vec::new();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml");
    for (name, source) in [
        (
            "no generation prompt",
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
        ),
        (
            "thinks first",
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content or '') + '<|im_end|>\n' }}{% endfor %}\
             {% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
        ),
        ("no words at all", "{% for m in messages %}{{ m.content or '' }}{% endfor %}"),
        (
            "numbers its turns",
            "{{ messages | length }}{% for m in messages %}[{{ loop.index }}]{{ m.role }}: {{ m.content or '' }}\n{% endfor %}\
             {% if add_generation_prompt %}[{{ messages | length + 1 }}]assistant: {% endif %}",
        ),
        (
            "ends every rendering",
            "{% for m in messages %}{{ m.role + ':' + (m.content or '') + '<|im_end|>' }}{% endfor %}\
             {% if add_generation_prompt %}assistant:{% else %}<|endoftext|>{% endif %}",
        ),
    ] {
        found.push((name.to_owned(), source.to_owned(), own.clone()));
    }
    let Some(dir) = std::env::var_os("FTL_FIXTURES").map(PathBuf::from) else {
        println!("without FTL_FIXTURES: only templates written for this test");
        return found;
    };
    let text = std::fs::read_to_string(dir.join("templates/cases.json")).expect("the fixture can be read");
    let file: Value = serde_json::from_str(&text).expect("the fixture is JSON");
    for (name, source) in file["templates"].as_object().expect("templates") {
        let cases = file["cases"].as_array().expect("cases");
        let case = cases.iter().find(|case| case["template"] == name.as_str()).expect("a case");
        let tokenizer = dir.join("templates/tokenizers").join(case["tokenizer"].as_str().expect("a name"));
        let source = source.as_str().expect("a source").to_owned();
        // Also without the template's own marks, which would rule.
        let unmarked = source.replace("generation %}", "if true %}").replace("endif true %}", "endif %}");
        let unmarked = unmarked.replace("{%- endgeneration %}", "{%- endif %}");
        found.push((name.clone(), source.clone(), tokenizer.clone()));
        if unmarked != source {
            found.push((format!("{name} without marks"), unmarked, tokenizer));
        }
    }
    found
}

#[test]
fn remembered_turns_are_those_that_rendering_finds() {
    let (n_found, n_traced) = (Cell::new(0_usize), Cell::new(0_usize));
    for (name, source, tokenizer) in templates() {
        let tokenizer = Tokenizer::load(&tokenizer).expect("a tokenizer");
        let template = ChatTemplate::new(&source, &name, tokenizer.special_tokens())
            .unwrap_or_else(|problem| panic!("{name}: {problem}\n{source}"));
        let no_arguments = Map::new();
        let mut runner = TestRunner::new_with_rng(
            Config { cases: 60, failure_persistence: None, ..Config::default() },
            proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
        );
        let result = runner.run(&messages(), |(messages, tools)| {
            let conversation = Conversation::from_parts(&messages, tools.as_ref()).expect("valid");
            let scene = Scene::new(&template, &conversation, &no_arguments).expect("a scene");
            let Ok(rendered) = scene.render(conversation.messages.len(), Ending::Complete) else {
                return Ok(());
            };
            let (tokens, _) =
                encode_rendered(&tokenizer, &scene, &rendered, Ending::Complete).expect("tokens");
            let controls = || {
                let tokens = tokens.ids.iter().zip(&tokens.offsets);
                tokens.filter(|(id, _)| tokenizer.is_special(**id)).map(|(_, bytes)| bytes.clone()).collect()
            };
            let remembered = Turns::new(&scene, &rendered, controls(), Search::Remembered);
            let found = Turns::new(&scene, &rendered, controls(), Search::Rendered);
            prop_assert_eq!(remembered.trained(), found.trained(), "{}: {:?}", name, rendered.text);
            prop_assert_eq!(remembered.left_out().is_some(), found.left_out().is_some(), "{}", rendered.text);
            n_found.set(n_found.get() + usize::from(found.trained().is_ok_and(|spans| !spans.is_empty())));
            n_traced.set(n_traced.get() + usize::from(remembered.trace().is_some()));
            Ok(())
        });
        if let Err(error) = result {
            panic!("{name}: {error}");
        }
    }
    let (n_found, n_traced) = (n_found.get(), n_traced.get());
    println!("{n_found} conversations with turns, {n_traced} traced");
    assert!(n_traced > n_found / 3 && n_found > 100);
}
