//! Chat templates against transformers 5.23 `apply_chat_template`: text, ids, masks and errors.
//! The cases come from outside the repository, from the directory in `FTL_FIXTURES`.

#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

use std::path::{Path, PathBuf};

use ftl_core::spec::BUILT_IN_TEMPLATES;
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::data::encode::{Encoder, View, Words};
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
        let view =
            encoder.view(&conversation, ending, Words::AsWritten).map_err(|problem| problem.to_string())?;
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
            let view = encoder.view(&conversation, Ending::Complete, Words::AsWritten).expect("a view");
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

/// Where a family has the template twice, with and without `{% generation %}`, both ways must agree.
#[test]
fn turns_found_by_rendering_equal_those_that_the_template_marks() {
    let Some(dir) = fixtures() else { return };
    let file = read_json(&dir.join("templates/cases.json"));
    let mut n_equal = 0;
    for (plain, marked) in [
        ("llama3", "llama3_training"),
        ("qwen2_5", "qwen2_5_training"),
        ("qwen3", "qwen3_training"),
        ("gemma", "gemma_training"),
        ("phi3", "phi3_training"),
        ("chatml", "chatml_generation"),
    ] {
        let cases = file["cases"].as_array().expect("cases");
        for case in cases.iter().filter(|case| case["template"] == marked && case.get("expected").is_some()) {
            let (ending, arguments) = options(case);
            let view = |name: &str| {
                let dir = dir.join("templates/tokenizers").join(case["tokenizer"].as_str().expect("a name"));
                let tokenizer = Tokenizer::load(&dir).expect("a tokenizer");
                let source = file["templates"][name].as_str().expect("a source");
                let template = ChatTemplate::new(source, name, tokenizer.special_tokens()).expect("compiles");
                let encoder = Encoder { tokenizer, template: Some(template), arguments: arguments.clone() };
                let conversation =
                    Conversation::from_parts(&case["messages"], case["options"].get("tools")).expect("valid");
                let view = encoder.view(&conversation, ending, Words::AsWritten).expect("a view");
                let runs = trained(&encoder.tokenizer, &view);
                // The marks may take in the white space around an answer.
                (view.text, runs.iter().map(|run| run.trim().to_owned()).collect::<Vec<_>>())
            };
            let ((text, by_rendering), (marked_text, by_mark)) = (view(plain), view(marked));
            if text == marked_text {
                assert_eq!(by_rendering, by_mark, "{}", case["id"]);
                n_equal += usize::from(!by_mark.is_empty());
            }
        }
    }
    println!("{n_equal} conversations");
    assert!(n_equal > 20);
}

fn render(source: &str, messages: &Value, arguments: &Value) -> Result<String, Problem> {
    let specials = json!({"bos_token": "<s>", "eos_token": "</s>"});
    let template = ChatTemplate::new(source, "a test", specials.as_object().expect("an object"))?;
    let conversation = Conversation::from_parts(messages, None).expect("valid");
    let arguments = arguments.as_object().expect("an object");
    template.render(&conversation, Ending::Complete, arguments).map(|rendered| rendered.text)
}

