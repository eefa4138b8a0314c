//! From what a person names, a file, a folder or a pattern, to data files.
//!
//! Folders are those of Hugging Face (`data/train-00000-of-00001.parquet`), mlx-lm (`train.jsonl`, `valid.jsonl`) and
//! whatever else people keep: all data files, by name, but only those for training where names tell them apart.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};
use glob::{MatchOptions, glob_with};

use super::file_name;

/// How data files end, compressed or not.
const ENDINGS: &[&str] = &["jsonl", "ndjson", "json", "csv", "tsv", "tab", "parquet", "txt", "text", "md"];
/// Files beside data.
const COMPANIONS: &[&str] = &[
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "metadata.json",
    "readme.md",
    "readme.txt",
    "license.txt",
    "license.md",
    "changelog.md",
    "requirements.txt",
];
const TRAINING: &[&str] = &["train", "training"];
const HELD_OUT: &[&str] =
    &["valid", "validation", "val", "dev", "eval", "evaluation", "test", "testing", "heldout", "holdout"];
/// Folders within folders are looked into this far, so that a link to a parent ends.
const MAX_DEPTH: usize = 8;
/// How many names a note lists.
const LISTED: usize = 8;

/// The data files that `path` names, sorted by name, and what was left out, one sentence each.
///
/// # Errors
/// [`ProblemKind::NotFound`] if there is nothing of that name, [`ProblemKind::BadData`] if it holds no data for training.
pub fn expand(path: &Path) -> Result<(Vec<PathBuf>, Vec<String>), Problem> {
    let at = path.display().to_string();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => folder(path),
        Ok(_) => Ok((vec![path.to_owned()], Vec::new())),
        Err(_) if at.contains(['*', '?', '[']) => pattern(&at),
        Err(error) => {
            Err(Problem::new(ProblemKind::NotFound, format!("the file can't be read: {error}")).at(at))
        }
    }
}

fn pattern(pattern: &str) -> Result<(Vec<PathBuf>, Vec<String>), Problem> {
    let problem = |message: String| Problem::new(ProblemKind::NotFound, message).at(pattern);
    let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
    let found = glob_with(pattern, options)
        .map_err(|error| problem(format!("`{pattern}` is no pattern for files: {}", error.msg)))?;
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    for path in found {
        let path = path
            .map_err(|error| problem(format!("a folder of `{pattern}` can't be read: {}", error.error())))?;
        if path.is_dir() {
            // A folder without data beside others with some is no fault.
            if let Ok((more, left_out)) = folder(&path) {
                files.extend(more);
                notes.extend(left_out);
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
    files.dedup();
    if files.is_empty() {
        return Err(problem(format!("no data file matches `{pattern}`")));
    }
    Ok((files, notes))
}

/// What a name says about what a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    Training,
    HeldOut,
    Unsaid,
}

fn folder(root: &Path) -> Result<(Vec<PathBuf>, Vec<String>), Problem> {
    let bad = |what: &str| {
        let message = format!("the folder `{}` {what}", file_name(root));
        Problem::new(ProblemKind::BadData, message).at(root.display().to_string())
    };
    let (mut files, mut others) = (Vec::new(), Vec::new());
    list(root, MAX_DEPTH, &mut files, &mut others)?;
    let within = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_path_buf();
    let of = |split: Split| {
        let is_of = |path: &&PathBuf| split_of(&within(path)) == split;
        files.iter().filter(is_of).cloned().collect::<Vec<_>>()
    };
    let (training, held_out, unsaid) = (of(Split::Training), of(Split::HeldOut), of(Split::Unsaid));
    let (taken, left_out) = match (training.is_empty(), unsaid.is_empty()) {
        (false, _) => (training, [held_out, unsaid].concat()),
        (true, false) => (unsaid, held_out),
        (true, true) if held_out.is_empty() => {
            let hint = "it holds JSON Lines, JSON, CSV, TSV, Parquet or text files, compressed with gzip or zstd or not";
            return Err(bad("holds no data files").hint(hint));
        }
        (true, true) => {
            let hint = "name the file itself if you mean to train on it";
            return Err(bad("holds data for evaluation only, by the names of its files").hint(hint));
        }
    };
    let mut notes = Vec::new();
    let name = file_name(root);
    let names = |paths: &[PathBuf]| {
        let listed: Vec<String> =
            paths.iter().take(LISTED).map(|path| format!("`{}`", within(path).display())).collect();
        match paths.len().saturating_sub(LISTED) {
            0 => listed.join(", "),
            more => format!("{} and {more} more", listed.join(", ")),
        }
    };
    if !left_out.is_empty() {
        notes.push(format!(
            "of the folder `{name}` these files are not trained on, by their names: {}",
            names(&left_out)
        ));
    }
    if !others.is_empty() {
        notes.push(format!(
            "of the folder `{name}` these files are not read, as they are not named as data: {}",
            names(&others)
        ));
    }
    Ok((taken, notes))
}

/// Data files below `folder`, and other files that might have been meant as such.
fn list(
    folder: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    others: &mut Vec<PathBuf>,
) -> Result<(), Problem> {
    let unread = |error: std::io::Error| {
        let message = format!("the folder can't be read: {error}");
        Problem::new(ProblemKind::NotFound, message).at(folder.display().to_string())
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        entries.push(entry.map_err(unread)?.path());
    }
    entries.sort();
    for path in entries {
        let name = file_name(&path).to_lowercase();
        if name.starts_with(['.', '_']) || COMPANIONS.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, files, others)?;
            }
        } else if path.is_file() {
            let bare = [".gz", ".zst"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(&name);
            let is_data = bare.rsplit_once('.').is_some_and(|(_, ending)| ENDINGS.contains(&ending));
            if is_data { files.push(path) } else { others.push(path) }
        }
    }
    Ok(())
}

/// What the name of a file within a folder says, and if that says nothing, the names of the folders around it.
fn split_of(within: &Path) -> Split {
    let parts: Vec<String> = within.iter().map(|part| part.to_string_lossy().to_lowercase()).collect();
    for part in parts.iter().rev() {
        let words: Vec<&str> = part.split(|letter: char| !letter.is_alphabetic()).collect();
        let has = |names: &[&str]| words.iter().any(|word| names.contains(word));
        match (has(TRAINING), has(HELD_OUT)) {
            (true, _) => return Split::Training,
            (false, true) => return Split::HeldOut,
            (false, false) => {}
        }
    }
    Split::Unsaid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are_for() {
        for (name, expected) in [
            ("train.jsonl", Split::Training),
            ("data/train-00000-of-00001.parquet", Split::Training),
            ("wwdc25_train.jsonl", Split::Training),
            ("test/train.jsonl", Split::Training),
            ("train/part-1.jsonl", Split::Training),
            ("valid.jsonl", Split::HeldOut),
            ("data/validation-00000-of-00001.parquet", Split::HeldOut),
            ("test/part-1.jsonl", Split::HeldOut),
            ("Dev.json", Split::HeldOut),
            ("retrained.jsonl", Split::Unsaid),
            ("contest.jsonl", Split::Unsaid),
            ("part-1.jsonl", Split::Unsaid),
        ] {
            assert_eq!(split_of(Path::new(name)), expected, "{name}");
        }
    }
}
