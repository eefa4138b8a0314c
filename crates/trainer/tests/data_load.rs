//! From files to samples: what is read, what is refused and in which words, what is held out.

#![expect(clippy::print_stdout, reason = "a test says that it is skipped")]

use std::path::{Path, PathBuf};

use ftl_core::spec::Columns;
use ftl_core::spec::resolved::{
    Data, DataFormat, Eval, ExcessLength, LossOn, Rows as RowRule, SampleOrder, TrainFile,
};
use ftl_core::{Event, Problem, ProblemKind, StopSignal};
use ftl_trainer::data::cache::Cache;
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::load::{Prepared, Request, prepare};
use ftl_trainer::data::read::Rows;
use ftl_trainer::data::sample::{IGNORED, Sample};
use ftl_trainer::data::template::ChatTemplate;
use ftl_trainer::data::tokenize::Tokenizer;
use serde_json::Map;

fn encoder(template: Option<&str>) -> Encoder {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml");
    let tokenizer = Tokenizer::load(&dir).expect("a tokenizer");
    let template = template
        .map(|source| ChatTemplate::new(source, "a test", tokenizer.special_tokens()).expect("compiles"));
    Encoder { tokenizer, template, arguments: Map::new() }
}

const CHAT: &str = "{% for m in messages %}<|im_start|>{{ m.role + '\n' + (m.content or '') }}\
                    {% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|im_end|>{{ '\n' }}\
                    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A job's data in a directory of its own.
struct Job {
    dir: tempfile::TempDir,
    data: Data,
    max_length: usize,
    vocab_size: usize,
    n_prompts: usize,
    template: Option<&'static str>,
}

impl Job {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut train = Vec::new();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            train.push(TrainFile::new(path));
        }
        let data = Data {
            train,
            format: DataFormat::Auto,
            columns: Columns::default(),
            eval: Eval::Never,
            max_length: None,
            excess_length_strategy: ExcessLength::Error,
            loss_on: LossOn::AssistantTokens,
            rows: RowRule::Samples,
            order: SampleOrder::File,
            max_samples: None,
            chat_template: None,
        };
        Self { dir, data, max_length: 100_000, vocab_size: 512, n_prompts: 0, template: Some(CHAT) }
    }

    fn prepare(&self) -> Result<Prepared, Vec<Problem>> {
        let encoder = encoder(self.template);
        let Self { data, max_length, vocab_size, n_prompts, .. } = self;
        let request = Request {
            data,
            encoder: &encoder,
            max_length: *max_length,
            vocab_size: *vocab_size,
            seed: 42,
            n_prompts: *n_prompts,
            cache: &Cache::Off,
        };
        prepare(&request, &mut |_: &Event| {}, &StopSignal::new())
            .map(|prepared| prepared.expect("nobody stops it"))
    }

    fn refusal(&self) -> Vec<String> {
        self.prepare().expect_err("refused").into_iter().map(|problem| problem.message).collect()
    }
}

fn tokens(rows: &[&[u32]]) -> String {
    rows.iter().map(|row| format!("{{\"input_ids\": {row:?}}}\n")).collect()
}

#[test]
fn every_layout_of_the_same_rows_gives_the_same_samples() {
    let rows = ["{\"text\": \"One.\"}", "{\"text\": \"Twö\\n2.\"}"];
    let expected = Job::of(&[("a.jsonl", rows.join("\n").as_bytes())]).prepare().expect("samples");
    assert_eq!(expected.train.len(), 2);
    for text in [
        format!("\u{feff}{}\r\n\r\n{}\r\n", rows[0], rows[1]),
        format!("\n\n{}\n  \n{}\n\n", rows[0], rows[1]),
        format!("[{}, {}]", rows[0], rows[1]),
        format!("\u{feff}[\r\n  {},\r\n  {}\r\n]\r\n", rows[0], rows[1]),
        format!("[\n{{\n\"text\":\n\"One.\"}},{}]", rows[1]),
    ] {
        for name in ["a.jsonl", "a.json"] {
            let prepared = Job::of(&[(name, text.as_bytes())]).prepare().expect("samples");
            assert_eq!((prepared.train, prepared.notes), (expected.train.clone(), Vec::new()), "{text}");
        }
    }
    let text = Job::of(&[("a.txt", b"One.")]).prepare().expect("samples");
    assert_eq!(text.train, expected.train.part(0..1));
}

