//! Finding the checkpoint to go on from: the newest that is exactly what was written.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};

use crate::checkpoint::layout;
use crate::checkpoint::manifest::{Manifest, ManifestFile};
use crate::checkpoint::save::sync_dir;
use crate::error::TrainError;

/// A directory with a checkpoint's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The step after which it was written.
    pub step: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// What [`newest_valid`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The newest checkpoint that is as it was written.
    pub newest: Option<Checkpoint>,
    /// Newer ones that are not, newest first.
    pub damaged: Vec<Damaged>,
}

/// A checkpoint that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Which.
    pub checkpoint: Checkpoint,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The newest checkpoint in `out` that passes [`verify`].
///
/// # Errors
/// [`TrainError::File`] if `out` can't be listed, and where a checkpoint may be sound but can't be read for now: going on
/// from an older one would throw steps away. A damaged checkpoint is no error: it is named, and an older one is tried.
pub fn newest_valid(out: &Path) -> Result<Found, TrainError> {
    let mut damaged = Vec::new();
    for checkpoint in list(out)?.into_iter().rev() {
        match compare(&checkpoint.path) {
            Ok(_) => return Ok(Found { newest: Some(checkpoint), damaged }),
            Err(Unfit::Unread(error)) if may_be_sound(&error) => return Err(error),
            Err(unfit) => damaged.push(Damaged { problem: unfit.problem(&checkpoint.path), checkpoint }),
        }
    }
    Ok(Found { newest: None, damaged })
}

/// The directories in `out` with a checkpoint's name, oldest first, unverified. Where there is no `out`, there are
/// none.
///
/// # Errors
/// [`TrainError::File`] if `out` can't be listed.
pub fn list(out: &Path) -> Result<Vec<Checkpoint>, TrainError> {
    named(out, layout::step_of)
}

/// As [`list`], with the damaged ones that were set aside.
///
/// # Errors
/// As [`list`].
pub fn list_with_damaged(out: &Path) -> Result<Vec<Checkpoint>, TrainError> {
    named(out, layout::step_of_any)
}

fn named(out: &Path, step_of: fn(&str) -> Option<u64>) -> Result<Vec<Checkpoint>, TrainError> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(TrainError::file("list", out)(error)),
    };
    let mut checkpoints = Vec::new();
    for entry in entries {
        let entry = entry.map_err(TrainError::file("list", out))?;
        if let Some(step) = entry.file_name().to_str().and_then(step_of) {
            checkpoints.push(Checkpoint { step, path: entry.path() });
        }
    }
    checkpoints.sort_unstable_by_key(|checkpoint| checkpoint.step);
    Ok(checkpoints)
}

/// Gives a damaged checkpoint in `out` another name and returns where it is then, so that the one that takes its place
/// does not overwrite what may still be of use.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn set_aside(out: &Path, damaged: &Checkpoint) -> Result<PathBuf, TrainError> {
    let free = (1..).map(|number| out.join(layout::damaged_name(damaged.step, number)));
    let aside =
        free.into_iter().find(|path| path.symlink_metadata().is_err()).expect("there are endless names");
    fs::rename(&damaged.path, &aside).map_err(TrainError::file("rename", &damaged.path))?;
    sync_dir(out)?;
    Ok(aside)
}

/// Compares a saved directory, byte for byte, with its manifest.
///
/// # Errors
/// `BrokenCheckpoint`, naming the first file that is missing, extra, shorter, longer or changed, or that can't be read.
pub fn verify(dir: &Path) -> Result<Manifest, Problem> {
    compare(dir).map_err(|unfit| unfit.problem(dir))
}

/// Why a checkpoint can't be used.
enum Unfit {
    /// It is not what was written.
    Damaged(Problem),
    /// The operating system does not let it be read.
    Unread(TrainError),
}

impl Unfit {
    fn problem(self, dir: &Path) -> Problem {
        match self {
            Self::Damaged(problem) => problem,
            Self::Unread(error) => {
                let reason = error.source().map_or_else(String::new, |source| format!(": {source}"));
                broken(dir, format!("{error}{reason}"))
            }
        }
    }
}

fn compare(dir: &Path) -> Result<Manifest, Unfit> {
    let written = Manifest::bytes(dir).map_err(Unfit::Unread)?;
    let written = Manifest::parse(dir, written).map_err(Unfit::Damaged)?;
    let found = Manifest::of(dir).map_err(Unfit::Unread)?;
    match first_difference(&written, &found) {
        None => Ok(written),
        Some(difference) => Err(Unfit::Damaged(broken(dir, difference))),
    }
}

fn broken(dir: &Path, message: String) -> Problem {
    Problem::new(ProblemKind::BrokenCheckpoint, message).at(dir.display().to_string())
}

/// Whether an error of reading says something of the moment or of rights, and nothing of what is on the disk. An I/O error
/// is no such: where a sector is bad, the checkpoint before this one is what there is.
fn may_be_sound(error: &TrainError) -> bool {
    match error {
        TrainError::File { source, .. } => {
            let of_the_moment = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR, libc::EAGAIN];
            source.kind() == io::ErrorKind::PermissionDenied
                || source.raw_os_error().is_some_and(|code| of_the_moment.contains(&code))
        }
        TrainError::Refused(_) | TrainError::Diverged(_) | TrainError::OutOfMemory { .. } => false,
    }
}

fn first_difference(written: &Manifest, found: &Manifest) -> Option<String> {
    let by_path = |manifest: &Manifest| -> BTreeMap<String, ManifestFile> {
        manifest.files.iter().map(|file| (file.path.clone(), file.clone())).collect()
    };
    let (written, mut found) = (by_path(written), by_path(found));
    for (path, written) in written {
        let Some(found) = found.remove(&path) else {
            return Some(format!("`{path}` is missing"));
        };
        if found.bytes != written.bytes {
            return Some(format!("`{path}` has {} bytes, but {} were written", found.bytes, written.bytes));
        }
        if found.sha256 != written.sha256 {
            return Some(format!("`{path}` was changed after it was written (SHA-256 differs)"));
        }
    }
    found.keys().next().map(|path| format!("`{path}` was not there when it was written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_of_the_disk_is_no_damage() {
        let error = |code| TrainError::file("read", Path::new("x"))(io::Error::from_raw_os_error(code));
        for (code, expected) in [
            (libc::EACCES, true),
            (libc::EMFILE, true),
            (libc::ENOMEM, true),
            (libc::EIO, false),
            (libc::EISDIR, false),
            (libc::ENOENT, false),
        ] {
            assert_eq!(may_be_sound(&error(code)), expected, "{code}");
        }
        let strange = TrainError::file("use", Path::new("x"))(io::Error::other("it is not a plain file"));
        assert!(!may_be_sound(&strange));
    }
}
