//! LLaMA-Factory's `dataset_info.json`: which columns, tags and layout each of its datasets has.
//!
//! Follows `src/llamafactory/data/parser.py` and `converter.py` of LLaMA-Factory 0.9. Two things differ: columns that an
//! entry does not list keep their usual names, where LLaMA-Factory leaves out what they hold, and tags that it does not
//! list do so too.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use ftl_core::dataset::Code;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::spec::{Columns, Field};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::detect::Asked;
use super::layout::{Labels, Tags};
use super::speaker::{Role, Speaker};
use crate::data::fault::Fault;

/// The name of the file.
pub const DATASET_INFO: &str = "dataset_info.json";
/// Largest file that is read; theirs with all its datasets has 18 kB.
const MAX_BYTES: u64 = 16 << 20;

/// A `dataset_info.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetInfo {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// One of its datasets.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    described: Described,
}

/// The keys of an entry. Others are of no matter to files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Described {
    file_name: Option<String>,
    hf_hub_url: Option<String>,
    ms_hub_url: Option<String>,
    om_hub_url: Option<String>,
    script_url: Option<String>,
    cloud_file_name: Option<String>,
    formatting: Option<String>,
    ranking: bool,
    subset: Option<String>,
    split: Option<String>,
    folder: Option<String>,
    num_samples: Option<u64>,
    columns: Option<Map<String, Value>>,
    tags: Option<Map<String, Value>>,
}

