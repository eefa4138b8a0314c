//! Deleting a checkpoint: by renaming first, since half a checkpoint must not carry a checkpoint's name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::layout::{removed_name, step_of};
use crate::checkpoint::pin::is_pinned;
use crate::checkpoint::save::{remove, sync_dir};
use crate::error::TrainError;

/// What became of the wish to delete a checkpoint.
#[derive(Debug)]
pub enum Removal {
    /// It has its name no more.
    Taken(Removing),
    /// It is pinned, and stays.
    Pinned,
    /// There is none of this name.
    Absent,
}

/// A checkpoint that nobody finds any more and whose files are still there. What is not finished here is finished by the
/// run that goes on in its directory.
#[derive(Debug)]
pub struct Removing(PathBuf);

impl Removing {
    /// Deletes the files.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn finish(self) -> Result<(), TrainError> {
        remove(&self.0)
    }
}

/// Takes its name from the checkpoint `out/name`, damaged or not, unless it is pinned.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses; it is as before then.
pub fn take_away(out: &Path, name: &str) -> Result<Removal, TrainError> {
    let (path, removed) = (out.join(name), out.join(removed_name(name)));
    // Pins are of checkpoints that can be gone on from.
    let keeps = || step_of(name).is_some_and(|step| is_pinned(out, step));
    if keeps() {
        return Ok(Removal::Pinned);
    }
    remove(&removed)?;
    match fs::rename(&path, &removed) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Removal::Absent),
        Err(error) => return Err(TrainError::file("rename", &path)(error)),
    }
    // Once more, since it may have been pinned in between; see `pin`.
    if keeps() {
        fs::rename(&removed, &path).map_err(TrainError::file("rename", &removed))?;
        return Ok(Removal::Pinned);
    }
    sync_dir(out)?;
    Ok(Removal::Taken(Removing(removed)))
}
