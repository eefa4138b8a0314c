//! Files that clients send in pieces. What is sent is named by the SHA-256 of the whole, so that two clients that send
//! the same send one file, and a client that comes back finds what it sent before.
//!
//! ```text
//! uploads/<sha256>.part    bytes that have arrived, each chunk checked before it was written
//! uploads/<sha256>         all of them, with this hash
//! ```
//!
//! A file stays under its first name until all of it was read back from the disk and hashed. What nobody goes on with for
//! a week is deleted when a service starts.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ftl_core::dataset::Upload;
use ftl_core::{Problem, ProblemKind};
use ftl_trainer::doctor::free_bytes;
use sha2::{Digest, Sha256};

use crate::error::ServiceError;

/// Largest chunk: a message has at most 4 MiB.
pub const MAX_CHUNK_BYTES: usize = 3 << 20;
/// What an upload leaves free on the disk: the database and jobs that save must go on.
const RESERVED_BYTES: u64 = 256 << 20;
/// How long an upload is kept that nobody goes on with, or that nobody imports.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// Hexadecimal digits of a SHA-256.
const N_DIGITS: usize = 64;

/// The SHA-256 of a file's bytes in hexadecimal, which is safe as the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContentHash(String);

impl ContentHash {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContentHash {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let is_hash =
            text.len() == N_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hash {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(N_DIGITS + 1).collect();
        let message = format!("`{shown}` is no SHA-256, which has {N_DIGITS} digits 0 to 9 and a to f");
        Err(Problem::new(ProblemKind::InvalidValue, message).at("sha256"))
    }
}

/// All uploads. Clones share which of them are busy.
#[derive(Clone, Debug)]
pub struct Uploads {
    dir: PathBuf,
    busy: Arc<Mutex<HashSet<ContentHash>>>,
}

/// The right to change one upload, given up when it is dropped.
#[derive(Debug)]
pub struct Lease {
    hash: ContentHash,
    busy: Arc<Mutex<HashSet<ContentHash>>>,
}

/// An upload that takes chunks.
#[derive(Debug)]
pub struct Receiving {
    lease: Lease,
    /// Open as long as bytes are missing.
    part: Option<File>,
    received_bytes: u64,
    total_bytes: u64,
    uploads: Uploads,
}

/// A piece of a file.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Where it stands in the file.
    pub offset: u64,
    /// Its bytes.
    pub data: Vec<u8>,
    /// Their SHA-256.
    pub sha256: Vec<u8>,
}

