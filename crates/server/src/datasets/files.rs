//! The files that datasets own: `datasets/<id>/<file name>`. A folder without a dataset is what a service left behind that
//! died in the middle of an import; it is deleted when the next one starts.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ftl_core::{DatasetId, Problem, ProblemKind};

use super::uploads::{storage, sync_directory};
use crate::error::ServiceError;

/// Longest name of a file in bytes: what file systems take.
const MAX_NAME_BYTES: usize = 255;

/// The folder of a dataset that is being made. Dropped before [`keep`](Self::keep), it is deleted.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Deleted,
}

impl Folder {
    /// The folder of a new dataset.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make(datasets: &Path, id: &DatasetId) -> Result<Self, ServiceError> {
        let path = datasets.join(id.as_str());
        DirBuilder::new().mode(0o700).create(&path).map_err(storage)?;
        Ok(Self { path, fate: Fate::Deleted })
    }

    /// Where a file of this name is, or will be.
    pub fn file(&self, name: &FileName) -> PathBuf {
        self.path.join(&name.0)
    }

    /// Gives a file another name, in this folder. The old one stays: nothing is copied.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn link(&self, from: &Path, name: &FileName) -> Result<PathBuf, ServiceError> {
        let path = self.file(name);
        fs::hard_link(from, &path).map_err(storage)?;
        sync_directory(&self.path)?;
        Ok(path)
    }

    /// The dataset is kept, and so is its folder.
    pub fn keep(mut self) {
        self.fate = Fate::Kept;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.fate == Fate::Deleted
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a folder without a dataset stays");
        }
    }
}

/// The name of a file without a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// A name that a client gives.
    ///
    /// # Errors
    /// What is no name of a file in one folder, or is hidden there.
    pub fn new(text: &str) -> Result<Self, Problem> {
        let refused = |message: String| {
            let problem = Problem::new(ProblemKind::InvalidValue, message).at("upload.file_name");
            Err(problem.hint("give the file's own name, like `train.jsonl`"))
        };
        let shown: String = text.chars().filter(|c| !c.is_control()).take(80).collect();
        if text.is_empty() {
            return refused("the file's name is missing".to_owned());
        }
        if text.starts_with('.') || text.contains(['/', '\\']) || text.contains(char::is_control) {
            return refused(format!("`{shown}` is not the name of a file"));
        }
        if text.len() > MAX_NAME_BYTES {
            return refused(format!("the file's name has {} bytes, at most {MAX_NAME_BYTES}", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Deletes the folder of a dataset that is gone.
///
/// # Errors
/// The file system refuses.
pub fn delete(datasets: &Path, id: &DatasetId) -> io::Result<()> {
    match fs::remove_dir_all(datasets.join(id.as_str())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The ids of all folders.
///
/// # Errors
/// The directory can't be read.
pub fn ids(datasets: &Path) -> io::Result<Vec<DatasetId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(datasets)? {
        // What is not ours stays.
        ids.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    Ok(ids)
}
