//! Files of the third-party data that `FTL_DATA` names. Counts of rows were made with Python's `json` and `csv`:
//!
//! ```python
//! sum(bool(line.strip()) for line in open(path, encoding="utf-8"))    # .jsonl
//! len(json.load(open(path, encoding="utf-8")))                        # .json
//! ```

#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

use std::path::PathBuf;

use ftl_core::dataset::{Code, Compression, Container, Encoding};
use ftl_trainer::data::read::{self, Refusal};

use super::{Seen, see};

fn third_party() -> Option<PathBuf> {
    let dir = std::env::var_os("FTL_DATA").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: FTL_DATA is not set");
    }
    dir
}

fn file(name: &str) -> Option<Result<Seen, Refusal>> {
    Some(read::open(&third_party()?.join(name)).map(see))
}

#[test]
fn datasets_have_the_rows_that_python_counts() {
    let array = Container::JsonArray;
    let lines = Container::JsonLines;
    for (name, container, n_rows) in [
        ("alpaca/alpaca_en_demo.json", array, 999),
        ("alpaca/alpaca_tiny.json", array, 100),
        ("alpaca/identity.json", array, 91),
        ("dpo/dpo_en_demo.json", array, 300),
        ("dpo/v1_dpo_demo.jsonl", lines, 10),
        ("eval/HumanEval.jsonl.gz", lines, 164),
        ("kto/kto_en_demo.json", array, 300),
        ("openai_messages/reason_tool_use_demo_50.jsonl", lines, 50),
        ("openai_messages/sft_messages_from_kto.jsonl", lines, 150),
        ("openai_messages/toy_chat_fine_tuning_first4.jsonl", lines, 4),
        ("openai_messages/v1_sft_demo.jsonl", lines, 500),
        ("openai_messages/xtuner_openai_sft.jsonl", lines, 128),
        ("prompt_completion/wwdc25_train.jsonl", lines, 1800),
        ("prompt_completion/wwdc25_valid.jsonl", lines, 144),
        ("question_answer/gsm8k_train_first2000.jsonl", lines, 2000),
        ("sharegpt/glaive_toolcall_en_demo.json", array, 300),
        ("text/c4_demo.jsonl", lines, 300),
        ("text/tinyshakespeare.txt", Container::Text, 1),
        ("text/tinystories_train_part1.txt", Container::Text, 1),
        ("text/tinystories_v2_sample.txt", Container::Text, 1),
        ("text/wiki_demo.txt", Container::Text, 1),
        ("text/wikisql_train.jsonl", lines, 1000),
        ("text/wikisql_valid.jsonl", lines, 100),
    ] {
        let Some(seen) = file(&format!("datasets/{name}")) else { return };
        let seen = seen.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert!(seen.refusal.is_none() && seen.bad.is_empty(), "{name}: {:?}", seen.bad);
        assert_eq!((seen.layout.container, seen.rows.len()), (container, n_rows), "{name}");
    }
    let Some(seen) = file("datasets/eval/HumanEval.jsonl.gz") else { return };
    assert_eq!(seen.expect("opens").layout.compression, Some(Compression::Gzip));
}

#[test]
fn dirty_files_are_read_as_far_as_they_are_good() {
    // Rows that are JSON, and lines of those that are not; what the rows say is another matter.
    for (name, n_rows, bad) in [
        ("bom_crlf.jsonl", 40, &[][..]),
        ("blank_lines_no_final_newline.jsonl", 40, &[]),
        ("malformed.jsonl", 25, &[2, 4, 6, 8, 16, 17, 19, 21]),
        ("invalid_utf8.jsonl", 6, &[3, 5, 7, 9]),
        ("huge_line.jsonl", 3, &[4]),
        ("array_named_jsonl.jsonl", 8, &[]),
        ("jsonl_named_json.json", 8, &[]),
        ("duplicates.jsonl", 30, &[]),
        ("mixed_schemas.jsonl", 10, &[]),
        ("missing_fields_alpaca.json", 12, &[]),
        ("bad_roles.jsonl", 13, &[]),
        ("dpo_bad.json", 6, &[]),
        ("special_tokens_in_text.jsonl", 5, &[]),
        ("unicode_torture.txt", 1, &[]),
        ("alpaca_export.csv", 20, &[]),
        ("gzip_named_jsonl.jsonl", 20, &[]),
        ("utf16le.jsonl", 10, &[]),
    ] {
        let Some(seen) = file(&format!("dirty/{name}")) else { return };
        let seen = seen.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert!(seen.refusal.is_none(), "{name}: {:?}", seen.refusal);
        let found: Vec<u64> = seen.bad.iter().map(|bad| bad.0).collect();
        assert_eq!((seen.rows.len(), &found[..]), (n_rows, bad), "{name}: {:?}", seen.bad);
    }
    let codes = |name: &str| {
        file(&format!("dirty/{name}"))
            .map(|seen| seen.expect("opens").bad.into_iter().map(|bad| bad.2).collect::<Vec<_>>())
    };
    let Some(found) = codes("invalid_utf8.jsonl") else { return };
    assert_eq!(found, [Code::NotUtf8, Code::NotUtf8, Code::NotUtf8, Code::LoneSurrogate]);
    assert_eq!(codes("huge_line.jsonl").expect("set"), [Code::TooDeep]);
    let utf16 = file("dirty/utf16le.jsonl").expect("set").expect("opens");
    assert_eq!(utf16.layout.encoding, Encoding::Utf16Le);
}

#[test]
fn dirty_files_that_are_no_data_are_refused() {
    for (name, code, expected) in [
        ("empty.jsonl", Code::EmptyFile, "is empty"),
        ("only_newlines.jsonl", Code::EmptyFile, "is empty"),
        ("only_bom.jsonl", Code::EmptyFile, "is empty"),
        ("html_error_page.jsonl", Code::NotData, "is a web page, not data: a download may have failed"),
        ("lfs_pointer_dataset.jsonl", Code::NotData, "is a git-lfs pointer, not the data itself"),
    ] {
        let Some(seen) = file(&format!("dirty/{name}")) else { return };
        let refusal = seen.map(|_| ()).expect_err("refused");
        assert_eq!((refusal.code, refusal.problem.message), (code, format!("`{name}` {expected}")));
    }
}
