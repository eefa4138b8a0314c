//! Pairs of a chosen and a rejected answer from files: one sample each, masked, and fitted as a whole.

use std::path::Path;

use ftl_core::spec::resolved::{Data, DataFormat, ExcessLength};
use ftl_core::{Event, Problem, StopSignal};
use ftl_trainer::data::cache::Cache;
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::load::{Prepared, Request, prepare};
use ftl_trainer::data::report::plain;
use ftl_trainer::data::sample::{IGNORED, Sample};
use ftl_trainer::data::tokenize::Tokenizer;
use serde_json::Map;
use tempfile::TempDir;

/// A file of pairs in a directory of its own.
struct Pairs {
    _dir: TempDir,
    data: Data,
    max_length: usize,
}

impl Pairs {
    fn of(rows: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, rows).expect("written");
        let data = plain([path], DataFormat::Auto);
        Self { _dir: dir, data, max_length: 1000 }
    }

    fn prepare(&self) -> Result<Prepared, Vec<Problem>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml");
        let tokenizer = Tokenizer::load(&dir).expect("a tokenizer");
        let encoder = Encoder { tokenizer, template: None, arguments: Map::new() };
        let Self { data, max_length, .. } = self;
        let request = Request {
            data,
            encoder: &encoder,
            max_length: *max_length,
            vocab_size: 512,
            seed: 42,
            n_prompts: 0,
            cache: &Cache::Off,
        };
        prepare(&request, &mut |_: &Event| {}, &StopSignal::new())
            .map(|prepared| prepared.expect("nobody stops it"))
    }

    fn refusal(&self) -> Vec<String> {
        self.prepare().expect_err("refused").into_iter().map(|problem| problem.message).collect()
    }
}

#[test]
fn a_pair_is_one_sample_with_two_answers_and_no_prompt_to_learn() {
    let rows = r#"{"prompt": "ab", "chosen": " cd", "rejected": " ef"}
{"chosen_input_ids": [5, 6, 7], "chosen_labels": [-100, 6, 7], "rejected_input_ids": [5, 9], "rejected_labels": [-100, 9]}
"#;
    let mut pairs = Pairs::of(rows);
    let prepared = pairs.prepare().expect("pairs");
    assert_eq!(prepared.train.len(), 2);
    for sample in prepared.train.iter() {
        let rejected = sample.rejected.as_deref().expect("a pair");
        assert_eq!((sample.labels[0], rejected.labels[0]), (IGNORED, IGNORED));
        assert!(sample.supervised_tokens() > 0 && rejected.supervised_tokens() > 0);
        assert_ne!(sample.ids, rejected.ids);
        assert_eq!(sample.n_tokens(), sample.ids.len() + rejected.ids.len());
    }
    let tokens = Sample::pair(
        Sample::new(vec![5, 6, 7], vec![IGNORED, 6, 7]),
        Sample::new(vec![5, 9], vec![IGNORED, 9]),
    );
    assert_eq!(prepared.train.get(1), tokens);

    // Both sides fit, or the pair does not.
    pairs.max_length = 2;
    let last = |pairs: &Pairs| pairs.prepare().map(|prepared| prepared.train.iter().last());
    let problems = pairs.refusal();
    assert_eq!(
        problems.last().map(String::as_str),
        Some("row 2 of `a.jsonl` has 3 tokens, more than the 2 of `data.max_length`")
    );
    pairs.data.excess_length_strategy = ExcessLength::Truncate;
    let cut =
        Sample::pair(Sample::new(vec![5, 6], vec![IGNORED, 6]), Sample::new(vec![5, 9], vec![IGNORED, 9]));
    assert_eq!(last(&pairs), Ok(Some(cut)));
}

#[test]
fn rows_that_are_no_pair_say_why() {
    for (row, expected) in [
        (
            r#"{"prompt": "a", "chosen": "b"}"#,
            "has no `rejected`; it has the keys `prompt`, `chosen`, expected `chosen` and `rejected`",
        ),
        (
            r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#,
            "has the same text as `chosen` and `rejected`",
        ),
        (
            r#"{"chosen_input_ids": [5, 6], "rejected_input_ids": [5, 6], "rejected_labels": [-100, 6]}"#,
            "has the same tokens as chosen and rejected answer",
        ),
        (r#"{"chosen_input_ids": [5, 6]}"#, "has no `rejected_input_ids`"),
        (
            r#"{"chosen": "one", "rejected": "two"}"#,
            "has no prompt: `chosen` and `rejected` have no beginning in common",
        ),
    ] {
        let refusal = Pairs::of(row).refusal();
        assert_eq!(refusal, [format!("row 1 of `a.jsonl` {expected}")]);
    }
}
