//! A run's directories against their manifests.

use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde::Serialize;

use crate::checkpoint::layout::{FINAL, MANIFEST_JSON, REFERENCE};
use crate::checkpoint::{list, verify};
use crate::error::TrainError;

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wholeness {
    /// Whether every directory is what was written.
    pub whole: bool,
    /// The directories, checkpoints first, oldest first.
    pub checked: Vec<Checked>,
}

/// A directory with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// The size of its files together; `None`: it is damaged.
    pub bytes: Option<u64>,
    /// What is wrong with it; `None`: nothing.
    pub problem: Option<Problem>,
}

/// Compares every checkpoint, the result and the reference of a run, byte for byte, with their manifests; or such a
/// directory by itself.
///
/// # Errors
/// `NotFound` where there is nothing to compare.
pub fn check(dir: &Path) -> Result<Wholeness, TrainError> {
    let mut paths = Vec::new();
    if dir.join(MANIFEST_JSON).is_file() {
        paths.push(dir.to_owned());
    } else {
        paths.extend(list(dir)?.into_iter().map(|checkpoint| checkpoint.path));
        paths.extend([REFERENCE, FINAL].map(|name| dir.join(name)).into_iter().filter(|path| path.is_dir()));
    }
    if paths.is_empty() {
        return Err(Problem::new(ProblemKind::NotFound, "holds no checkpoint and no result")
            .at(dir.display().to_string())
            .hint("name the directory that a run was given with `--out`, or a checkpoint")
            .into());
    }
    let checked: Vec<Checked> = paths.iter().map(|path| check_one(path)).collect();
    Ok(Wholeness { whole: checked.iter().all(|checked| checked.problem.is_none()), checked })
}

fn check_one(path: &Path) -> Checked {
    let name = path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
    match verify(path) {
        Ok(manifest) => Checked { name, bytes: Some(manifest.n_bytes()), problem: None },
        Err(problem) => Checked { name, bytes: None, problem: Some(problem) },
    }
}
