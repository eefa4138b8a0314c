//! Checkpoints that stay because a person wants them, whatever `train.save_total_limit` says.
//!
//! A pin is an empty file beside the checkpoint, so that it survives every process, is seen by a run that is under way,
//! and leaves the checkpoint's own files as they were written. Nobody needs a lock: a pin is written first and the
//! checkpoint looked for then; whoever deletes renames first and looks for a pin then, and takes the renaming back where
//! there is one. In whatever order the two come, a pin that was said to be there holds.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::checkpoint::layout::{checkpoint_name, pin_name, pinned_step};
use crate::checkpoint::save::{remove, sync_dir};
use crate::error::TrainError;

/// What became of the wish to pin a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// It stays.
    Pinned,
    /// There is no such checkpoint.
    Absent,
}

/// Keeps the checkpoint after `step` in `out` from being deleted, also by a run that is under way.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses; nothing is pinned then.
pub fn pin(out: &Path, step: u64) -> Result<Pinning, TrainError> {
    let checkpoint = out.join(checkpoint_name(step));
    if !checkpoint.is_dir() {
        return Ok(Pinning::Absent);
    }
    let path = out.join(pin_name(step));
    let was_there = path.exists();
    let written = File::create(&path).and_then(|file| file.sync_all());
    written.map_err(TrainError::file("write", &path))?;
    sync_dir(out)?;
    // Not before the pin: it may have been deleted in between.
    if checkpoint.is_dir() {
        return Ok(Pinning::Pinned);
    }
    if !was_there {
        remove(&path)?;
    }
    Ok(Pinning::Absent)
}

/// Lets the checkpoint after `step` in `out` be deleted again; one that was not pinned stays so.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn unpin(out: &Path, step: u64) -> Result<(), TrainError> {
    remove(&out.join(pin_name(step)))?;
    sync_dir(out)
}

/// Whether the checkpoint after `step` in `out` is to stay.
pub(super) fn is_pinned(out: &Path, step: u64) -> bool {
    // What can't be looked at may be a pin.
    fs::exists(out.join(pin_name(step))).unwrap_or(true)
}

/// The steps of all pins in `out`.
///
/// # Errors
/// [`TrainError::File`] if `out` can't be listed.
pub fn pinned_steps(out: &Path) -> Result<HashSet<u64>, TrainError> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(TrainError::file("list", out)(error)),
    };
    let mut steps = HashSet::new();
    for entry in entries {
        let name = entry.map_err(TrainError::file("list", out))?.file_name();
        steps.extend(name.to_str().and_then(pinned_step));
    }
    Ok(steps)
}
