//! From a file of the spec to the file that is read: what the user says of its rows, and what a `dataset_info.json` of
//! LLaMA-Factory beside it says.

use std::path::{Path, PathBuf};

use ftl_core::dataset::Code;
use ftl_core::spec::Columns;
use ftl_core::spec::resolved::{Data, DataFormat, TrainFile};

use super::dataset_info::{DATASET_INFO, DatasetInfo, Entry};
use super::detect::Asked;
use crate::data::fault::Fault;
use crate::data::read::file_name;

/// A file to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What is said of its rows.
    pub asked: Asked,
    /// Read at most this many of them.
    pub max_samples: Option<u64>,
    /// What a user should know, one sentence each.
    pub notes: Vec<String>,
}

impl Source {
    /// A training file.
    ///
    /// # Errors
    /// A `dataset_info.json` without the entry, or an entry whose file is not here.
    pub fn of_train(data: &Data, file: &TrainFile) -> Result<Self, Fault> {
        let TrainFile { path, weight: _, max_samples, columns, dataset } = file;
        let mut source = Self::of(path, dataset.as_deref(), data.format, &columns.or(&data.columns))?;
        source.max_samples = max_samples.or(source.max_samples);
        Ok(source)
    }

    /// The file at `path`, of which `format` and `columns` are said.
    ///
    /// # Errors
    /// As [`Source::of_train`].
    pub fn of(
        path: &Path,
        dataset: Option<&str>,
        format: DataFormat,
        columns: &Columns,
    ) -> Result<Self, Fault> {
        let is_info = path.file_name().is_some_and(|name| name == DATASET_INFO);
        if let Some(name) = dataset {
            if path.is_dir() {
                return Self::of(&path.join(DATASET_INFO), dataset, format, columns);
            }
            let info = DatasetInfo::read(path)?;
            let entry = info.entry(name)?;
            return Ok(listed(info.file_of(entry)?, entry, format, columns));
        }
        if is_info && let Ok(info) = DatasetInfo::read(path) {
            let what = "is a list of datasets of LLaMA-Factory, not data";
            let hint = format!("name one of them with `dataset = \"…\"` beside `path`; {}", info.names());
            return Err(Fault::new(Code::NotData, what).hint(hint));
        }
        let asked = Asked { columns: columns.clone(), ..Asked::of(format) };
        let plain = Self { path: path.to_owned(), asked, max_samples: None, notes: Vec::new() };
        // Who names a format means it.
        if format != DataFormat::Auto {
            return Ok(plain);
        }
        Ok(beside(path, columns).unwrap_or(plain))
    }
}

/// The file as a `dataset_info.json` in its folder, or in the one above, has it.
fn beside(path: &Path, columns: &Columns) -> Option<Source> {
    let folders = path.ancestors().skip(1).take(2).map(|folder| folder.join(DATASET_INFO));
    // A list that can't be read is not what was asked for: the file's own rows say what they are.
    let info = folders
        .filter(|list| list.is_file())
        .find_map(|list| DatasetInfo::read(&list).ok().filter(|info| !info.entries_of(path).is_empty()))?;
    let entries = info.entries_of(path);
    let entry = *entries.first()?;
    let is_alike =
        |other: &&Entry| other.asked(DataFormat::Auto, columns) == entry.asked(DataFormat::Auto, columns);
    if entries.iter().all(is_alike) {
        return Some(Source {
            max_samples: None,
            ..listed(path.to_owned(), entry, DataFormat::Auto, columns)
        });
    }
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    let note = format!(
        "`{DATASET_INFO}` beside `{}` lists it in several ways ({}); name one with `path` = `{DATASET_INFO}` and `dataset`",
        file_name(path),
        names.join(", ")
    );
    let asked = Asked { columns: columns.clone(), ..Asked::of(DataFormat::Auto) };
    Some(Source { path: path.to_owned(), asked, max_samples: None, notes: vec![note] })
}

fn listed(path: PathBuf, entry: &Entry, format: DataFormat, columns: &Columns) -> Source {
    let asked = entry.asked(format, columns);
    let name = &entry.name;
    let note = format!(
        "`{}` is read as the dataset `{name}` of `{DATASET_INFO}`: format {}{}",
        file_name(&path),
        asked.format.name(),
        shown(&asked.columns)
    );
    let notes = entry.notes().into_iter().map(|note| format!("the dataset `{name}`: {note}"));
    Source { path, asked, max_samples: entry.max_samples(), notes: [note].into_iter().chain(notes).collect() }
}

fn shown(columns: &Columns) -> String {
    let renamed = columns.iter().filter(|(field, column)| field.name() != *column);
    let renamed: Vec<String> = renamed.map(|(field, column)| format!("{field} = `{column}`")).collect();
    if renamed.is_empty() { String::new() } else { format!(", columns {}", renamed.join(", ")) }
}
