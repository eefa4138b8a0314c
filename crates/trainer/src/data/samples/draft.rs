//! A file of samples that is being written, under a name that nobody reads.
//!
//! It is locked for as long as its writer lives, whatever ends the process: a draft that can be locked by someone else
//! is left over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::bytes::Bytes;

/// Bytes that go to the system at once.
const PENDING_BYTES: usize = 1 << 20;
/// How names of drafts begin.
const PREFIX: &str = ".draft-";

/// The draft; dropped, its file is gone, unless it was given a name.
pub struct Draft {
    file: File,
    path: PathBuf,
    /// Bytes that are in the file for sure.
    n_written: u64,
    /// Those behind them.
    pending: Vec<u8>,
    is_named: bool,
}

impl Draft {
    /// An empty one in `dir`, which is created if it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(dir: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        create_private(dir)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Processes in different containers may share a directory and have the same number.
        let time = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos());
        let path = dir.join(format!("{PREFIX}{}-{number}-{time:x}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        // Without locks on this file system drafts of killed processes stay, as nobody can tell them from others.
        let _ = file.try_lock();
        Ok(Self { file, path, n_written: 0, pending: Vec::new(), is_named: false })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// What the system says. All bytes are still [there](Self::read_all).
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < PENDING_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.n_written))?;
        self.file.write_all(&self.pending)?;
        self.n_written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Gives all bytes to `into`, some at once.
    ///
    /// # Errors
    /// What the system or `into` say.
    pub fn read_all(&mut self, mut into: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut some = vec![0; PENDING_BYTES];
        let mut left = self.n_written;
        while left > 0 {
            let n = some.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.file.read_exact(&mut some[..n])?;
            into(&some[..n])?;
            left -= n as u64;
        }
        into(&self.pending)
    }

    /// Puts `header` over the first bytes and maps the file.
    ///
    /// # Errors
    /// What the system says. All bytes are still there.
    pub fn complete(&mut self, header: &[u8]) -> io::Result<Bytes> {
        self.flush()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(header)?;
        Bytes::map(&self.file)
    }

    /// Gives the file, safe on the disk, its name, in place of what has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn publish(mut self, path: &Path) -> io::Result<()> {
        self.flush()?;
        self.file.sync_all()?;
        fs::rename(&self.path, path)?;
        self.is_named = true;
        let dir = path.parent().unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }

    /// The directory that it is in.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_named {
            // One that can't be removed now is left over; it is removed later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether `path` is a draft whose writer is gone.
pub fn is_left_over(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(PREFIX))
        && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Creates a directory that others can't look into: texts that somebody trains on are nobody else's business.
fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