#[test]
fn files_that_are_no_data_are_refused_by_name() {
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let cases: [(&str, &[u8], &str); 7] = [
        ("a.jsonl", b"", "`a.jsonl` is empty"),
        ("a.jsonl", b"\xEF\xBB\xBF", "`a.jsonl` is empty"),
        ("a.jsonl", b"\n \n", "`a.jsonl` is empty"),
        ("a.json", b"[]", "`a.json` is empty"),
        ("a.txt", b" \n", "`a.txt` is empty"),
        (
            "a.jsonl",
            b"<!DOCTYPE html><html>",
            "`a.jsonl` is a web page, not data: a download may have failed",
        ),
        ("a.jsonl", lfs, "`a.jsonl` is a git-lfs pointer, not the data itself"),
    ];
    for (name, bytes, expected) in cases {
        assert_eq!(Job::of(&[(name, bytes)]).refusal(), [expected], "{name}");
    }
    let mut job = Job::of(&[]);
    job.data.train = vec![TrainFile::new(job.dir.path().join("missing.jsonl"))];
    let problem = job.prepare().expect_err("refused").remove(0);
    assert_eq!(problem.kind, ProblemKind::NotFound);
    assert!(problem.message.starts_with("`missing.jsonl` can't be read: "), "{problem}");
    assert!(problem.field.expect("a file").ends_with("missing.jsonl"));
}

#[test]
fn bad_rows_are_refused_with_their_line() {
    for (text, line, expected) in [
        (
            "{\"text\": \"a\"}\n\n{\"text\"",
            3,
            "row 3 of `a.jsonl` is not valid JSON: it ends within a string (was it cut off, or does the text hold a line break that should be `\\n`?) at column 7",
        ),
        (
            "{\"text\": \"a\"}\n{\"txt\": \"b\"}",
            2,
            "row 2 of `a.jsonl` has no `text`; it has the key `txt`, expected `text`",
        ),
        (
            "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
            1,
            "row 1 of `a.jsonl` has no message of the assistant, so there is nothing to learn",
        ),
        (
            "{\"input_ids\": [1, 600]}",
            1,
            "row 1 of `a.jsonl` has the id 600 at place 1; the model has 512 ids from 0",
        ),
        (
            "{\"input_ids\": [1, 2], \"labels\": [1, 600]}",
            1,
            "row 1 of `a.jsonl` has the label 600 at place 1; the model has 512 ids from 0",
        ),
        ("{\"input_ids\": [1, 2], \"labels\": [1, -100]}", 1, "row 1 of `a.jsonl` has no token to learn"),
        ("{\"input_ids\": [1]}", 1, "row 1 of `a.jsonl` is empty, so there is nothing to learn"),
    ] {
        let problems = Job::of(&[("a.jsonl", text.as_bytes())]).prepare().expect_err("refused");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].message, expected);
        assert!(problems[0].field.as_ref().expect("a place").ends_with(&format!("a.jsonl:{line}")));
    }
    let problems = Job::of(&[("a.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"\xFF\"}")]).refusal();
    assert_eq!(problems, ["row 2 of `a.jsonl` is not UTF-8 at byte 11 (0xFF, in Windows-1252 `ÿ`)"]);
}

#[test]
fn many_bad_rows_are_listed_up_to_twenty() {
    let text = "{\"text\": 1}\n".repeat(25);
    let problems = Job::of(&[("a.jsonl", text.as_bytes())]).refusal();
    assert_eq!(problems.len(), 21);
    assert_eq!(problems[19], "row 20 of `a.jsonl` has a number as `text`; expected text");
    assert_eq!(problems[20], "5 more rows can't be used; in all: 25 with a field of the wrong type");
}

#[test]
fn a_missing_chat_template_is_one_problem() {
    let row = "{\"question\": \"a\", \"answer\": \"b\"}\n".repeat(3);
    let mut job = Job::of(&[("a.jsonl", row.as_bytes())]);
    job.template = None;
    let problems = job.prepare().expect_err("refused");
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].field.as_deref(), Some("data.chat_template"));
    assert_eq!(problems[0].message, "the model has no chat template, which messages need");
    job.template = Some(CHAT);
    assert_eq!(job.prepare().expect("samples").train.len(), 3);
}