#[test]
fn templates_know_what_pythons_know() {
    let messages = json!([{"role": "user", "content": " é<b> "}]);
    let arguments =
        json!({"x": {"b": [1, 2.0, null, true], "a": "\"é</b>'"}, "text": "a,b,c", "numbers": [3, 1]});
    // What Jinja2 3.1 in transformers' environment makes of each.
    for (source, expected) in [
        ("{{ x | tojson }}", r#"{"b": [1, 2.0, null, true], "a": "\"é</b>'"}"#),
        (
            "{{ x | tojson(ensure_ascii=true, sort_keys=true) }}",
            r#"{"a": "\"\u00e9</b>'", "b": [1, 2.0, null, true]}"#,
        ),
        ("{{ x.b | tojson(indent=2) }}", "[\n  1,\n  2.0,\n  null,\n  true\n]"),
        ("{{ x.b | tojson(separators=(',', ':')) }}", "[1,2.0,null,true]"),
        ("{{ [] | tojson(indent=2) }}{{ {} | tojson }}", "[]{}"),
        ("{{ text.split(',')[-1] }}{{ text.rsplit(',', 1)[0] }}", "ca,b"),
        ("{{ text.removeprefix('a') }}{{ text.removesuffix('c') }}", ",b,ca,b,"),
        ("{{ text.partition(',')[2] }}{{ text.rpartition(',')[0] }}", "b,ca,b"),
        ("{{ messages[0].content.strip() }}{{ messages[0]['content'] | trim }}", "é<b>é<b>"),
        ("{{ bos_token + eos_token }}{{ unknown }}", "<s></s>"),
        ("{{ tools is none }}{{ documents is none }}{{ tools is defined }}", "TrueTrueTrue"),
        (
            "{{ text is iterable }}{{ text is sequence }}{{ x is mapping }}{{ 1 is iterable }}",
            "TrueTrueTrueFalse",
        ),
        ("{{ none is iterable }}{{ none is sequence }}", "FalseFalse"),
        ("{% for n in numbers %}{% if n == 1 %}{% break %}{% endif %}{{ n }}{% endfor %}", "3"),
        ("{% for n in numbers %}{% if n == 3 %}{% continue %}{% endif %}{{ n }}{% endfor %}", "1"),
        (
            "{% for k, v in x.items() %}{{ k }}{% endfor %}{% for k, v in x | items %}{{ k }}{% endfor %}",
            "baba",
        ),
        ("{{ x.get('z', 'none') }}{{ x.copy().a | length }}", "none7"),
        ("  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"),
        ("{{ 7 // 2 }}{{ 7 % 4 }}{{ numbers[::-1][0] }}{{ 'ab'[1:] }}", "331b"),
        ("{{ strftime_now('%%') }}{{ strftime_now('%Y') | length }}", "%4"),
        ("{{ '%s=%d' | format('a', 3) }}{{ 'a' ~ 1 ~ none }}", "a=3a1None"),
        ("{% generation %}a{% set y = 1 %}{% endgeneration %}{{ y is defined }}", "aFalse"),
    ] {
        assert_eq!(render(source, &messages, &arguments).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn arguments_beat_the_usual_variables() {
    let messages = json!([{"role": "user", "content": "a"}]);
    let text = render("{{ bos_token }}{{ day }}", &messages, &json!({"bos_token": "B", "day": "Monday"}));
    assert_eq!(text.as_deref(), Ok("BMonday"));
}

#[test]
fn templates_that_can_not_be_used_are_refused() {
    let messages = json!([{"role": "user", "content": "a"}]);
    for (source, expected) in [
        ("{% if %}", "the chat template can't be compiled: "),
        ("a\n{{ b | nothing }}", "the chat template fails in line 2: "),
        ("{{ raise_exception('No ' + 'tools') }}", "the chat template refuses the conversation: No tools"),
        ("{{ messages[0].nothing.more }}", "the chat template fails in line 1: "),
        (
            "{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}",
            "the chat template fails",
        ),
        (
            "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
            "the chat template fails",
        ),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "the chat template fails in line 1: "),
        (
            "{% generation %}{% generation %}a{% endgeneration %}{% endgeneration %}",
            "the chat template has a `generation` block inside another",
        ),
        (
            "{% set x %}{% generation %}abc{% endgeneration %}{% endset %}{{ x[:2] }}",
            "the chat template cuts a `generation` block in two",
        ),
        ("{% include 'other' %}", "the chat template fails in line 1: "),
    ] {
        let problem = render(source, &messages, &json!({})).expect_err("refused");
        assert_eq!(problem.kind, ProblemKind::BadTemplate);
        assert!(problem.message.starts_with(expected), "{source}: {problem}");
        assert_eq!(problem.field.as_deref(), Some("a test"));
    }
}

#[test]
fn characters_that_mark_places_may_be_in_the_data() {
    let messages = json!([{"role": "assistant", "content": "\u{fdd0}a\u{fdd1}"}]);
    let specials = Map::new();
    let source = "b{% generation %}{{ messages[0].content }}{% endgeneration %}";
    let template = ChatTemplate::new(source, "a test", &specials).expect("compiles");
    let conversation = Conversation::from_parts(&messages, None).expect("valid");
    let rendered = template.render(&conversation, Ending::Complete, &Map::new()).expect("renders");
    assert_eq!(rendered.text, "b\u{fdd0}a\u{fdd1}");
    assert_eq!(rendered.generated, std::slice::from_ref(&(1..8)));
}

#[test]
fn continued_messages_end_where_they_end() {
    let messages = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b  "}]);
    let conversation = Conversation::from_parts(&messages, None).expect("valid");
    for (source, expected) in [
        ("{% for m in messages %}[{{ m.content }}]{% endfor %}", Ok("[a][b  ")),
        ("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}", Ok("[a][b")),
        (
            "{{ messages[0].content }}",
            Err("the chat template leaves out the last message, so it can't be continued"),
        ),
    ] {
        let template = ChatTemplate::new(source, "a test", &Map::new()).expect("compiles");
        let rendered = template.render(&conversation, Ending::ContinueFinalMessage, &Map::new());
        let rendered = rendered.map(|rendered| rendered.text).map_err(|problem| problem.message);
        assert_eq!(rendered.as_deref().map_err(String::as_str), expected);
    }
    let calls = json!([{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}]);
    let conversation = Conversation::from_parts(&calls, None).expect("valid");
    let template = ChatTemplate::new("a", "a test", &Map::new()).expect("compiles");
    let problem =
        template.render(&conversation, Ending::ContinueFinalMessage, &Map::new()).expect_err("refused");
    assert_eq!(problem.message, "the last message has no text that could be continued");
}

#[test]
fn the_users_template_beats_the_file_and_the_file_beats_the_config() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let conversation =
        Conversation::from_parts(&json!([{"role": "user", "content": "a"}]), None).expect("valid");
    let text = |own: Option<&Path>, conversation: &Conversation| {
        let template = ChatTemplate::load(dir.path(), own, &Map::new()).expect("loads");
        template.map(|template| {
            template.render(conversation, Ending::Complete, &Map::new()).expect("renders").text
        })
    };
    assert_eq!(text(None, &conversation), None);
    write("tokenizer_config.json", r#"{"chat_template": "config"}"#);
    assert_eq!(text(None, &conversation).as_deref(), Some("config"));
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "default"}]}"#,
    );
    assert_eq!(text(None, &conversation).as_deref(), Some("default"));
    let with_tools = Conversation { tools: Some(json!([{"name": "f"}])), ..conversation.clone() };
    assert_eq!(text(None, &with_tools).as_deref(), Some("tools"));
    write("chat_template.jinja", "file");
    assert_eq!(text(None, &conversation).as_deref(), Some("file"));
    let own = write("mine.jinja", "mine");
    assert_eq!(text(Some(&own), &conversation).as_deref(), Some("mine"));
}

