//! Models that other programs downloaded into the Hugging Face cache.
//!
//! Its layout (huggingface_hub, "Understand caching"), of which names of directories are listed and `refs/main` is
//! read, and nothing else:
//!
//! ```text
//! CACHE/models--org--name/
//!   refs/main                    the commit that `main` meant when it was last downloaded
//!   snapshots/<commit>/          config.json and the other files
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use ftl_core::model::{Model, ModelSource};

/// What the directories of models begin with.
const PREFIX: &str = "models--";
/// Stands for `/` in the names of directories; no repository has it in its name.
const SLASH: &str = "--";
/// Hexadecimal digits of a commit.
const N_COMMIT_DIGITS: usize = 40;

/// The cache of this user.
#[derive(Clone, Debug)]
pub struct Cache {
    /// `None`: there is no home to look in.
    root: Option<PathBuf>,
}

impl Cache {
    /// A cache in a directory, which need not exist.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: Some(root.into()) }
    }

    /// Where huggingface_hub has it: `HF_HUB_CACHE`, or `hub` below `HF_HOME`, `$XDG_CACHE_HOME/huggingface` or
    /// `~/.cache/huggingface`.
    pub fn of_user() -> Self {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || {
            let cache = variable("XDG_CACHE_HOME").or_else(|| Some(dirs::home_dir()?.join(".cache")))?;
            Some(cache.join("huggingface"))
        };
        let root = variable("HF_HUB_CACHE")
            .or_else(|| Some(variable("HF_HOME").or_else(home)?.join("hub")))
            .and_then(|root| std::path::absolute(root).ok());
        Self { root }
    }

    /// The model of this name, `org/name`; `None`: there is none, or it is not complete enough to have a config.json.
    pub fn find(&self, name: &str) -> Option<Model> {
        let parts: Vec<&str> = name.split('/').collect();
        if !matches!(parts.as_slice(), [_] | [_, _]) || !parts.iter().all(|part| is_name(part)) {
            return None;
        }
        self.model(&format!("{PREFIX}{}", parts.join(SLASH)), name.to_owned())
    }

    /// All models that have a config.json, by name.
    pub fn models(&self) -> Vec<Model> {
        let Some(entries) = self.root.as_ref().and_then(|root| fs::read_dir(root).ok()) else {
            return Vec::new();
        };
        let mut models: Vec<Model> = entries
            .flatten()
            .filter_map(|entry| {
                let directory = entry.file_name().into_string().ok()?;
                self.find(&directory.strip_prefix(PREFIX)?.replace(SLASH, "/"))
            })
            .collect();
        models.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        models
    }

    fn model(&self, directory: &str, name: String) -> Option<Model> {
        let directory = self.root.as_ref()?.join(directory);
        let revision = main_commit(&directory)?;
        let path = directory.join("snapshots").join(&revision);
        path.join("config.json").is_file().then_some(Model {
            name,
            path,
            source: ModelSource::HuggingFaceCache { revision },
        })
    }
}

/// What repositories may be called (huggingface_hub's `validate_repo_id`), so that no name leads out of the cache.
fn is_name(part: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !part.is_empty()
        && part.chars().all(is_allowed)
        && !part.contains(SLASH)
        && !part.contains("..")
        && !part.starts_with(['.', '-'])
}

fn main_commit(directory: &Path) -> Option<String> {
    let mut commit = String::new();
    // A commit and a line break; whoever wrote more wrote something else.
    let limit = N_COMMIT_DIGITS as u64 + 2;
    File::open(directory.join("refs/main")).ok()?.take(limit).read_to_string(&mut commit).ok()?;
    let commit = commit.trim_end();
    let is_commit = commit.len() == N_COMMIT_DIGITS && commit.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_commit.then(|| commit.to_owned())
}
