//! Deleting old checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::layout;
use crate::checkpoint::load::list;
use crate::checkpoint::save::{remove, sync_dir};
use crate::error::TrainError;

/// Deletes all but the newest `n_kept` checkpoints in `out` and those in `protected`, and returns what was deleted,
/// oldest first. Protected ones count among the newest.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn retain_newest(out: &Path, n_kept: u64, protected: &[PathBuf]) -> Result<Vec<PathBuf>, TrainError> {
    let checkpoints = list(out)?;
    let n_old = checkpoints.len().saturating_sub(usize::try_from(n_kept).unwrap_or(usize::MAX));
    let mut deleted = Vec::new();
    for checkpoint in &checkpoints[..n_old] {
        if protected.contains(&checkpoint.path) {
            continue;
        }
        // Renamed first: half a checkpoint must not carry a checkpoint's name.
        let removed = out.join(layout::removed_name(&layout::checkpoint_name(checkpoint.step)));
        remove(&removed)?;
        fs::rename(&checkpoint.path, &removed).map_err(TrainError::file("rename", &checkpoint.path))?;
        sync_dir(out)?;
        remove(&removed)?;
        deleted.push(checkpoint.path.clone());
    }
    Ok(deleted)
}