#[test]
fn token_rows_are_taken_as_they_are() {
    let rows = concat!(
        "{\"input_ids\": [5, 6, 7, 3, 3], \"labels\": [-100, 6, 7, -100, -100], \"attention_mask\": [1, 1, 1, 0, 0]}\n",
        "{\"input_ids\": [8, 9]}\n",
    );
    let prepared = Job::of(&[("a.jsonl", rows.as_bytes())]).prepare().expect("samples");
    assert_eq!(
        prepared.train,
        [Sample::new(vec![5, 6, 7], vec![IGNORED, 6, 7]), Sample::new(vec![8, 9], vec![8, 9])]
    );
}

#[test]
fn long_samples_follow_the_strategy_and_are_counted() {
    let rows = tokens(&[&[4, 5], &[4, 5, 6, 7, 8], &[4, 5, 6]]);
    let mut job = Job::of(&[("a.jsonl", rows.as_bytes())]);
    job.max_length = 3;
    assert_eq!(job.refusal(), ["row 2 of `a.jsonl` has 5 tokens, more than the 3 of `data.max_length`"]);
    for (strategy, lengths, note) in [
        (ExcessLength::Drop, vec![2, 3], "1 row left out, as they are longer than `data.max_length`"),
        (ExcessLength::Truncate, vec![2, 3, 3], "1 row cut off at `data.max_length`"),
        (
            ExcessLength::Split,
            vec![2, 3, 2, 3],
            "1 row longer than `data.max_length`, which became several samples",
        ),
    ] {
        job.data.excess_length_strategy = strategy;
        let prepared = job.prepare().expect("samples");
        assert_eq!(prepared.train.iter().map(|sample| sample.ids.len()).collect::<Vec<_>>(), lengths);
        assert_eq!(prepared.notes, [note]);
    }
    let mut job = Job::of(&[("a.jsonl", tokens(&[&[4, 5, 6, 7]]).as_bytes())]);
    job.max_length = 3;
    job.data.excess_length_strategy = ExcessLength::Drop;
    assert_eq!(job.refusal(), ["no sample is left to use"]);
}

#[test]
fn limits_count_rows_over_all_files() {
    let rows = tokens(&[&[4, 5], &[5, 6], &[6, 7]]);
    let mut job = Job::of(&[("a.jsonl", rows.as_bytes()), ("b.jsonl", rows.as_bytes())]);
    job.data.train[0].max_samples = Some(2);
    assert_eq!(job.prepare().expect("samples").train.len(), 5);
    job.data.max_samples = Some(3);
    let firsts: Vec<u32> = job.prepare().expect("samples").train.iter().map(|sample| sample.ids[0]).collect();
    assert_eq!(firsts, [4, 5, 4]);
}

#[test]
fn a_fraction_is_held_out_by_content() {
    let rows: Vec<Vec<u32>> = (4..104).map(|id| vec![id, id + 1]).collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let mut job =
        Job::of(&[("a.jsonl", tokens(&rows).as_bytes()), ("b.jsonl", tokens(&rows[..50]).as_bytes())]);
    job.data.eval = Eval::Fraction(0.2);
    let prepared = job.prepare().expect("samples");
    assert_eq!(prepared.train.len() + prepared.eval.len(), 150);
    assert!((10..50).contains(&prepared.eval.len()), "{}", prepared.eval.len());
    assert!(prepared.eval.iter().all(|sample| !prepared.train.contains(&sample)));

    job.data.train.truncate(1);
    let without_duplicates = job.prepare().expect("samples");
    assert!(without_duplicates.eval.iter().all(|sample| prepared.eval.contains(&sample)));
    assert!(without_duplicates.train.iter().all(|sample| prepared.train.contains(&sample)));

    let mut job = Job::of(&[("a.jsonl", tokens(&[&[4, 5], &[4, 5]]).as_bytes())]);
    job.data.eval = Eval::Fraction(0.5);
    assert_eq!(
        job.refusal(),
        [
            "`a.jsonl` has only samples that say the same; holding out a fraction needs at least two different ones"
        ]
    );
}

#[test]
fn one_long_text_can_be_split_and_held_out_in_part() {
    let text: String = (0..400).map(|number| format!("Number {number} follows. ")).collect();
    let mut job = Job::of(&[("a.txt", text.as_bytes())]);
    job.max_length = 64;
    job.data.excess_length_strategy = ExcessLength::Split;
    job.data.eval = Eval::Fraction(0.3);
    let prepared = job.prepare().expect("samples");
    assert!(prepared.train.len() > 5 && prepared.eval.len() > 1);
    assert!(prepared.train.iter().all(|sample| sample.ids.len() <= 64));
}

