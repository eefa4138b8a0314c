//! The files that datasets own: `datasets/<id>/<file name>`.
//!
//! A mark in a folder says that its dataset is being made or deleted. Where a service died meanwhile, the next one deletes
//! what is marked and has no dataset. A folder without a mark stays, also where the database does not know it: of
//! datasets that are newer than a backup that was put back, it is all that is left.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ftl_core::{DatasetId, Problem, ProblemKind};

use super::uploads::{storage, sync_directory};
use crate::error::ServiceError;

/// The mark's name, which no file of a dataset can have.
const MARK: &str = ".not-kept";
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
        let folder = Self { path, fate: Fate::Deleted };
        File::create(folder.path.join(MARK)).map_err(storage)?;
        Ok(folder)
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
        unmark(&self.path);
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

/// Says that the dataset of a folder is about to be deleted. A full disk must not keep anyone from making room, so what the
/// operating system refuses is only told.
pub fn mark(datasets: &Path, id: &DatasetId) {
    let folder = datasets.join(id.as_str());
    if let Err(error) = File::create(folder.join(MARK)) {
        tracing::warn!(path = %folder.display(), %error, "the folder of a dataset can't be marked");
    }
}

/// Takes the mark of a folder away: its dataset stays.
fn unmark(folder: &Path) {
    match fs::remove_file(folder.join(MARK)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %folder.display(), %error, "the mark of a dataset that stays, stays");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Takes the mark of a dataset's folder away.
pub fn keep(datasets: &Path, id: &DatasetId) {
    unmark(&datasets.join(id.as_str()));
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

/// The ids of all folders that are marked.
///
/// # Errors
/// The directory can't be read.
pub fn marked(datasets: &Path) -> io::Result<Vec<DatasetId>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(datasets)? {
        let entry = entry?;
        // What is not ours stays.
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        ids.extend(id.filter(|_| entry.path().join(MARK).exists()));
    }
    Ok(ids)
}
