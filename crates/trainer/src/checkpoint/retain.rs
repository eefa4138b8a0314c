//! Deleting old checkpoints, as far as the user's spec says so.

use std::path::{Path, PathBuf};

use crate::checkpoint::layout::checkpoint_name;
use crate::checkpoint::load::{Checkpoint, list};
use crate::checkpoint::pin::pinned_steps;
use crate::checkpoint::remove::{Removal, take_away};
use crate::error::TrainError;

/// Deletes all but the newest `n_kept` checkpoints in `out` and those in `protected`, oldest first. Protected ones count
/// among the newest; pinned ones stay and do not count. `removed` is told of each when it has lost its name, before its
/// files are deleted: a process that is killed in between leaves a leftover, of which
/// [`remove_leftovers`](super::remove_leftovers) tells.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn retain_newest(
    out: &Path,
    n_kept: u64,
    protected: &[PathBuf],
    removed: &mut dyn FnMut(&Checkpoint),
) -> Result<(), TrainError> {
    let pinned = pinned_steps(out)?;
    let mut checkpoints = list(out)?;
    checkpoints.retain(|checkpoint| !pinned.contains(&checkpoint.step));
    let n_old = checkpoints.len().saturating_sub(usize::try_from(n_kept).unwrap_or(usize::MAX));
    for checkpoint in &checkpoints[..n_old] {
        if protected.contains(&checkpoint.path) {
            continue;
        }
        match take_away(out, &checkpoint_name(checkpoint.step))? {
            Removal::Taken(removing) => {
                removed(checkpoint);
                removing.finish()?;
            }
            // By a person, meanwhile.
            Removal::Pinned | Removal::Absent => {}
        }
    }
    Ok(())
}