#[test]
fn an_evaluation_file_is_read_and_its_overlap_told() {
    let mut job = Job::of(&[("a.jsonl", tokens(&[&[4, 5], &[5, 6]]).as_bytes())]);
    let path = job.dir.path().join("eval.jsonl");
    std::fs::write(&path, tokens(&[&[5, 6], &[8, 9], &[9, 9]])).expect("written");
    job.data.eval = Eval::File(path);
    let prepared = job.prepare().expect("samples");
    assert_eq!((prepared.train.len(), prepared.eval.len()), (2, 3));
    assert_eq!(prepared.notes, ["1 row held out for evaluation and trained on too"]);
}

#[test]
fn what_a_user_should_know_is_noted() {
    let row =
        r#"{"messages": [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", "content": "b"}]}"#;
    let mut job = Job::of(&[("a.jsonl", row.as_bytes())]);
    job.template = Some("{{ strftime_now('%Y') }}{% for m in messages %}{{ m.content }}{% endfor %}");
    assert_eq!(
        job.prepare().expect("samples").notes,
        [
            "1 row with control tokens of the model written out in their text",
            "1 row of which no end token is learned",
            "the chat template a test writes today's date, so another day gives other tokens",
        ]
    );
    job.template = Some(CHAT);
    assert_eq!(job.prepare().expect("samples").notes.len(), 1);
}

#[test]
fn progress_is_told() {
    let job = Job::of(&[("a.jsonl", tokens(&[[4, 5].as_slice(); 3000]).as_bytes())]);
    let encoder = encoder(None);
    let mut done = Vec::new();
    let request = Request {
        data: &job.data,
        encoder: &encoder,
        max_length: 8,
        vocab_size: 512,
        seed: 0,
        n_prompts: 0,
        cache: &Cache::Off,
    };
    prepare(
        &request,
        &mut |event: &Event| {
            if let Event::Phase { done: Some(rows), .. } = event {
                done.push(*rows);
            }
        },
        &StopSignal::new(),
    )
    .expect("samples");
    assert_eq!(done.last(), Some(&3000));
    assert!(done.is_sorted() && done[0] > 0, "{done:?}");
}

fn third_party() -> Option<PathBuf> {
    let dir = std::env::var_os("FTL_DATA").map(PathBuf::from);
    if dir.is_none() {
        println!("skipped: FTL_DATA is not set");
    }
    dir
}

#[test]
fn real_datasets_become_samples() {
    let Some(dir) = third_party() else { return };
    let qwen = dir.join("tokenizers/qwen2.5-0.5b-instruct");
    let encoder = Encoder::load(&qwen, None).expect("an encoder");
    for name in [
        "alpaca/alpaca_en_demo.json",
        "alpaca/identity.json",
        "dpo/dpo_en_demo.json",
        "dpo/v1_dpo_demo.jsonl",
        "openai_messages/sft_messages_from_kto.jsonl",
        "openai_messages/v1_sft_demo.jsonl",
        "openai_messages/xtuner_openai_sft.jsonl",
        "prompt_completion/wwdc25_valid.jsonl",
        "question_answer/gsm8k_train_first2000.jsonl",
        "text/c4_demo.jsonl",
        "text/wikisql_valid.jsonl",
    ] {
        let rows = Rows::open(&dir.join("datasets").join(name)).expect("opens").count();
        let mut job = Job::of(&[]);
        job.data.train = vec![TrainFile::new(dir.join("datasets").join(name))];
        let request = Request {
            data: &job.data,
            encoder: &encoder,
            max_length: 100_000,
            vocab_size: 151_936,
            seed: 0,
            n_prompts: 0,
            cache: &Cache::Off,
        };
        let prepared =
            prepare(&request, &mut |_: &Event| {}, &StopSignal::new()).unwrap_or_else(|problems| {
                panic!("{name}: {} problems, the first: {}", problems.len(), problems[0]);
            });
        let prepared = prepared.expect("nobody stops it");
        println!("{name}: {} samples, {:?}", prepared.train.len(), prepared.notes);
        assert_eq!(prepared.train.len(), rows, "{name}");
        assert!(prepared.train.iter().all(|sample| sample.supervised_tokens() > 0));
    }
}

