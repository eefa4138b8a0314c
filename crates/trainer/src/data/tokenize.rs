//! A model's tokenizer: text to ids and back.
//!
//! Wraps `tokenizers` with what stands beside tokenizer.json in a model directory: special tokens by name,
//! added tokens, and the ids that end a generation.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use super::literal::{self, Control, Literal};

/// The tokenizer of a model directory.
pub(crate) const TOKENIZER_JSON: &str = "tokenizer.json";

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special_tokens: Map<String, Value>,
    bos: Option<u32>,
    eos: Option<u32>,
    stops: Vec<u32>,
    /// Ids, ascending.
    specials: Vec<u32>,
    /// Made when a text first needs it.
    literal: OnceLock<Literal>,
}

/// Whether the tokens that a model puts around a text are added (`add_special_tokens`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// As the model adds them: for most a token for the beginning, for many none.
    Specials,
    /// None: the text has them already, or is the middle of one.
    Nothing,
}

/// Whether special tokens are part of decoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// They are.
    Shown,
    /// They are left out.
    Hidden,
}

/// A text as tokens, with their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokenized {
    /// The tokens.
    pub ids: Vec<u32>,
    /// For each token the bytes of the text that it stands for; empty for tokens that stand for none.
    pub offsets: Vec<Range<usize>>,
}

/// The names under which tokenizer_config.json holds special tokens.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

