//! What other programs load of a checkpoint: a PEFT adapter or a model, without the optimizer and the state of the run.

use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};

use crate::checkpoint::layout::{
    FTL_STATE_JSON, MANIFEST_JSON, OPTIMIZER_SAFETENSORS, TRAINER_STATE_JSON, temporary_name,
};
use crate::checkpoint::sync_below;
use crate::error::TrainError;

/// Files of a checkpoint that say where a run stands rather than what it made.
const NOT_COPIED: [&str; 4] = [MANIFEST_JSON, FTL_STATE_JSON, TRAINER_STATE_JSON, OPTIMIZER_SAFETENSORS];

/// Copies the weights of a checkpoint into the new directory `to`, with all that other programs need to load them.
/// The directory is there whole or not at all. Gives the size of its files in bytes.
///
/// # Errors
/// `OutputExists` where there is something at `to`; [`TrainError::File`] if the operating system refuses.
pub fn copy_loadable(checkpoint: &Path, to: &Path) -> Result<u64, TrainError> {
    let refused =
        |message: &str| Problem::new(ProblemKind::OutputExists, message).at(to.display().to_string());
    let Some((parent, name)) = to.parent().zip(to.file_name().and_then(|name| name.to_str())) else {
        return Err(refused("is no name for a new directory")
            .hint("name a directory that does not exist yet")
            .into());
    };
    if to.symlink_metadata().is_ok() {
        return Err(refused("exists already").hint("name a directory that does not exist yet").into());
    }
    fs::create_dir_all(parent).map_err(TrainError::file("create", parent))?;
    let filling = parent.join(temporary_name(name));
    fs::create_dir(&filling).map_err(TrainError::file("create", &filling))?;
    let temporary = Temporary(filling);
    copy_weights(checkpoint, &temporary.0)?;
    sync_below(&temporary.0)?;
    let n_bytes = n_bytes(&temporary.0)?;
    fs::rename(&temporary.0, to).map_err(TrainError::file("rename", &temporary.0))?;
    Ok(n_bytes)
}

/// Copies the weights of a checkpoint into the directory `dir`, with all that other programs need to load them.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn copy_weights(checkpoint: &Path, dir: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(checkpoint).map_err(TrainError::file("list", checkpoint))? {
        let entry = entry.map_err(TrainError::file("list", checkpoint))?;
        let (from, name) = (entry.path(), entry.file_name());
        if name.to_str().is_some_and(|name| NOT_COPIED.contains(&name)) {
            continue;
        }
        let to = dir.join(&name);
        if from.is_dir() {
            // Further chat templates lie in a folder.
            fs::create_dir(&to).map_err(TrainError::file("create", &to))?;
            copy_weights(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(TrainError::file("copy", &from))?;
        }
    }
    Ok(())
}

fn n_bytes(dir: &Path) -> Result<u64, TrainError> {
    let mut n = 0;
    for entry in fs::read_dir(dir).map_err(TrainError::file("list", dir))? {
        let entry = entry.map_err(TrainError::file("list", dir))?;
        let facts = entry.metadata().map_err(TrainError::file("read", &entry.path()))?;
        n += if facts.is_dir() { n_bytes(&entry.path())? } else { facts.len() };
    }
    Ok(n)
}

/// A directory that is removed when dropped, unless it was renamed away.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What can't be removed is named in the error that ended the copy.
        let _ = fs::remove_dir_all(&self.0);
    }
}