#[test]
fn held_out_prompts_are_what_is_asked_of_each_format() {
    let cases: [(&str, &str, Option<&str>); 7] = [
        (
            r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "a b"}, {"role": "assistant", "content": "c d"}, {"role": "user", "content": "e"}]}"#,
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo<|im_end|>\n<|im_start|>user\na b<|im_end|>\n\
             <|im_start|>assistant\n",
            Some("c d"),
        ),
        (
            r#"{"question": "a", "answer": "b"}"#,
            "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n",
            Some("b"),
        ),
        (
            r#"{"instruction": "a", "input": "b", "output": "c"}"#,
            "<|im_start|>user\na\n\nb<|im_end|>\n<|im_start|>assistant\n",
            Some("c"),
        ),
        (r#"{"prompt": "a b", "completion": " c"}"#, "a b", Some(" c")),
        (r#"{"prompt": "a b", "chosen": " c", "rejected": " d"}"#, "a b", Some(" c")),
        (r#"{"text": "abcd"}"#, "ab", Some("cd")),
        (r#"{"input_ids": [70, 71, 72, 73], "labels": [-100, -100, 72, 73]}"#, "", None),
    ];
    for (row, expected, reference) in cases {
        let mut job = Job::of(&[("a.jsonl", b"{\"text\": \"x y\"}"), ("eval.jsonl", row.as_bytes())]);
        let eval = job.data.train.remove(1).path;
        job.data.eval = Eval::File(eval);
        job.data.format = DataFormat::Auto;
        job.n_prompts = 3;
        let prompts = job.prepare().unwrap_or_else(|problems| panic!("{row}: {problems:?}")).prompts;
        assert_eq!(prompts.len(), 1, "{row}");
        let encoder = encoder(Some(CHAT));
        if expected.is_empty() {
            assert_eq!(prompts[0].ids, [70, 71]);
            continue;
        }
        assert_eq!(
            (prompts[0].text.as_str(), prompts[0].reference.as_deref()),
            (expected, reference),
            "{row}"
        );
        let ids =
            encoder.tokenizer.encode(expected, ftl_trainer::data::tokenize::Around::Nothing).expect("ids");
        assert_eq!(prompts[0].ids, ids, "{row}");
    }
}

#[test]
fn prompts_are_chosen_by_seed_and_content_of_what_is_held_out() {
    let rows: Vec<String> =
        (0..60).map(|i| format!("{{\"prompt\": \"q{i}\", \"completion\": \"a\"}}\n")).collect();
    let prompts = |rows: &[String]| {
        let mut job = Job::of(&[("a.jsonl", rows.concat().as_bytes())]);
        job.data.eval = Eval::Fraction(0.3);
        job.n_prompts = 4;
        let prepared = job.prepare().expect("samples");
        let held_out: Vec<Vec<u32>> = prepared.eval.iter().map(|sample| sample.ids).collect();
        assert!(
            prepared.prompts.iter().all(|prompt| held_out.iter().any(|ids| ids.starts_with(&prompt.ids)))
        );
        prepared.prompts.into_iter().map(|prompt| prompt.text).collect::<Vec<_>>()
    };
    let chosen = prompts(&rows);
    assert_eq!(chosen.len(), 4);
    let mut backwards = rows.clone();
    backwards.reverse();
    assert_eq!(prompts(&backwards), chosen);
    // Twice the same is asked once.
    assert_eq!(prompts(&[rows.clone(), rows].concat()), chosen);
}

#[test]
fn all_files_of_a_folder_are_trained_on_and_none_is_held_out() {
    let mut job = Job::of(&[("eval.jsonl", b"{\"text\": \"held out\"}\n")]);
    let folder = job.dir.path().join("rows");
    std::fs::create_dir(&folder).expect("a directory");
    for name in ["a", "b", "c"] {
        let rows = format!("{{\"text\": \"{name} 1\"}}\n{{\"text\": \"{name} 2\"}}\n");
        std::fs::write(folder.join(format!("{name}.jsonl")), rows).expect("written");
    }
    let eval = std::mem::replace(&mut job.data.train, vec![TrainFile::new(&folder)]).remove(0).path;
    for (held_out, n_eval) in [(Eval::Never, 0), (Eval::File(eval), 1)] {
        job.data.eval = held_out;
        let Prepared { train, eval, per_file, .. } = job.prepare().expect("samples");
        assert_eq!((train.len(), eval.len(), per_file), (6, n_eval, vec![6]));
    }
}
