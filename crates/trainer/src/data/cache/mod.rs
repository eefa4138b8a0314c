//! Samples that were made before: a directory of files of samples, each named by what its samples follow from.
//!
//! ```text
//! ~/.cache/ftl/data/9f…c1.samples      samples (see `samples`), named by the key (see `key`)
//!                   .draft-…           one that is being written
//! ```
//!
//! - **Never stale.** A key is the SHA-256 of everything that decides what the samples are, the content of the data files
//!   first of all. They are read for that at each start: no size, time or inode stands for content, as all of these can
//!   stay while the content changes (a second write within a tick of the clock, a map, a clock that is set back, a
//!   restored backup, a network file system). Hashing
//!   goes at some 500 MB a second on a core, far faster than tokenizing.
//! - **All or nothing.** A file is written under another name, made safe on the disk and renamed. Two processes that
//!   make the same one do not wait for each other; both files are right, and the last stays.
//! - **Checked.** A file that is not, bit for bit, what was written is not used: it is removed and made again.
//! - **Bounded.** Files that were not used for the longest time go first. One that a run has mapped stays readable for it.
//! - **Never in the way.** A cache that can't be used costs time; nothing fails because of it.

pub mod key;
mod retain;
mod tokenized;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::samples::bytes::Bytes;
use super::samples::draft::Draft;
use super::samples::write::Written;
use super::samples::{Key, Samples, Writer};

pub use tokenized::{About, tokenized};

/// What names of files end with.
const EXTENSION: &str = "samples";
/// As many bytes are kept where nobody says otherwise: some 4 billion tokens.
const LIMIT_BYTES: u64 = 20 << 30;
/// Names the directory; `off`: nothing is kept.
pub const DIR_VARIABLE: &str = "FTL_DATA_CACHE";
/// How many bytes are kept.
pub const LIMIT_VARIABLE: &str = "FTL_DATA_CACHE_BYTES";

/// Where samples are kept for the next run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Nowhere.
    Off,
    /// In a directory.
    Dir {
        /// The directory; it need not exist.
        path: PathBuf,
        /// Bytes of all files together.
        limit_bytes: u64,
    },
}

/// What became of a search.
#[derive(Debug)]
pub enum Found {
    /// The samples.
    Samples(Samples),
    /// There are none.
    Nothing,
    /// There was a file that is no good, and is gone: a sentence for the user.
    Damaged(String),
}

impl Cache {
    /// The user's own, unless the environment says another.
    pub fn of_user() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let limit_bytes = variable(LIMIT_VARIABLE).and_then(|bytes| bytes.parse().ok());
        let path = match variable(DIR_VARIABLE) {
            Some(off) if off == "off" => None,
            Some(dir) => Some(PathBuf::from(dir)),
            None => user_directory().map(|dir| dir.join("ftl").join("data")),
        };
        path.map_or(Self::Off, |path| Self::Dir { path, limit_bytes: limit_bytes.unwrap_or(LIMIT_BYTES) })
    }

    /// The samples that follow from `key`, if they were made before and every bit of them is as it was.
    pub fn find(&self, key: &Key) -> Found {
        let Self::Dir { path: dir, .. } = self else { return Found::Nothing };
        let path = path_of(dir, key);
        let Ok(file) = File::open(&path) else { return Found::Nothing };
        // The time of the last use decides what stays. Where it can't be set, that of writing does.
        let _ = file.set_modified(SystemTime::now());
        let samples = Bytes::map(&file)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Samples::of_bytes(bytes, key).map_err(|broken| broken.to_string()));
        match samples {
            Ok(samples) => Found::Samples(samples),
            Err(what) => {
                // Another process may have put a good one in its place meanwhile, which then is made once more.
                let _ = fs::remove_file(&path);
                let message = format!("`{}` {what}; the data are tokenized again", path.display());
                Found::Damaged(message)
            }
        }
    }

    /// A writer for samples that are to be kept here.
    pub fn writer(&self) -> Writer {
        match self {
            Self::Off => Writer::at([std::env::temp_dir()]),
            Self::Dir { path, .. } => Writer::at([path.clone(), std::env::temp_dir()]),
        }
    }

    /// Keeps samples for whoever asks for `key`; says why it can't, in a sentence.
    pub fn keep(&self, key: &Key, written: Written) -> (Samples, Vec<String>) {
        let Written { samples, draft, mut notes } = written;
        let Self::Dir { path: dir, limit_bytes } = self else { return (samples, notes) };
        let kept = match draft.filter(|draft| draft.dir() == dir) {
            Some(draft) => self.publish(draft, key),
            None => Draft::create(dir).and_then(|mut draft| {
                draft.write(samples.all_bytes())?;
                self.publish(draft, key)
            }),
        };
        match kept {
            Ok(()) => {
                if let Err(error) = retain::make_room(dir, *limit_bytes) {
                    notes.push(format!("`{}` can't be kept within its limit: {error}", dir.display()));
                }
            }
            Err(error) => notes.push(format!(
                "tokenized data can't be kept in `{}`: {error}; the next run makes them again",
                dir.display()
            )),
        }
        (samples, notes)
    }

    /// The bytes of all files; 0 where there is no directory.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Off => 0,
            Self::Dir { path, .. } => retain::size_bytes(path),
        }
    }

    fn publish(&self, draft: Draft, key: &Key) -> io::Result<()> {
        let path = path_of(draft.dir(), key);
        draft.publish(&path)
    }
}

/// Where the samples of a key are.
fn path_of(dir: &Path, key: &Key) -> PathBuf {
    let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    dir.join(name).with_extension(EXTENSION)
}

/// Where programs keep what can be made again.
pub fn user_directory() -> Option<PathBuf> {
    // The XDG base directory specification has relative paths ignored.
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
}