impl Tokenizer {
    /// Reads tokenizer.json of `model_dir`, and tokenizer_config.json, special_tokens_map.json and
    /// generation_config.json where they exist.
    ///
    /// # Errors
    /// [`ProblemKind::BrokenModel`], naming the file.
    pub fn load(model_dir: &Path) -> Result<Self, Problem> {
        let path = model_dir.join(TOKENIZER_JSON);
        let broken =
            |message: String| Problem::new(ProblemKind::BrokenModel, message).at(path.display().to_string());
        let bytes = fs::read(&path).map_err(|error| {
            broken(format!("the tokenizer can't be read: {error}"))
                .hint("a model directory needs tokenizer.json; tokenizer.model alone is not enough")
        })?;
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(broken("the file is a git-lfs pointer, not the tokenizer itself".to_owned())
                .hint("fetch it with `git lfs pull`"));
        }
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|error| broken(format!("the file is not a tokenizer: {error}")))?;
        // Lengths are data.max_length's business; a file may hold what its author last used.
        inner.with_truncation(None).map_err(|error| broken(error.to_string()))?;
        inner.with_padding(None);

        let config = read_json(&model_dir.join("tokenizer_config.json"))?;
        add_missing_tokens(&mut inner, &config).map_err(broken)?;
        let special_tokens = named_tokens(&[read_json(&model_dir.join("special_tokens_map.json"))?, config]);
        let id_of = |name: &str| {
            special_tokens.get(name).and_then(Value::as_str).and_then(|token| inner.token_to_id(token))
        };
        let (bos, eos) = (id_of("bos_token"), id_of("eos_token"));
        let mut stops: Vec<u32> = eos.into_iter().collect();
        let generation = read_json(&model_dir.join("generation_config.json"))?;
        stops.extend(ids_in(generation.get("eos_token_id")));
        stops.sort_unstable();
        stops.dedup();

        let mut specials: Vec<u32> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .chain(stops.iter().copied())
            .chain(bos)
            .collect();
        specials.sort_unstable();
        specials.dedup();
        Ok(Self { inner, special_tokens, bos, eos, stops, specials, literal: OnceLock::new() })
    }

    /// Special tokens by name (`bos_token`, …), for templates.
    pub fn special_tokens(&self) -> &Map<String, Value> {
        &self.special_tokens
    }

    /// The token for the beginning of a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token for the end of a text.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Ids that end a generation, ascending: the tokenizer's and generation_config.json's.
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// Whether `id` is a control token rather than text.
    pub fn is_special(&self, id: u32) -> bool {
        self.specials.binary_search(&id).is_ok()
    }

    /// How a control token is spelled; `None`: `id` is none that is recognised in a text.
    pub fn spelling(&self, id: u32) -> Option<&str> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added.get(&id).filter(|_| self.is_special(id)).map(|token| token.content.as_str())
    }

    /// How all control tokens are spelled that are recognised in a text.
    pub fn spellings(&self) -> Vec<&str> {
        self.specials.iter().filter_map(|id| self.spelling(*id)).filter(|text| !text.is_empty()).collect()
    }

    /// The id of an added token, which is taken whole wherever it is spelled.
    pub fn control(&self, text: &str) -> Option<u32> {
        self.inner.get_added_vocabulary().get_vocab().get(text).copied()
    }

    /// The control tokens that [`Tokenizer::encode`] finds in `text`.
    pub fn controls_in(&self, text: &str) -> Vec<Control> {
        literal::controls_in(&self.inner, text, |id| self.is_special(id))
    }

    /// The ids of `text`, in which `meant`, in order, are control tokens; others that it spells are ordinary text.
    ///
    /// # Errors
    /// [`ProblemKind::BadData`]: the tokenizer has no token for a part of the text.
    pub fn encode_meant(&self, text: &str, meant: &[Control], around: Around) -> Result<Tokenized, Problem> {
        let literal = match self.literal.get() {
            Some(literal) => literal,
            None => {
                let made = Literal::new(&self.inner, &self.specials).map_err(|error| not_encoded(&error))?;
                self.literal.get_or_init(|| made)
            }
        };
        literal.encode(&self.inner, (text, meant), around).map_err(|error| not_encoded(&error))
    }

    /// The highest id and one.
    pub fn vocab_size(&self) -> usize {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |id| id as usize + 1)
    }

    /// The ids of `text`.
    ///
    /// # Errors
    /// [`ProblemKind::BadData`]: the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str, around: Around) -> Result<Vec<u32>, Problem> {
        let encoding =
            self.inner.encode_fast(text, around == Around::Specials).map_err(|error| not_encoded(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of `text`, with their places in it.
    ///
    /// # Errors
    /// [`ProblemKind::BadData`]: the tokenizer has no token for a part of the text.
    pub fn encode_with_offsets(&self, text: &str, around: Around) -> Result<Tokenized, Problem> {
        let encoding =
            self.inner.encode(text, around == Around::Specials).map_err(|error| not_encoded(&error))?;
        Ok(Tokenized {
            ids: encoding.get_ids().to_vec(),
            offsets: encoding.get_offsets().iter().map(|(start, end)| *start..*end).collect(),
        })
    }

    /// The text of `ids`.
    ///
    /// # Errors
    /// [`ProblemKind::BrokenModel`]: the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], specials: Specials) -> Result<String, Problem> {
        self.inner.decode(ids, specials == Specials::Hidden).map_err(|error| not_decoded(&error))
    }

    /// Decodes id by id, as they are generated.
    pub fn stream(&self, specials: Specials) -> TextStream<'_> {
        TextStream { tokenizer: self, specials, ids: Vec::new(), start: 0, said: 0 }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("special_tokens", &self.special_tokens).finish_non_exhaustive()
    }
}

/// Text that grows by the token. A character whose bytes are not complete yet is held back.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    specials: Specials,
    ids: Vec<u32>,
    /// Where the ids begin whose text is decoded again with the next one; earlier ones can't change it.
    start: usize,
    /// Up to which id the text was returned.
    said: usize,
}

impl TextStream<'_> {
    /// The text that `id` completes; empty while a character is incomplete.
    ///
    /// # Errors
    /// [`ProblemKind::BrokenModel`]: the tokenizer's decoder fails.
    pub fn push(&mut self, id: u32) -> Result<String, Problem> {
        self.ids.push(id);
        // Decoders treat the first token of a text in a special way, so the ones before are decoded along and
        // what they say is taken off.
        let before = self.tokenizer.decode(&self.ids[self.start..self.said], self.specials)?;
        let text = self.tokenizer.decode(&self.ids[self.start..], self.specials)?;
        if text.ends_with('\u{fffd}') && self.ids.len() - self.said < LONGEST_CHARACTER {
            return Ok(String::new());
        }
        let new = text.get(before.len()..).unwrap_or_default().to_owned();
        if !new.is_empty() {
            self.start = self.said;
            self.said = self.ids.len();
        }
        Ok(new)
    }

    /// What was held back at the end.
    ///
    /// # Errors
    /// [`ProblemKind::BrokenModel`]: the tokenizer's decoder fails.
    pub fn finish(self) -> Result<String, Problem> {
        let before = self.tokenizer.decode(&self.ids[self.start..self.said], self.specials)?;
        let text = self.tokenizer.decode(&self.ids[self.start..], self.specials)?;
        Ok(text.get(before.len()..).unwrap_or_default().to_owned())
    }
}

