//! Tokenizers against Hugging Face tokenizers 0.23.3: ids, offsets, decoded text, whole and piece by piece.
//! The cases come from outside the repository, from the directories in `FTL_FIXTURES` and `FTL_DATA`.

#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

use std::path::{Path, PathBuf};

use ftl_core::ProblemKind;
use ftl_trainer::data::encode::{Encoder, Words};
use ftl_trainer::data::format::Conversation;
use ftl_trainer::data::template::Ending;
use ftl_trainer::data::tokenize::{Around, Specials, Tokenizer};
use serde_json::{Value, json};

fn directory(variable: &str) -> Option<PathBuf> {
    let dir = std::env::var_os(variable).map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: {variable} is not set");
    }
    dir
}

fn read_json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the fixture can be read");
    serde_json::from_str(&text).expect("the fixture is JSON")
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// The text of `ids` as it grows.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.stream(Specials::Shown);
    let mut text: String = ids.iter().map(|id| stream.push(*id).expect("decodes")).collect();
    text.push_str(&stream.finish().expect("decodes"));
    text
}

#[test]
fn small_tokenizers_agree_in_ids_offsets_and_text() {
    let Some(dir) = directory("FTL_FIXTURES") else { return };
    for kind in ["gpt2", "llama3", "qwen2", "spm"] {
        let dir = dir.join("tokenizers").join(kind);
        let tokenizer = Tokenizer::load(&dir).expect("a tokenizer");
        let file = read_json(&dir.join("cases.json"));
        assert_eq!(json!(tokenizer.vocab_size()), file["vocab_size"], "{kind}");
        let named = |id: Option<u32>| id.map(|id| tokenizer.decode(&[id], Specials::Shown).expect("decodes"));
        assert_eq!(json!(named(tokenizer.bos())), file["bos"], "{kind}");
        assert_eq!(json!(named(tokenizer.eos())), file["eos"], "{kind}");
        for case in file["cases"].as_array().expect("cases") {
            let text = case["text"].as_str().expect("a text");
            assert_eq!(
                tokenizer.encode(text, Around::Nothing).expect("encodes"),
                ids(&case["ids"]),
                "{text:?}"
            );
            let encoded = tokenizer.encode_with_offsets(text, Around::Specials).expect("encodes");
            assert_eq!(encoded.ids, ids(&case["ids_with_special"]), "{text:?}");
            let chars = |byte: usize| text[..byte].chars().count();
            for (ours, theirs) in encoded.offsets.iter().zip(case["offsets"].as_array().expect("offsets")) {
                // Inside a character their offsets cover it whole; ours are rounded the same way.
                let start =
                    (0..=ours.start).rev().find(|byte| text.is_char_boundary(*byte)).expect("0 is one");
                let end = (ours.end..).find(|byte| text.is_char_boundary(*byte)).expect("the end is one");
                assert_eq!(json!([chars(start), chars(end)]), *theirs, "{kind}: {text:?}");
            }
            let decode = |specials| tokenizer.decode(&ids(&case["ids"]), specials).expect("decodes");
            assert_eq!(json!(decode(Specials::Shown)), case["decoded"], "{kind}");
            assert_eq!(json!(decode(Specials::Hidden)), case["decoded_skip_special"], "{kind}");
            assert_eq!(streamed(&tokenizer, &ids(&case["ids"])), decode(Specials::Shown), "{kind}");
        }
    }
}

#[test]
fn real_tokenizers_agree_in_ids_and_text() {
    let Some(dir) = directory("FTL_DATA") else { return };
    for (name, golden, decoded) in [
        ("tokenizers/gpt2", "golden.json", "decoded_with_specials"),
        ("tokenizers/qwen2.5-0.5b-instruct", "golden.json", "decoded_with_specials"),
        ("tokenizers/smollm2", "golden.json", "decoded_with_specials"),
        ("tokenizers/tinyllama-1.1b-chat", "golden.json", "decoded_with_specials"),
        ("models/stories260K", "TOKENIZER_GOLDEN.json", "decoded"),
    ] {
        let dir = dir.join(name);
        let tokenizer = Tokenizer::load(&dir).expect("a tokenizer");
        let specials = if decoded == "decoded" { Specials::Hidden } else { Specials::Shown };
        for case in read_json(&dir.join(golden))["cases"].as_array().expect("cases") {
            let text = case["text"].as_str().expect("a text");
            let expected = ids(&case["ids"]);
            assert_eq!(
                tokenizer.encode(text, Around::Specials).expect("encodes"),
                expected,
                "{name}: {text:?}"
            );
            // GPT-2's texts are from before the space clean-up was dropped; it was never the tokenizer's own.
            if name != "tokenizers/gpt2" {
                let text = tokenizer.decode(&expected, specials).expect("decodes");
                assert_eq!(json!(text), case[decoded], "{name}");
            }
            let whole = tokenizer.decode(&expected, Specials::Shown).expect("decodes");
            assert_eq!(streamed(&tokenizer, &expected), whole, "{name}: {text:?}");
        }
    }
}

