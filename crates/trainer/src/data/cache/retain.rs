//! Which files stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::EXTENSION;
use crate::data::samples::draft::is_left_over;

struct Kept {
    path: PathBuf,
    n_bytes: u64,
    used: SystemTime,
}

/// Removes what killed processes left, and as many files as exceed `limit_bytes`, those first that were not used for the
/// longest time.
///
/// # Errors
/// A directory that can't be listed, and files that can't be removed.
pub fn make_room(dir: &Path, limit_bytes: u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if is_left_over(&path) {
            remove(&path)?;
        }
    }
    let mut all = files(dir)?;
    all.sort_by_key(|kept| kept.used);
    let mut n_bytes: u64 = all.iter().map(|kept| kept.n_bytes).sum();
    for kept in all {
        if n_bytes <= limit_bytes {
            break;
        }
        remove(&kept.path)?;
        n_bytes -= kept.n_bytes;
    }
    Ok(())
}

/// The bytes of all files.
pub fn size_bytes(dir: &Path) -> u64 {
    files(dir).map_or(0, |files| files.iter().map(|kept| kept.n_bytes).sum())
}

fn files(dir: &Path) -> io::Result<Vec<Kept>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        // One that is gone meanwhile takes no room.
        let Ok(metadata) = entry.metadata() else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        files.push(Kept { path, n_bytes: metadata.len(), used });
    }
    Ok(files)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