/// Tokens that can belong to one character: four bytes, and room for one that never becomes valid.
const LONGEST_CHARACTER: usize = 8;

fn not_encoded(error: &tokenizers::Error) -> Problem {
    Problem::new(ProblemKind::BadData, format!("the text can't be tokenized: {error}"))
}

fn not_decoded(error: &tokenizers::Error) -> Problem {
    Problem::new(ProblemKind::BrokenModel, format!("the tokenizer can't decode: {error}"))
}

/// The file's JSON; null where there is no file.
fn read_json(path: &Path) -> Result<Value, Problem> {
    let broken =
        |message: String| Problem::new(ProblemKind::BrokenModel, message).at(path.display().to_string());
    if !path.exists() {
        return Ok(Value::Null);
    }
    let text =
        fs::read_to_string(path).map_err(|error| broken(format!("the file can't be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| broken(format!("the file is not JSON: {error}")))
}

/// Special tokens by name; later files beat earlier ones. A token is a string or `{"content": …}`.
fn named_tokens(files: &[Value]) -> Map<String, Value> {
    let text_of = |token: &Value| match token {
        Value::String(text) => Some(text.clone()),
        other => other.get("content").and_then(Value::as_str).map(str::to_owned),
    };
    let mut tokens = Map::new();
    for file in files {
        for name in NAMES {
            if let Some(text) = file.get(name).and_then(text_of) {
                tokens.insert(name.to_owned(), Value::from(text));
            }
        }
        if let Some(Value::Array(more)) = file.get("additional_special_tokens") {
            let texts: Vec<Value> = more.iter().filter_map(text_of).map(Value::from).collect();
            if !texts.is_empty() {
                tokens.insert("additional_special_tokens".to_owned(), Value::Array(texts));
            }
        }
        // Some models name further tokens here (`image_token`, …).
        for key in ["extra_special_tokens", "model_specific_special_tokens"] {
            let Some(Value::Object(more)) = file.get(key) else { continue };
            for (name, token) in more {
                if let Some(text) = text_of(token) {
                    tokens.insert(name.clone(), Value::from(text));
                }
            }
        }
    }
    tokens
}

/// Adds the tokens of `added_tokens_decoder` that tokenizer.json does not have, as transformers does.
fn add_missing_tokens(tokenizer: &mut tokenizers::Tokenizer, config: &Value) -> Result<(), String> {
    let Some(Value::Object(listed)) = config.get("added_tokens_decoder") else { return Ok(()) };
    let mut missing: Vec<(u32, AddedToken)> = Vec::new();
    for (id, token) in listed {
        let (Ok(id), Some(content)) = (id.parse(), token.get("content").and_then(Value::as_str)) else {
            continue;
        };
        if tokenizer.token_to_id(content).is_none() {
            let flag = |name: &str| token.get(name).and_then(Value::as_bool).unwrap_or(false);
            missing.push((
                id,
                AddedToken::from(content, flag("special"))
                    .single_word(flag("single_word"))
                    .lstrip(flag("lstrip"))
                    .rstrip(flag("rstrip"))
                    .normalized(flag("normalized")),
            ));
        }
    }
    missing.sort_by_key(|(id, _)| *id);
    for (id, token) in missing {
        let content = token.content.clone();
        tokenizer.add_tokens([token]).map_err(|error| error.to_string())?;
        let given = tokenizer.token_to_id(&content);
        if given != Some(id) {
            return Err(format!(
                "`{content}` has the id {id} in tokenizer_config.json, but the tokenizer's next free id is {}",
                given.map_or_else(|| "none".to_owned(), |given| given.to_string())
            ));
        }
    }
    Ok(())
}

fn ids_in(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}