#[test]
fn real_chat_models_see_conversations_as_in_transformers() {
    let Some(dir) = directory("FTL_DATA") else { return };
    for name in ["qwen2.5-0.5b-instruct", "tinyllama-1.1b-chat"] {
        let dir = dir.join("tokenizers").join(name);
        let encoder = Encoder::load(&dir, None).expect("an encoder");
        let file = read_json(&dir.join("chat_golden.json"));
        for (render, expected) in file["renders"].as_object().expect("renders") {
            let (conversation, prompt) = render.split_once("|gen=").expect("two parts");
            let conversation =
                Conversation::from_parts(&file["conversations"][conversation], None).expect("a conversation");
            let ending = if prompt == "1" { Ending::GenerationPrompt } else { Ending::Complete };
            let view = encoder.view(&conversation, ending, Words::AsWritten).expect("a view");
            assert_eq!(json!(view.text), expected["text"], "{name}: {render}");
            assert_eq!(json!(view.ids), expected["ids_tokenizer_json"], "{name}: {render}");
        }
    }
}

#[test]
fn stop_tokens_come_from_both_files() {
    let Some(dir) = directory("FTL_DATA") else { return };
    let tokenizer = Tokenizer::load(&dir.join("tokenizers/qwen2.5-0.5b-instruct")).expect("a tokenizer");
    assert_eq!(tokenizer.stops(), [151_643, 151_645]);
    assert_eq!(tokenizer.eos(), Some(151_645));
    assert!(tokenizer.is_special(151_644));
    assert!(!tokenizer.is_special(0));
}

fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml")
}

#[test]
fn broken_tokenizer_files_are_refused_by_name() {
    let whole = std::fs::read_to_string(small().join("tokenizer.json")).expect("the fixture can be read");
    for (tokenizer, config, file, expected) in [
        (None, None, "tokenizer.json", "the tokenizer can't be read: "),
        (Some("{"), None, "tokenizer.json", "the file is not a tokenizer: "),
        (
            Some("version https://git-lfs.github.com/spec/v1\n"),
            None,
            "tokenizer.json",
            "the file is a git-lfs pointer",
        ),
        (Some(whole.as_str()), Some("not JSON"), "tokenizer_config.json", "the file is not JSON: "),
        (
            Some(whole.as_str()),
            Some(r#"{"added_tokens_decoder": {"700": {"content": "<new>"}}}"#),
            "tokenizer.json",
            "`<new>` has the id 700 in tokenizer_config.json, but the tokenizer's next free id is 512",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        if let Some(text) = tokenizer {
            std::fs::write(dir.path().join("tokenizer.json"), text).expect("written");
        }
        if let Some(text) = config {
            std::fs::write(dir.path().join("tokenizer_config.json"), text).expect("written");
        }
        let problem = Tokenizer::load(dir.path()).expect_err("refused");
        assert_eq!(problem.kind, ProblemKind::BrokenModel);
        assert!(problem.message.starts_with(expected), "{problem}");
        assert!(problem.field.expect("a file").ends_with(file));
    }
}

#[test]
fn tokens_that_only_the_config_lists_are_added() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::copy(small().join("tokenizer.json"), dir.path().join("tokenizer.json")).expect("copied");
    let config =
        r#"{"added_tokens_decoder": {"512": {"content": "<new>", "special": true}}, "pad_token": "<new>"}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), config).expect("written");
    let tokenizer = Tokenizer::load(dir.path()).expect("a tokenizer");
    assert_eq!(tokenizer.encode("<new>", Around::Nothing).expect("encodes"), [512]);
    assert_eq!(tokenizer.vocab_size(), 513);
    assert_eq!(tokenizer.special_tokens()["pad_token"], "<new>");
    assert!(tokenizer.is_special(512));
}