impl DatasetInfo {
    /// Reads it.
    ///
    /// # Errors
    /// A file that can't be read, is no JSON object, or has an entry that can't be understood.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| Fault::new(Code::UnreadableFile, format!("can't be read: {error}")))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Fault::new(Code::NotData, "is larger than 16 MiB, so it is no list of datasets"));
        }
        let listed: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| {
            Fault::new(Code::NotData, format!("is not a JSON object of datasets: {error}"))
        })?;
        // Hugging Face's own `dataset_info.json` has other things at its top.
        let described = listed.into_iter().filter(|(_, entry)| entry.is_object());
        let entries = described.map(|(name, entry)| match Described::deserialize(&entry) {
            Ok(described) => Ok(Entry { name, described }),
            Err(error) => {
                let what = format!("has an entry `{name}` that can't be understood: {error}");
                Err(Fault::new(Code::NotData, what))
            }
        });
        Ok(Self { path: path.to_owned(), entries: entries.collect::<Result<_, _>>()? })
    }

    /// Its datasets, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The dataset called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn entry(&self, name: &str) -> Result<&Entry, Fault> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let fault = Fault::new(Code::UnreadableFile, format!("has no dataset `{name}`"));
            let alike = |entry: &&Entry| strsim::damerau_levenshtein(&entry.name, name);
            match self.entries.iter().min_by_key(alike).filter(|entry| alike(entry) <= 1 + name.len() / 3) {
                Some(entry) => fault.hint(format!("did you mean `{}`?", entry.name)),
                None => fault.hint(self.names()),
            }
        })
    }

    /// The datasets that are `path`.
    pub fn entries_of(&self, path: &Path) -> Vec<&Entry> {
        let is_it = |entry: &&Entry| entry.is_at(self.directory(), path);
        self.entries.iter().filter(is_it).collect()
    }

    /// Where the file of `entry` is.
    ///
    /// # Errors
    /// It is to be fetched from elsewhere, or not there.
    pub fn file_of(&self, entry: &Entry) -> Result<PathBuf, Fault> {
        let Entry { name, described } = entry;
        let elsewhere = [
            ("Hugging Face", &described.hf_hub_url),
            ("ModelScope", &described.ms_hub_url),
            ("Modelers", &described.om_hub_url),
            ("a script", &described.script_url),
            ("a cloud store", &described.cloud_file_name),
        ];
        // A hub beats a file, as there.
        let elsewhere = elsewhere.into_iter().find_map(|(place, url)| Some((place, url.as_ref()?)));
        match (elsewhere, &described.file_name) {
            (Some((place, url)), _) => Err(Fault::new(
                Code::UnreadableFile,
                format!("says that the dataset `{name}` comes from {place} (`{url}`), and training fetches nothing"),
            )
            .hint("download it, and name the file")),
            (None, Some(file)) => {
                let path = self.directory().join(file);
                if path.exists() {
                    return Ok(path);
                }
                let what = format!("has a dataset `{name}` whose file is not there: {}", path.display());
                Err(Fault::new(Code::UnreadableFile, what))
            }
            (None, None) => Err(Fault::new(
                Code::UnreadableFile,
                format!("says of the dataset `{name}` neither `file_name` nor where it comes from"),
            )),
        }
    }

    /// What to say to someone who has to name a dataset.
    pub fn names(&self) -> String {
        let here: Vec<&str> = self
            .entries
            .iter()
            .filter(|entry| self.file_of(entry).is_ok())
            .map(|entry| entry.name.as_str())
            .take(12)
            .collect();
        match here.as_slice() {
            [] => "none of its datasets has its file here".to_owned(),
            here => format!("its datasets whose files are here: {}", here.join(", ")),
        }
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

impl Entry {
    /// Read at most this many of its rows.
    pub fn max_samples(&self) -> Option<u64> {
        self.described.num_samples
    }

    /// How its rows are laid out; `format` and `columns` are the user's own words, which beat it.
    pub fn asked(&self, format: DataFormat, columns: &Columns) -> Asked {
        let tags = self.tags();
        let found = match format {
            DataFormat::Auto => self.format(&tags),
            DataFormat::Messages
            | DataFormat::Sharegpt
            | DataFormat::Alpaca
            | DataFormat::PromptCompletion
            | DataFormat::QuestionAnswer
            | DataFormat::Text
            | DataFormat::Preference
            | DataFormat::Tokens => format,
        };
        let labels = Labels::where_asked(format);
        let own: Columns = self.columns(found).into_iter().filter(|(field, _)| field.is_of(found)).collect();
        Asked { format: found, columns: columns.or(&own), tags, labels }
    }

    /// What is said of it that files have no place for.
    pub fn notes(&self) -> Vec<String> {
        let Described { subset, split, folder, .. } = &self.described;
        let split = split.as_ref().filter(|split| *split != "train");
        let named = [("subset", subset.as_ref()), ("split", split), ("folder", folder.as_ref())];
        let note = |(key, value): (&str, &String)| {
            format!("its `{key}` (`{value}`) is of no matter to a file, all of which is read")
        };
        named.into_iter().filter_map(|(key, value)| Some(note((key, value?)))).collect()
    }

    fn is_at(&self, directory: &Path, path: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        let Some(file) = &self.described.file_name else { return false };
        // Comparing names first spares a look at the disk for each entry.
        Path::new(file).file_name() == path.file_name()
            && real(&directory.join(file)).is_some_and(|there| Some(there) == real(path))
    }

    fn format(&self, tags: &Tags) -> DataFormat {
        let listed = |column: &str| self.column(column).is_some();
        let has_columns = self.described.columns.is_some();
        match self.described.formatting.as_deref().unwrap_or("alpaca") {
            _ if self.described.ranking => DataFormat::Preference,
            // The prompt alone is text to go on with (`stage: pt`).
            "alpaca" if has_columns && !listed("response") => DataFormat::Text,
            "alpaca" => DataFormat::Alpaca,
            "openai" => DataFormat::Messages,
            _ if tags.role.as_deref() == Some("role") && tags.content.as_deref() == Some("content") => {
                DataFormat::Messages
            }
            _ => DataFormat::Sharegpt,
        }
    }

    fn columns(&self, format: DataFormat) -> Vec<(Field, String)> {
        let prompt = match format {
            DataFormat::Text => Field::Text,
            DataFormat::Auto
            | DataFormat::Messages
            | DataFormat::Sharegpt
            | DataFormat::Alpaca
            | DataFormat::PromptCompletion
            | DataFormat::QuestionAnswer
            | DataFormat::Preference
            | DataFormat::Tokens => Field::Instruction,
        };
        let theirs = [
            ("prompt", prompt),
            ("query", Field::Input),
            ("response", Field::Output),
            ("history", Field::History),
            ("messages", Field::Messages),
            ("system", Field::System),
            ("tools", Field::Tools),
            ("chosen", Field::Chosen),
            ("rejected", Field::Rejected),
            ("kto_tag", Field::Label),
        ];
        let column = |(name, field): (&str, Field)| Some((field, self.column(name)?.to_owned()));
        theirs.into_iter().filter_map(column).collect()
    }

    fn column(&self, name: &str) -> Option<&str> {
        let column = self.described.columns.as_ref()?.get(name)?.as_str()?;
        (!column.is_empty()).then_some(column)
    }

    fn tags(&self) -> Tags {
        let tag = |name: &str| {
            let tag = self.described.tags.as_ref()?.get(name)?.as_str()?;
            (!tag.is_empty()).then(|| tag.to_owned())
        };
        let speakers = [
            ("user_tag", Speaker::Plain(Role::User)),
            ("assistant_tag", Speaker::Plain(Role::Assistant)),
            ("observation_tag", Speaker::Plain(Role::Tool)),
            ("function_tag", Speaker::Call),
            ("system_tag", Speaker::Plain(Role::System)),
        ];
        Tags {
            role: tag("role_tag"),
            content: tag("content_tag"),
            speakers: speakers
                .into_iter()
                .filter_map(|(name, speaker)| Some((tag(name)?, speaker)))
                .collect(),
            media: ["images", "videos", "audios"]
                .into_iter()
                .filter_map(|name| self.column(name))
                .map(str::to_owned)
                .collect(),
        }
    }
}
