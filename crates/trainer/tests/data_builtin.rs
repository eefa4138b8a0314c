//! The chat templates that come with the program.

use std::path::{Path, PathBuf};

use ftl_core::ProblemKind;
use ftl_core::spec::resolved::LossOn;
use ftl_core::spec::{BUILT_IN_TEMPLATES, JobSpec};
use ftl_trainer::data::encode::{Encoder, Words};
use ftl_trainer::data::format::{Conversation, Example};
use ftl_trainer::data::sample::IGNORED;
use ftl_trainer::data::template::{BuiltIn, ChatTemplate, Ending, source_of};
use ftl_trainer::data::tokenize::{Specials, Tokenizer};
use serde_json::{Map, Value, json};

const SPECIALS: [&str; 12] = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
];

/// A model directory with a tokenizer of bytes and these control tokens, the first two for beginning and end.
fn model(specials: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    // GPT-2's way of writing bytes as characters: what prints as itself, the rest from U+0100 on.
    let prints = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 0x100;
    let mut vocabulary = Map::new();
    for byte in 0..=255_u8 {
        let code = if prints(byte) {
            u32::from(byte)
        } else {
            next += 1;
            next - 1
        };
        vocabulary.insert(char::from_u32(code).expect("a character").to_string(), json!(byte));
    }
    let added: Vec<Value> = specials
        .iter()
        .enumerate()
        .map(|(index, content)| {
            json!({"id": 256 + index, "content": content, "special": true, "normalized": false, "single_word": false,
                   "lstrip": false, "rstrip": false})
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let config = match specials {
        [bos, eos, ..] => json!({"bos_token": bos, "eos_token": eos}),
        _ => json!({}),
    };
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).expect("written");
    std::fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).expect("written");
    dir
}

fn load(dir: &Path, name: &str) -> Encoder {
    Encoder::load(dir, Some(Path::new(name))).expect("an encoder")
}

fn chat(messages: Value) -> Conversation {
    Conversation::from_parts(&messages, None).expect("valid")
}

fn long_chat() -> Conversation {
    chat(json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "content": "Yo"},
    ]))
}

#[test]
fn every_built_in_template_writes_what_its_family_does() {
    let dir = model(&SPECIALS);
    for (name, expected, trained) in [
        (
            "chatml",
            "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello\
             <|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n",
            ["Hello<|im_end|>", "Yo<|im_end|>"],
        ),
        (
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user\
             <|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n\
             Yo<|eot_id|>",
            ["Hello<|eot_id|>", "Yo<|eot_id|>"],
        ),
        (
            "llama2",
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST] Yo </s>",
            [" Hello </s>", " Yo </s>"],
        ),
        (
            "mistral",
            "<s>[INST] Be brief.\n\nHi[/INST] Hello</s>[INST] Bye[/INST] Yo</s>",
            [" Hello</s>", " Yo</s>"],
        ),
        (
            "gemma",
            "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n\
             <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\nYo<end_of_turn>\n",
            ["Hello<end_of_turn>", "Yo<end_of_turn>"],
        ),
        (
            "phi3",
            "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n<|user|>\nBye<|end|>\n\
             <|assistant|>\nYo<|end|>\n",
            ["Hello<|end|>", "Yo<|end|>"],
        ),
        (
            "zephyr",
            "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n<|assistant|>\n\
             Yo</s>\n",
            ["Hello</s>", "Yo</s>"],
        ),
        (
            "vicuna",
            "<s>Be brief. USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT: Yo</s>",
            [" Hello</s>", " Yo</s>"],
        ),
        (
            "alpaca",
            "<s>Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>\n\n### Instruction:\nBye\n\n\
             ### Response:\nYo</s>\n\n",
            ["Hello</s>", "Yo</s>"],
        ),
    ] {
        let encoder = load(dir.path(), name);
        let view = encoder.view(&long_chat(), Ending::Complete, Words::Text).expect("a view");
        assert_eq!(view.text, expected, "{name}");
        let said: Vec<String> = (0..view.ids.len())
            .collect::<Vec<_>>()
            .chunk_by(|left, right| view.mask[*left] == view.mask[*right])
            .filter(|run| view.mask[run[0]])
            .map(|run| {
                let ids: Vec<u32> = run.iter().map(|index| view.ids[*index]).collect();
                encoder.tokenizer.decode(&ids, Specials::Shown).expect("decodes")
            })
            .collect();
        assert_eq!(said, trained, "{name}");
        // What ends an answer is one token, which is learned, and ends a generation.
        let end = encoder.turn_end().expect("an end");
        assert!(view.mask[view.ids.iter().rposition(|id| *id == end).expect("there")], "{name}");
        // The prompt for an answer is the beginning of the conversation with it.
        let mut asked = long_chat();
        asked.messages.pop();
        let prompt = encoder.prompt(&asked, Ending::GenerationPrompt).expect("a prompt");
        assert!(view.text.starts_with(&prompt.text), "{name}: {:?}", prompt.text);
        assert!(view.ids.starts_with(&prompt.ids), "{name}");
        assert!(view.mask[prompt.ids.len()] && !view.mask[prompt.ids.len() - 1], "{name}");
        let example = Example::Conversation(long_chat());
        let encoded = encoder.sample(&example, LossOn::AssistantTokens).expect("a sample");
        assert_eq!(encoded.notices, [], "{name}");
        assert_eq!(
            encoded.sample.labels.iter().filter(|label| **label != IGNORED).count(),
            view.mask.iter().filter(|t| **t).count()
        );
    }
}

