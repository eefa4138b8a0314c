//! Writing a directory so that it is there whole or not at all, whatever ends the process in between.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::layout::{self, Leftover, MANIFEST_JSON};
use crate::checkpoint::load::Checkpoint;
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::pin::is_pinned;
use crate::error::TrainError;

/// A directory that was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Where it is.
    pub path: PathBuf,
    /// The size of its files together.
    pub n_bytes: u64,
}

/// Makes the directory `out/name` (a checkpoint's name, or `final`) with what `fill` writes into the directory that
/// it is given. One that is there is replaced at once, or stays as it is.
///
/// # Errors
/// Whatever `fill` returns, or [`TrainError::File`] (a full disk, for example); nothing of the new directory is left
/// then.
pub fn save(
    out: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<Saved, TrainError> {
    fs::create_dir_all(out).map_err(TrainError::file("create", out))?;
    let temporary = Temporary::create(out.join(layout::temporary_name(name)))?;
    let dir = temporary.0.as_path();
    fill(dir)?;
    let manifest = Manifest::of(dir)?;
    let manifest_path = dir.join(MANIFEST_JSON);
    sync_below(dir)?;
    let bytes = manifest.to_bytes();
    fs::write(&manifest_path, &bytes).map_err(TrainError::file("write", &manifest_path))?;
    sync(&manifest_path)?;
    sync_dir(dir)?;

    let path = out.join(name);
    let retired = out.join(layout::retired_name(name));
    publish(dir, &path, &retired)?;
    sync_dir(out)?;
    Ok(Saved { path, n_bytes: manifest.n_bytes() + bytes.len() as u64 })
}

/// Writes a file in one go.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    fs::write(path, bytes).map_err(TrainError::file("write", path))
}

/// Removes what earlier processes left unfinished in `out`, and returns the checkpoints that they were deleting. Call it
/// while nothing else writes there.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
pub fn remove_leftovers(out: &Path) -> Result<Vec<Checkpoint>, TrainError> {
    let mut removed = Vec::new();
    if !out.exists() {
        return Ok(removed);
    }
    for entry in fs::read_dir(out).map_err(TrainError::file("list", out))? {
        let entry = entry.map_err(TrainError::file("list", out))?;
        let name = entry.file_name();
        let Some(leftover) = name.to_str().and_then(layout::leftover) else { continue };
        let path = entry.path();
        match leftover {
            // The process ended between the two renames of `publish`: the old directory goes back.
            Leftover::Retired(name) if !out.join(name).exists() => {
                let back = out.join(name);
                fs::rename(&path, &back).map_err(TrainError::file("rename", &path))?;
            }
            // Pinned while it was being deleted: a pin that was said to be there holds.
            Leftover::Removed(name) if is_kept(out, name) => {
                let back = out.join(name);
                fs::rename(&path, &back).map_err(TrainError::file("rename", &path))?;
            }
            Leftover::Removed(name) => {
                remove(&path)?;
                let of_name = out.join(name);
                if let Some(step) = layout::step_of_any(name).filter(|_| !of_name.exists()) {
                    removed.push(Checkpoint { step, path: of_name });
                }
            }
            Leftover::Retired(_) | Leftover::Rubbish => remove(&path)?,
        }
    }
    Ok(removed)
}

/// Whether the checkpoint of this name, which was being deleted, is pinned and has no successor.
fn is_kept(out: &Path, name: &str) -> bool {
    layout::step_of(name).is_some_and(|step| is_pinned(out, step)) && !out.join(name).exists()
}

/// A directory that is removed when dropped: unfinished if `save` failed, the replaced one if it did not, nothing if
/// it was renamed away.
struct Temporary(PathBuf);

impl Temporary {
    fn create(path: PathBuf) -> Result<Self, TrainError> {
        remove(&path)?;
        fs::create_dir(&path).map_err(TrainError::file("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What can't be removed now is a leftover, which the next run removes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes a directory or file that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), TrainError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(TrainError::file("remove", path)),
    }
}

/// Gives `dir` the name `path`; what stands there goes to `dir`'s place or is removed.
fn publish(dir: &Path, path: &Path, retired: &Path) -> Result<(), TrainError> {
    if fs::symlink_metadata(path).is_err() {
        return fs::rename(dir, path).map_err(TrainError::file("rename", dir));
    }
    if exchange(dir, path).is_ok() {
        return Ok(());
    }
    // Systems without an exchange: for a moment there is neither; `remove_leftovers` puts the old one back.
    remove(retired)?;
    fs::rename(path, retired).map_err(TrainError::file("rename", path))?;
    if let Err(error) = fs::rename(dir, path) {
        fs::rename(retired, path).map_err(TrainError::file("rename", retired))?;
        return Err(TrainError::file("rename", dir)(error));
    }
    remove(retired)
}

/// Swaps two names at once (`renameat2`, Linux 3.15; not every file system has it).
#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    let a = CString::new(a.as_os_str().as_bytes())?;
    let b = CString::new(b.as_os_str().as_bytes())?;
    // SAFETY: both pointers are to strings that end in a zero byte and live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            a.as_ptr(),
            libc::AT_FDCWD,
            b.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_a: &Path, _b: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes the files below a directory last.
pub(crate) fn sync_below(dir: &Path) -> Result<(), TrainError> {
    for entry in fs::read_dir(dir).map_err(TrainError::file("list", dir))? {
        let path = entry.map_err(TrainError::file("list", dir))?.path();
        if path.is_dir() {
            sync_below(&path)?;
            sync_dir(&path)?;
        } else {
            sync(&path)?;
        }
    }
    Ok(())
}

fn sync(path: &Path) -> Result<(), TrainError> {
    // Windows flushes only what may be written.
    let file = File::options().read(true).write(cfg!(windows)).open(path);
    file.and_then(|file| file.sync_all()).map_err(TrainError::file("sync", path))
}

/// Makes the names in a directory last; Windows has no such call.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), TrainError> {
    if cfg!(windows) { Ok(()) } else { sync(dir) }
}