#[test]
fn template_files_that_can_not_be_read_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let load = |own: Option<&Path>| {
        ChatTemplate::load(dir.path(), own, &Map::new()).map(|_| ()).expect_err("refused")
    };
    let missing = load(Some(&dir.path().join("missing.jinja")));
    assert_eq!(missing.kind, ProblemKind::NotFound);
    assert!(missing.message.starts_with("there is no file `"), "{missing}");
    let hint = missing.hint.expect("a hint");
    assert!(BUILT_IN_TEMPLATES.into_iter().all(|name| hint.contains(name)), "{hint}");
    let latin = dir.path().join("latin.jinja");
    std::fs::write(&latin, b"caf\xE9").expect("written");
    assert_eq!(load(Some(&latin)).message, "the file is not UTF-8");
    for (config, expected) in [
        ("{", "the file is not JSON: "),
        (r#"{"chat_template": 5}"#, "`chat_template` is neither a string nor a list of templates"),
        (r#"{"chat_template": []}"#, "`chat_template` has no template named `default`"),
    ] {
        std::fs::write(dir.path().join("tokenizer_config.json"), config).expect("written");
        let problem = load(None);
        assert_eq!(problem.kind, ProblemKind::BrokenModel);
        assert!(problem.message.starts_with(expected), "{problem}");
    }
}
