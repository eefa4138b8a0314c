//! Tokens that change without a change of what they are made from make every cache stale, unless the version of the way
//! from data to tokens counts up. The golden file has both.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use ftl_core::spec::resolved::{Eval, ExcessLength, LossOn};
use ftl_trainer::data::cache::Cache;
use ftl_trainer::data::cache::key::DATA_PATH_VERSION;
use ftl_trainer::data::sample::{IGNORED, Sample};

use crate::job::{CHAT, Job};

/// Rows of every format.
const FILES: [(&str, &str); 8] = [
    (
        "messages.jsonl",
        r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi é\n"}, {"role": "assistant", "content": "Hello.", "weight": 0}, {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}]}"#,
    ),
    (
        "sharegpt.jsonl",
        r#"{"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]}"#,
    ),
    (
        "alpaca.jsonl",
        r#"{"instruction": "Add.", "input": "1 2", "output": "3"}
{"instruction": "Sing.", "input": "", "output": "La."}"#,
    ),
    ("completion.jsonl", r#"{"prompt": "One, two,", "completion": " three."}"#),
    ("question.jsonl", r#"{"question": "Why?", "answer": "Because."}"#),
    ("text.jsonl", r#"{"text": "Running text, with 12 345 numbers and more words than fit."}"#),
    ("preference.jsonl", r#"{"prompt": "Say it.", "chosen": "It.", "rejected": "No, I will not."}"#),
    ("tokens.jsonl", r#"{"input_ids": [5, 6, 7, 8], "labels": [-100, 6, -100, 9]}"#),
];

fn line(name: &str, sample: &Sample, into: &mut String) {
    for Sample { ids, labels, weights, rejected: _ } in sample.segments() {
        let tokens = ids.iter().zip(labels).map(|(id, label)| match *label {
            IGNORED => format!("{id}"),
            label if label == *id as i32 => format!("{id}+"),
            label => format!("{id}+{label}"),
        });
        let tokens = tokens.collect::<Vec<_>>().join(" ");
        let weights = weights.as_ref().map(|weights| format!(" weights {weights:?}")).unwrap_or_default();
        writeln!(into, "{name}: {tokens}{weights}").expect("text");
    }
}

fn tokens() -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = String::new();
    for (name, rows) in FILES {
        for (how, template) in [("chat", Some(CHAT)), ("base", None)] {
            for (loss_on, excess) in [
                (LossOn::AssistantTokens, ExcessLength::Truncate),
                (LossOn::AllTokens, ExcessLength::Truncate),
                (LossOn::AllTokens, ExcessLength::Split),
            ] {
                let mut job = Job::of(dir.path());
                (job.cache, job.template) = (Cache::Off, template.map(str::to_owned));
                (job.data.loss_on, job.data.excess_length_strategy) = (loss_on, excess);
                (job.data.eval, job.max_length) = (Eval::Never, 60);
                job.data.train[0].path = job.dir.join(name);
                fs::write(job.dir.join(name), rows).expect("written");
                // What is refused says so in words; words may change.
                let Ok((prepared, _)) = job.prepare() else { continue };
                let name = format!("{name} {how} {loss_on:?} {excess:?}");
                prepared.train.iter().for_each(|sample| line(&name, &sample, &mut all));
            }
        }
    }
    all
}

#[test]
fn tokens_change_only_with_the_version_of_the_data_path() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data_path.txt");
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let (version, expected) = golden.split_once('\n').unwrap_or_default();
    let tokens = tokens();
    assert!(tokens.lines().count() > 30, "{tokens}");
    let is_new = version != format!("version {DATA_PATH_VERSION}");
    if env::var_os("UPDATE_GOLDEN").is_some() && is_new {
        fs::write(&path, format!("version {DATA_PATH_VERSION}\n{tokens}")).expect("written");
        return;
    }
    assert!(!is_new, "the version has changed: run the test once with UPDATE_GOLDEN=1");
    assert!(
        expected == tokens,
        "the same data give other tokens, so caches of earlier builds are stale: raise DATA_PATH_VERSION in \
         src/data/cache/key.rs, then run the test with UPDATE_GOLDEN=1\n{tokens}"
    );
}