/// Without `{% generation %}` the turns are found by rendering; where both ways can be taken they agree.
#[test]
fn built_in_templates_mark_what_rendering_finds() {
    let dir = model(&SPECIALS);
    for name in BUILT_IN_TEMPLATES {
        let marked = load(dir.path(), name);
        let source = source_of(Path::new(name)).expect("a source");
        assert!(
            source.contains("{%- generation %}") && marked.template.as_ref().expect("set").marks_generation()
        );
        let plain = source.replace("{%- generation %}", "").replace("{%- endgeneration %}", "");
        let tokenizer = Tokenizer::load(dir.path()).expect("a tokenizer");
        let template = ChatTemplate::new(&plain, name, tokenizer.special_tokens()).expect("compiles");
        let plain = Encoder { tokenizer, template: Some(template), arguments: Map::new() };
        let view =
            |encoder: &Encoder| encoder.view(&long_chat(), Ending::Complete, Words::Text).expect("a view");
        assert_eq!(view(&plain), view(&marked), "{name}");
    }
}

#[test]
fn tools_are_written_by_chatml_and_llama3_and_refused_by_the_others() {
    let dir = model(&SPECIALS);
    let mut conversation = chat(json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "tool_calls": [
            {"type": "function", "function": {"name": "weather", "arguments": "{\"town\": \"Oslo\"}"}}]},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "Cold"},
    ]));
    conversation.tools =
        Some(json!([{"type": "function", "function": {"name": "weather", "parameters": {}}}]));
    for name in BUILT_IN_TEMPLATES {
        let encoder = load(dir.path(), name);
        let result = encoder.sample(&Example::Conversation(conversation.clone()), LossOn::AssistantTokens);
        if ["chatml", "llama3"].contains(&name) {
            assert_eq!(result.expect("a sample").notices, [], "{name}");
            let view = encoder.view(&conversation, Ending::Complete, Words::Text).expect("a view");
            assert!(
                view.text.contains(r#""name": "weather""#) && view.text.contains(r#"{"town": "Oslo"}"#),
                "{name}"
            );
        } else {
            assert!(format!("{:?}", result.expect_err("refused")).contains("no tools"), "{name}");
        }
    }
}

#[test]
fn what_a_built_in_template_needs_and_the_tokenizer_lacks_is_named() {
    let bare = model(&["<s>", "</s>"]);
    let load =
        |name: &str| Encoder::load(bare.path(), Some(Path::new(name))).map(|_| ()).expect_err("refused");
    let problem = load("chatml");
    assert_eq!(
        problem.message,
        "the built-in template `chatml` needs control tokens that the tokenizer does not have: `<|im_start|>`, `<|im_end|>`"
    );
    assert_eq!(
        (problem.kind, problem.field.as_deref()),
        (ProblemKind::BadTemplate, Some("data.chat_template"))
    );
    assert_eq!(
        problem.hint.as_deref(),
        Some(
            "choose one that needs only an end token (llama2, mistral, zephyr, vicuna, alpaca), or add the tokens to \
             tokenizer.json"
        )
    );
    let nameless = model(&[]);
    let problem = Encoder::load(nameless.path(), Some(Path::new("alpaca"))).map(|_| ()).expect_err("refused");
    assert_eq!(
        problem.message,
        "the built-in template `alpaca` ends answers with the end token, and the tokenizer names none"
    );
    let problem = load("chatlm");
    assert_eq!(problem.message, "there is no file `chatlm`, and no built-in template of that name");
    assert_eq!(
        problem.hint.as_deref(),
        Some(
            "give the path of a Jinja file, or one of: chatml, llama3, llama2, mistral, gemma, phi3, zephyr, vicuna, alpaca"
        )
    );
}

#[test]
fn a_file_beats_a_built_in_template_of_its_name() {
    let dir = model(&SPECIALS);
    let spec = |dir: &Path| {
        std::fs::write(dir.join("job.toml"), "model.path = \"m\"\ndata.chat_template = \"chatml\"\n")
            .expect("written");
        JobSpec::read(dir.join("job.toml")).expect("a spec").data.chat_template
    };
    assert_eq!(spec(dir.path()), Some(PathBuf::from("chatml")));
    let file = dir.path().join("chatml");
    std::fs::write(&file, "mine").expect("written");
    assert_eq!(spec(dir.path()), Some(file.clone()));
    assert_eq!(BuiltIn::named_by(&file), None);
    assert_eq!(source_of(&file).expect("a source"), "mine");
}
