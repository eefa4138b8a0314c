//! A job's data with a cache of their own.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::event::NoteLevel;
use ftl_core::spec::Columns;
use ftl_core::spec::resolved::{
    Data, DataFormat, Eval, ExcessLength, LossOn, Rows as RowRule, SampleOrder, TrainFile,
};
use ftl_core::{Event, Problem, StopSignal};
use ftl_trainer::data::cache::Cache;
use ftl_trainer::data::encode::Encoder;
use ftl_trainer::data::load::{Prepared, Request, prepare};
use ftl_trainer::data::template::ChatTemplate;
use ftl_trainer::data::tokenize::Tokenizer;
use serde_json::{Map, Value, json};

pub const CHAT: &str = "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>{{ '\n' }}\
                        {% endfor %}";

/// The note of a run that tokenized nothing.
pub const FROM_CACHE: &str = "tokenized data from cache";

pub fn tokenizer_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers/chatml")
}

/// What was said while data were read.
pub type Notes = Vec<(NoteLevel, String)>;

/// Data in a directory of their own.
pub struct Job {
    pub dir: PathBuf,
    pub data: Data,
    pub cache: Cache,
    pub tokenizer: PathBuf,
    pub template: Option<String>,
    pub arguments: Map<String, Value>,
    pub max_length: usize,
    pub vocab_size: usize,
    pub seed: u64,
    pub n_prompts: usize,
}

impl Job {
    /// Conversations enough to be kept, in `dir`.
    pub fn of(dir: &Path) -> Self {
        fs::write(dir.join("train.jsonl"), rows(1500, "train")).expect("written");
        fs::write(dir.join("eval.jsonl"), rows(20, "eval")).expect("written");
        Self::of_files(dir)
    }

    /// Over the files that are in `dir` already.
    pub fn of_files(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            data: Data {
                train: vec![TrainFile::new(dir.join("train.jsonl"))],
                format: DataFormat::Auto,
                columns: Columns::default(),
                eval: Eval::Never,
                max_length: None,
                excess_length_strategy: ExcessLength::Truncate,
                loss_on: LossOn::AssistantTokens,
                rows: RowRule::Samples,
                order: SampleOrder::File,
                max_samples: None,
                chat_template: None,
            },
            cache: Cache::Dir { path: dir.join("cache"), limit_bytes: 1 << 30 },
            tokenizer: tokenizer_dir(),
            template: Some(CHAT.to_owned()),
            arguments: Map::new(),
            max_length: 512,
            vocab_size: 512,
            seed: 42,
            n_prompts: 0,
        }
    }

    pub fn with<T>(&self, then: impl FnOnce(&Request<'_>) -> T) -> T {
        let tokenizer = Tokenizer::load(&self.tokenizer).expect("a tokenizer");
        let compiled = |source: &String| {
            ChatTemplate::new(source, "a test", tokenizer.special_tokens()).expect("compiles")
        };
        let template = self.template.as_ref().map(compiled);
        let encoder = Encoder { tokenizer, template, arguments: self.arguments.clone() };
        let Self { data, max_length, vocab_size, seed, n_prompts, cache, .. } = self;
        then(&Request {
            data,
            encoder: &encoder,
            max_length: *max_length,
            vocab_size: *vocab_size,
            seed: *seed,
            n_prompts: *n_prompts,
            cache,
        })
    }

    /// The data, and what was said of them.
    pub fn prepare(&self) -> Result<(Prepared, Notes), Vec<Problem>> {
        let mut notes = Vec::new();
        let mut observer = |event: &Event| {
            if let Event::Note { level, message } = event {
                notes.push((*level, message.clone()));
            }
        };
        let prepared =
            self.with(|request| prepare(request, &mut observer, &StopSignal::new()))?.expect("not stopped");
        Ok((prepared, notes))
    }

    /// The data, and whether they come from the cache.
    pub fn get(&self) -> (Prepared, bool) {
        let (prepared, notes) = self.prepare().expect("samples");
        (prepared, notes.iter().any(|(_, note)| note == FROM_CACHE))
    }

    /// The data as they are without a cache.
    pub fn fresh(&self) -> Prepared {
        let Self {
            dir, data, tokenizer, template, arguments, max_length, vocab_size, seed, n_prompts, ..
        } = self;
        let without = Self {
            dir: dir.clone(),
            data: data.clone(),
            cache: Cache::Off,
            tokenizer: tokenizer.clone(),
            template: template.clone(),
            arguments: arguments.clone(),
            max_length: *max_length,
            vocab_size: *vocab_size,
            seed: *seed,
            n_prompts: *n_prompts,
        };
        without.get().0
    }

    /// The files of the cache.
    pub fn kept(&self) -> Vec<PathBuf> {
        files(&self.dir.join("cache"))
    }
}

/// The files in a directory, which need not be there.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Conversations that differ.
pub fn rows(n: usize, name: &str) -> String {
    let row = |number: usize| {
        json!({"messages": [
            {"role": "user", "content": format!("{name} {number}?")},
            {"role": "assistant", "content": format!("Answer {}.", number * 7 % 1000)},
        ]})
    };
    (0..n).map(|number| format!("{}\n", row(number))).collect()
}
