//! The lock on a job's directory: whatever happens to servers, one worker trains a job at a time.
//!
//! The lock belongs to the open file and ends with the worker's process, however that ends. The file says who holds it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Its name in the job's directory.
pub const LOCK: &str = "lock";

/// How often it is tried.
const RETRY: Duration = Duration::from_millis(100);

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The worker's process.
    pub pid: u32,
    /// Which attempt it works on.
    pub attempt: u32,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it, all the time.
    #[error("{}", held(.0.as_ref()))]
    Held(Option<Holder>),
    /// Asked to give up meanwhile.
    #[error("asked to stop while waiting for the lock")]
    GivenUp,
    /// The operating system's reason.
    #[error("the lock of the job's directory can't be taken: {0}")]
    Io(#[from] io::Error),
}

/// Takes the lock, which ends with the file. Waits as long as `patience`, or until `give_up` says so.
///
/// # Errors
/// Any [`LockError`].
pub fn take(
    directory: &Path,
    holder: &Holder,
    patience: Duration,
    give_up: &dyn Fn() -> bool,
) -> Result<File, LockError> {
    fs::create_dir_all(directory)?;
    let path = directory.join(LOCK);
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                return Err(LockError::Held(serde_json::from_str(&text).ok()));
            }
            Err(TryLockError::WouldBlock) if give_up() => return Err(LockError::GivenUp),
            Err(TryLockError::WouldBlock) => thread::sleep(RETRY),
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    let text = serde_json::to_vec(holder).expect("numbers are plain data");
    file.write_all(&text)?;
    Ok(file)
}

/// Whether nobody holds the lock.
///
/// # Errors
/// The operating system's reason.
pub fn is_free(directory: &Path) -> io::Result<bool> {
    let file = match File::open(directory.join(LOCK)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    // Held for a moment; a worker that begins just now tries again.
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn held(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, attempt }) => {
            format!("process {pid} still works on this job, as attempt {attempt}")
        }
        None => "another process works on this job".to_owned(),
    }
}
