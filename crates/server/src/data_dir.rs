//! The data directory: where everything of one service is, and the lock that keeps a second service out of it.
//!
//! ```text
//! ROOT/                 0700
//!   lock                held while a service runs; says which process, since when, and where it listens
//!   ftl.db              the database (the store's business)
//!   token               0600, what callers on TCP must know (the guard's business)
//!   ftl.sock            unless it is in XDG_RUNTIME_DIR
//!   server.log          what a service says that was started by a client
//!   jobs/<id>/          one job: what the engine writes, and attempts/<n>/log.txt
//!   datasets/<id>/      the file of a dataset that the service owns
//!   uploads/            files that clients send, by the hash of their bytes
//!   workers/            what worker processes for models and data leave behind
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ftl_client::places::LEFT_BY_CLIENTS;
use ftl_core::JobId;
use serde::{Deserialize, Serialize};

/// The database's file.
pub(crate) const DATABASE: &str = "ftl.db";
/// The file that is locked.
const LOCK: &str = "lock";
/// How often a second service looks for the name of the first, and the pause between two looks. It is to refuse within
/// a second.
const OWNER_TRIES: u32 = 10;
const OWNER_RETRY: Duration = Duration::from_millis(20);

/// A data directory that this process alone works in. Clones share the lock; the last one releases it.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
    lock: Arc<File>,
}

/// Who works in a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// When it took the directory.
    pub started_unix_ms: u64,
    /// Where it can be talked to, once it listens.
    pub socket: Option<PathBuf>,
}

/// Why a data directory can't be worked in.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another service works in it.
    #[error("the data directory `{root}` is in use by {}", shown(.owner.as_ref()))]
    InUse {
        /// The directory.
        root: PathBuf,
        /// Who; `None` where it has not said so yet.
        owner: Option<Owner>,
    },
    /// It holds something, and none of it is ours.
    #[error("`{0}` holds other files and is no data directory; name an empty directory or a new one")]
    NotOurs(PathBuf),
    /// It belongs to another user.
    #[error("`{root}` belongs to user {uid}; name a directory of your own")]
    OtherUser {
        /// The directory.
        root: PathBuf,
        /// Its user.
        uid: u32,
    },
    /// The operating system refused something.
    #[error("can't {act} `{path}`")]
    Io {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl DataDir {
    /// Takes a directory, which is made where it does not exist.
    ///
    /// # Errors
    /// Somebody else works in it, it is somebody else's, or the operating system refuses.
    pub fn open(root: &Path) -> Result<Self, DataDirError> {
        let root = std::path::absolute(root).map_err(failed("find", root))?;
        make_private(&root)?;
        let lock = root.join(LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(failed("open", &lock))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { root, owner: owner(&file) }),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock)(error)),
        }
        write_owner(&file, None).map_err(failed("write", &lock))?;
        let dir = Self { root, lock: Arc::new(file) };
        for path in [dir.jobs(), dir.datasets(), dir.uploads(), dir.workers()] {
            DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(&path)
                .map_err(failed("make the directory", &path))?;
        }
        Ok(dir)
    }

    /// Tells whoever comes second where this service can be talked to.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn announce(&self, socket: &Path) -> io::Result<()> {
        write_owner(&self.lock, Some(socket))
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    /// What callers on TCP must know.
    pub fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    /// Where every job has a directory.
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// The directory of a job.
    pub fn job(&self, id: &JobId) -> PathBuf {
        self.jobs().join(id.as_str())
    }

    /// The directory of an attempt at a job.
    pub fn attempt(&self, id: &JobId, number: u32) -> PathBuf {
        self.job(id).join("attempts").join(number.to_string())
    }

    /// What the worker of an attempt wrote to stdout and stderr.
    pub fn attempt_log(&self, id: &JobId, number: u32) -> PathBuf {
        self.attempt(id, number).join("log.txt")
    }

    /// Where every dataset whose file is the service's own has a directory.
    pub fn datasets(&self) -> PathBuf {
        self.root.join("datasets")
    }

    /// Where files are that clients send.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Where worker processes for models and data have their files.
    pub fn workers(&self) -> PathBuf {
        self.root.join("workers")
    }
}

/// Who works in a data directory now, in words; `None`: nobody. Changes nothing.
pub fn running_in(root: &Path) -> Option<String> {
    let file = File::open(root.join(LOCK)).ok()?;
    let owner: Option<Owner> =
        io::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
    // Only a lock says that somebody works there, as a process id is used again. It is tried where there is such a
    // process alone: a service that starts at this moment must not find it taken.
    // SAFETY: kill with signal 0 takes two numbers and sends nothing.
    let is_alive = |owner: &Owner| unsafe { libc::kill(owner.pid.cast_signed(), 0) } == 0;
    if !owner.as_ref().is_some_and(is_alive) {
        return None;
    }
    match file.try_lock_shared() {
        Ok(()) | Err(TryLockError::Error(_)) => None,
        Err(TryLockError::WouldBlock) => Some(shown(owner.as_ref())),
    }
}

/// Makes a directory that only its user can enter, or makes sure of one.
///
/// # Errors
/// It is another user's, or the operating system refuses.
pub(crate) fn make_private_directory(path: &Path) -> Result<(), DataDirError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("make the directory", parent))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::metadata(path).map_err(failed("look at", path))?;
            match metadata.uid() {
                uid if uid == own_uid() => Ok(()),
                uid => Err(DataDirError::OtherUser { root: path.to_owned(), uid }),
            }
        }
        Err(error) => Err(failed("make the directory", path)(error)),
    }
}

/// The user that this process acts as.
pub(crate) fn own_uid() -> u32 {
    // SAFETY: `geteuid` takes nothing, changes nothing and always succeeds.
    unsafe { libc::geteuid() }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now_unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

fn make_private(root: &Path) -> Result<(), DataDirError> {
    make_private_directory(root)?;
    let is_ours = root.join(LOCK).exists();
    let mut entries = fs::read_dir(root).map_err(failed("read", root))?;
    // A home directory named by mistake must not become 0700 and full of jobs.
    let is_left_by_a_client =
        |entry: &fs::DirEntry| LEFT_BY_CLIENTS.iter().any(|name| entry.file_name() == *name);
    if !is_ours && entries.any(|entry| entry.is_ok_and(|entry| !is_left_by_a_client(&entry))) {
        return Err(DataDirError::NotOurs(root.to_owned()));
    }
    fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(failed("close to others", root))
}

fn write_owner(mut file: &File, socket: Option<&Path>) -> io::Result<()> {
    let owner =
        Owner { pid: std::process::id(), started_unix_ms: now_unix_ms(), socket: socket.map(Path::to_owned) };
    let text = serde_json::to_vec(&owner)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// Who holds the lock. Whoever has just taken it is given a moment to say so.
fn owner(mut file: &File) -> Option<Owner> {
    for _ in 0..OWNER_TRIES {
        let text = file.rewind().and_then(|()| io::read_to_string(file)).ok()?;
        if let Ok(owner) = serde_json::from_str(&text) {
            return Some(owner);
        }
        thread::sleep(OWNER_RETRY);
    }
    None
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { act, path, source }
}

fn shown(owner: Option<&Owner>) -> String {
    let Some(Owner { pid, started_unix_ms, socket }) = owner else {
        return "another process".to_owned();
    };
    let seconds = now_unix_ms().saturating_sub(*started_unix_ms) / 1000;
    let age = match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    let place = match socket {
        Some(socket) => format!("it listens on `unix:{}`", socket.display()),
        None => "it does not listen yet".to_owned(),
    };
    format!("process {pid}, which was started {age} ago; {place}")
}