impl Uploads {
    /// Those in this directory, which exists. Old ones are deleted.
    ///
    /// # Errors
    /// The directory can't be read.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if age > KEPT_FOR {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { dir, busy: Arc::default() })
    }

    /// How much of a file has arrived.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if nothing has.
    pub fn state(&self, hash: &ContentHash) -> Result<Upload, ServiceError> {
        for (path, is_complete) in [(self.whole(hash), true), (self.part(hash), false)] {
            match fs::metadata(path) {
                Ok(metadata) => {
                    return Ok(Upload {
                        sha256: hash.as_str().to_owned(),
                        received_bytes: metadata.len(),
                        is_complete,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::NotFound { what: "upload", id: hash.as_str().to_owned() })
    }

    /// Begins to take a file, or goes on with it.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] if somebody else sends it right now, [`ServiceError::Exhausted`] if the disk has no
    /// room for it.
    pub fn receive(&self, hash: &ContentHash, total_bytes: u64) -> Result<Receiving, ServiceError> {
        let lease = self.lease(hash)?;
        let mut receiving =
            Receiving { lease, part: None, received_bytes: 0, total_bytes, uploads: self.clone() };
        match self.state(hash) {
            Ok(Upload { received_bytes, is_complete: true, sha256: _ }) => {
                receiving.received_bytes = received_bytes;
                check_total(total_bytes, received_bytes)?;
                return Ok(receiving);
            }
            Ok(Upload { received_bytes, is_complete: false, sha256: _ }) => {
                receiving.received_bytes = received_bytes;
            }
            Err(ServiceError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        if receiving.received_bytes > total_bytes {
            check_total(total_bytes, receiving.received_bytes)?;
        }
        self.check_room(total_bytes - receiving.received_bytes)?;
        let part = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.part(hash))
            .map_err(storage)?;
        receiving.part = Some(part);
        Ok(receiving)
    }

    /// The right to do something with an upload.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] if somebody else has it.
    pub fn lease(&self, hash: &ContentHash) -> Result<Lease, ServiceError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.insert(hash.clone()) {
            return Ok(Lease { hash: hash.clone(), busy: Arc::clone(&self.busy) });
        }
        let message = format!("the upload `{}` is busy: another client sends or imports it", hash.as_str());
        let problem = Problem::new(ProblemKind::InvalidValue, message).at("sha256");
        Err(ServiceError::Precondition(problem.hint("wait until that has ended, then ask how much is there")))
    }

    /// The file of a complete upload.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] if there is none, [`ServiceError::Precondition`] if bytes of it are missing.
    pub fn complete(&self, hash: &ContentHash) -> Result<PathBuf, ServiceError> {
        let Upload { sha256, received_bytes, is_complete } = self.state(hash)?;
        if is_complete {
            return Ok(self.whole(hash));
        }
        let message = format!("the upload `{sha256}` is not complete, {received_bytes} bytes have arrived");
        let problem = Problem::new(ProblemKind::InvalidValue, message).at("upload.sha256");
        Err(ServiceError::Precondition(problem.hint("go on with it from there")))
    }

    fn check_room(&self, wanted_bytes: u64) -> Result<(), ServiceError> {
        // A system that does not tell fails when the disk is full.
        let Some(free_bytes) = free_bytes(&self.dir) else { return Ok(()) };
        let room = free_bytes.saturating_sub(RESERVED_BYTES);
        if wanted_bytes <= room {
            return Ok(());
        }
        let message = format!(
            "{wanted_bytes} bytes are to be sent, and the disk of the data directory has room for {room}"
        );
        let problem = Problem::new(ProblemKind::Storage, message).at("total_bytes");
        Err(ServiceError::Exhausted(problem.hint("make room there, or import the file by its path")))
    }

    fn part(&self, hash: &ContentHash) -> PathBuf {
        self.dir.join(format!("{}.part", hash.as_str()))
    }

    fn whole(&self, hash: &ContentHash) -> PathBuf {
        self.dir.join(hash.as_str())
    }
}

impl Receiving {
    /// How many bytes have arrived.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for a chunk that is not the next one, is too large or has another hash;
    /// [`ServiceError::Exhausted`] if the disk is full.
    pub fn take(&mut self, chunk: &Chunk) -> Result<(), ServiceError> {
        let Chunk { offset, data, sha256 } = chunk;
        let refused = |field: &str, message: String| {
            Err(Problem::new(ProblemKind::InvalidValue, message).at(format!("chunk.{field}")).into())
        };
        let n_bytes = data.len() as u64;
        if *offset != self.received_bytes {
            return refused(
                "offset",
                format!("the chunk begins at byte {offset}, the next one is byte {}", self.received_bytes),
            );
        }
        if data.is_empty() || data.len() > MAX_CHUNK_BYTES {
            return refused(
                "data",
                format!("a chunk has 1 to {MAX_CHUNK_BYTES} bytes, this one has {n_bytes}"),
            );
        }
        if n_bytes > self.total_bytes - self.received_bytes {
            let (end, total) = (offset + n_bytes, self.total_bytes);
            return refused("data", format!("the chunk ends at byte {end}, the file has {total}"));
        }
        if Sha256::digest(data).as_slice() != sha256 {
            let message = format!("the bytes from {offset} on arrived damaged: they have another SHA-256");
            return refused("sha256", message);
        }
        let part = self.part.as_mut().expect("a file of which bytes are missing is open");
        part.seek(SeekFrom::Start(*offset)).map_err(storage)?;
        if let Err(error) = part.write_all(data) {
            // Half a chunk is none: its hash was that of the whole.
            part.set_len(*offset).map_err(storage)?;
            return Err(storage(error));
        }
        self.received_bytes += n_bytes;
        Ok(())
    }

    /// Ends the upload, for now or for good: where all bytes are there, they are read back and must have the hash.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] if they have another; they are deleted then.
    pub fn finish(self) -> Result<Upload, ServiceError> {
        let Self { lease, part, received_bytes, total_bytes, uploads } = self;
        let hash = &lease.hash;
        let Some(mut part) = part else { return uploads.state(hash) };
        if received_bytes < total_bytes {
            return uploads.state(hash);
        }
        part.sync_all().map_err(storage)?;
        let found = content_hash(&mut part)?;
        let path = uploads.part(hash);
        if found != hash.as_str() {
            fs::remove_file(&path)?;
            let message = format!(
                "the {total_bytes} bytes that arrived have SHA-256 `{found}` and not `{}`, so they were deleted",
                hash.as_str()
            );
            let problem = Problem::new(ProblemKind::InvalidValue, message).at("content.sha256");
            return Err(problem.hint("the file may have changed while it was sent: send it again").into());
        }
        fs::rename(&path, uploads.whole(hash))?;
        sync_directory(&uploads.dir)?;
        uploads.state(hash)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.hash);
    }
}

/// What a refused write means.
pub(super) fn storage(error: io::Error) -> ServiceError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            let message = format!("the data directory takes no more bytes: {error}");
            let problem = Problem::new(ProblemKind::Storage, message);
            ServiceError::Exhausted(problem.hint("make room there, then go on with what has arrived"))
        }
        _ => error.into(),
    }
}

/// Makes sure that the names in a directory outlive a power cut.
pub(super) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn check_total(total_bytes: u64, received_bytes: u64) -> Result<(), ServiceError> {
    if total_bytes == received_bytes {
        return Ok(());
    }
    let message = format!("{received_bytes} bytes of this file are here, so it can't have {total_bytes}");
    Err(Problem::new(ProblemKind::InvalidValue, message).at("content.total_bytes").into())
}

fn content_hash(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
