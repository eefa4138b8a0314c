//! What a worker prints, in a file of limited size.
//!
//! The worker writes straight into the file, opened for appending, and a thread of the server cuts it down whenever it
//! has grown beyond its limit: the first megabyte stays, and the last two. A pipe that the server reads would keep the
//! limit to the byte, but the worker would wait for a server that hangs and fail at its next word after the server
//! died, just when it has to save. Between two looks, a twentieth of a second apart, the file may be larger.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A log that is larger is cut down.
const MAX_BYTES: u64 = 8 << 20;
/// How much of the beginning stays: versions, devices, the first error.
const KEPT_BEGINNING_BYTES: u64 = 1 << 20;
/// How much of the end stays: why it ended.
const KEPT_END_BYTES: u64 = 2 << 20;
const MARK: &[u8] = b"\n[... the middle of this log was left out ...]\n";

/// Opens a log for the worker to write to, with its directory.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)
}

/// Cuts the log down where it is too large. What is written meanwhile may be left out, too.
pub(super) fn cut_down(mut log: &File) -> io::Result<()> {
    let n_bytes = log.metadata()?.len();
    if n_bytes <= MAX_BYTES {
        return Ok(());
    }
    let mut end = Vec::new();
    log.seek(SeekFrom::Start(n_bytes - KEPT_END_BYTES))?;
    log.take(KEPT_END_BYTES).read_to_end(&mut end)?;
    log.set_len(KEPT_BEGINNING_BYTES)?;
    // In append mode, so behind whatever the worker wrote since.
    log.write_all(MARK)?;
    log.write_all(&end)
}

/// The last `n_bytes` of a log, from the beginning of a line where there is one; `None` where nothing was written.
pub(super) fn tail(path: &Path, n_bytes: u64) -> Option<String> {
    let mut log = File::open(path).ok()?;
    let length = log.metadata().ok()?.len();
    let start = length.saturating_sub(n_bytes);
    log.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    log.take(n_bytes).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = match text.split_once('\n') {
        Some((_, rest)) if start > 0 && !rest.trim().is_empty() => rest,
        Some(_) | None => &text,
    };
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}
