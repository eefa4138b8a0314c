//! Everything that decides the samples is in the key, and nothing else.

use std::fs;
use std::path::Path;

use ftl_core::spec::Field;
use ftl_core::spec::resolved::{DataFormat, Eval, ExcessLength, LossOn, Rows, SampleOrder, TrainFile};
use ftl_trainer::data::cache::key::key;
use ftl_trainer::data::samples::Key;
use serde_json::json;

use crate::job::{Job, tokenizer_dir};

fn key_of(job: &Job) -> Key {
    job.with(key).expect("files").expect("a key")
}

/// A copy of the tokenizer with another text in one of its files.
fn tokenizer(job: &Job, name: &str, change: impl Fn(&str) -> String) -> std::path::PathBuf {
    let dir = tempfile::tempdir_in(&job.dir).expect("a directory").keep();
    for entry in fs::read_dir(tokenizer_dir()).expect("a directory") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, dir.join(path.file_name().expect("a name"))).expect("copied");
    }
    let old = fs::read_to_string(dir.join(name)).unwrap_or_default();
    fs::write(dir.join(name), change(&old)).expect("written");
    dir
}

type Change = (&'static str, fn(&mut Job));

#[test]
fn every_ingredient_changes_the_key() {
    let changes: [Change; 27] = [
        ("a byte of the data", |job| {
            let path = job.dir.join("train.jsonl");
            let text = fs::read_to_string(&path).expect("text").replacen("train 3?", "train 4?", 1);
            fs::write(path, text).expect("written");
        }),
        ("a byte of white space in the data", |job| {
            let path = job.dir.join("train.jsonl");
            let text = fs::read_to_string(&path).expect("text");
            fs::write(path, text + "\n").expect("written");
        }),
        ("the name of the data", |job| {
            let (old, new) = (job.dir.join("train.jsonl"), job.dir.join("other.jsonl"));
            fs::rename(old, &new).expect("renamed");
            job.data.train[0].path = new;
        }),
        ("another file", |job| {
            let path = job.dir.join("eval.jsonl");
            job.data.train.push(TrainFile::new(path));
        }),
        ("the order of files", |job| {
            let path = job.dir.join("eval.jsonl");
            job.data.train.insert(0, TrainFile::new(path));
        }),
        ("tokenizer.json", |job| job.tokenizer = tokenizer(job, "tokenizer.json", |old| format!("{old}\n"))),
        ("tokenizer_config.json", |job| {
            job.tokenizer = tokenizer(job, "tokenizer_config.json", |old| format!("{old}\n"));
        }),
        ("generation_config.json", |job| {
            job.tokenizer =
                tokenizer(job, "generation_config.json", |_| json!({"eos_token_id": 7}).to_string());
        }),
        ("special_tokens_map.json", |job| {
            job.tokenizer = tokenizer(job, "special_tokens_map.json", |_| "{}".to_owned());
        }),
        ("the template", |job| job.template = job.template.take().map(|old| old + " ")),
        ("no template", |job| job.template = None),
        ("a template's day", |job| job.template = Some("{{ strftime_now('%Y') }}".to_owned())),
        ("template arguments", |job| {
            job.arguments.insert("enable_thinking".to_owned(), json!(false));
        }),
        ("the format", |job| job.data.format = DataFormat::Messages),
        ("columns of all files", |job| {
            job.data.columns = [(Field::Prompt, "question".to_owned())].into_iter().collect();
        }),
        ("columns of a file", |job| {
            job.data.train[0].columns = [(Field::Completion, "answer".to_owned())].into_iter().collect();
        }),
        ("a list of datasets beside the data", |job| {
            let list = json!({"mine": {"file_name": "train.jsonl", "columns": {"prompt": "prompt", "response": "completion"}}});
            fs::write(job.dir.join("dataset_info.json"), list.to_string()).expect("written");
        }),
        ("the length", |job| job.max_length = 511),
        ("what is too long", |job| job.data.excess_length_strategy = ExcessLength::Split),
        ("what is dropped", |job| job.data.excess_length_strategy = ExcessLength::Drop),
        ("what is learned", |job| job.data.loss_on = LossOn::AllTokens),
        ("the model's ids", |job| job.vocab_size = 513),
        ("a limit of all samples", |job| job.data.max_samples = Some(1500)),
        ("a limit of a file's samples", |job| job.data.train[0].max_samples = Some(1500)),
        ("an evaluation file", |job| job.data.eval = Eval::File(job.dir.join("eval.jsonl"))),
        ("prompts", |job| (job.data.eval, job.n_prompts) = (Eval::Fraction(0.1), 2)),
        ("the seed of prompts", |job| {
            (job.data.eval, job.n_prompts, job.seed) = (Eval::Fraction(0.1), 2, 3);
        }),
    ];
    let mut seen: Vec<(&str, Key)> = Vec::new();
    let mut note = |name: &'static str, key: Key| {
        let same = seen.iter().find(|(_, other)| *other == key).map(|(name, _)| *name);
        assert_eq!(same, None, "{name} has the same key");
        seen.push((name, key));
    };
    // In one place, as the name of the data is an ingredient.
    let dir = tempfile::tempdir().expect("a directory");
    let clean = |dir: &Path| Job::of(dir);
    note("nothing", key_of(&clean(dir.path())));
    for (name, change) in changes {
        let mut job = clean(dir.path());
        change(&mut job);
        note(name, key_of(&job));
    }
}

#[test]
fn what_is_done_with_samples_is_not_in_the_key() {
    let changes: [Change; 6] = [
        ("nothing", |_| {}),
        ("weights", |job| job.data.train[0].weight = Some(2.0)),
        ("packing", |job| job.data.rows = Rows::Packed),
        ("order", |job| job.data.order = SampleOrder::Shuffled),
        ("a fraction", |job| job.data.eval = Eval::Fraction(0.1)),
        ("the seed", |job| (job.data.eval, job.seed) = (Eval::Fraction(0.1), 3)),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    let usual = key_of(&Job::of(dir.path()));
    for (name, change) in changes {
        let mut job = Job::of(dir.path());
        change(&mut job);
        assert_eq!(key_of(&job), usual, "{name}");
    }
}

#[test]
fn a_folder_is_all_that_is_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut job = Job::of(dir.path());
    let folder = job.dir.join("folder");
    fs::create_dir_all(folder.join("more")).expect("a directory");
    fs::write(folder.join("more/a.jsonl"), "{\"text\": \"a\"}\n").expect("written");
    job.data.train[0].path = folder.clone();
    let one = key_of(&job);
    fs::write(folder.join("more/a.jsonl"), "{\"text\": \"b\"}\n").expect("written");
    let other = key_of(&job);
    fs::write(folder.join("b.jsonl"), "{\"text\": \"c\"}\n").expect("written");
    assert!(one != other && key_of(&job) != other);
}

#[test]
fn a_template_that_reads_the_clock_by_a_hidden_format_is_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut job = Job::of(dir.path());
    job.template = Some("{% set f = '%Y' %}{{ strftime_now(f) }}".to_owned());
    assert_eq!(job.with(key).expect("files"), None);
}
