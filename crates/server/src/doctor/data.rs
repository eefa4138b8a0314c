//! The data directory and its database.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ftl_store::{StoreError, Version};
use ftl_trainer::doctor::{Finding, Level, finding, free_bytes, gib};
use serde::Serialize;

use super::shown;
use crate::data_dir::{DATABASE, own_uid};
use crate::token::{Token, TokenError};

/// Less free than this, and a run may not be able to save. The engine's limit for its own places.
const LITTLE_DISK_BYTES: u64 = 2 << 30;

/// The data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Data {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is there; a service makes it.
    pub exists: bool,
    /// Its permissions, as `700`.
    pub mode: Option<String>,
    /// What its disk is formatted with, where that matters.
    pub file_system: Option<&'static str>,
    /// What can still be written there.
    pub free_bytes: Option<u64>,
    /// Its database.
    pub database: Database,
}

/// A database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Database {
    /// There is none yet.
    Absent,
    /// Of this version.
    Current,
    /// Of an earlier version.
    Older,
    /// Of a later version.
    Newer,
    /// It can't be read, or is another program's.
    Unreadable,
}

pub(super) fn look(path: &Path, findings: &mut Vec<Finding>) -> Data {
    let metadata = fs::metadata(path).ok();
    let nearest = path.ancestors().find(|path| path.exists());
    let file_system = nearest.and_then(file_system);
    if let Some((name, concern)) = file_system {
        findings.push(concern.finding(path, name));
    }
    let free_bytes = nearest.and_then(free_bytes);
    if let Some(free) = free_bytes.filter(|free| *free < LITTLE_DISK_BYTES) {
        let message = format!("the data directory {} has only {} left", shown(path), gib(free));
        findings.push(finding(Level::Warning, message, "make room before a run saves there"));
    }
    let mode = metadata.as_ref().map(|metadata| {
        check_rights(path, metadata, findings);
        format!("{:o}", metadata.mode() & 0o777)
    });
    check_token(path, findings);
    let database = database(&path.join(DATABASE), findings);
    Data {
        path: path.to_owned(),
        exists: metadata.is_some(),
        mode,
        file_system: file_system.map(|(name, _)| name),
        free_bytes,
        database,
    }
}

fn check_rights(path: &Path, metadata: &fs::Metadata, findings: &mut Vec<Finding>) {
    if metadata.uid() != own_uid() {
        let message = format!("the data directory {} belongs to user {}", shown(path), metadata.uid());
        findings.push(finding(Level::Error, message, "name a directory of your own with `--data-dir`"));
    } else if metadata.mode() & 0o077 != 0 {
        let message = format!(
            "the data directory {} is open to other users (mode {:o})",
            shown(path),
            metadata.mode() & 0o777
        );
        findings.push(finding(Level::Warning, message, "the service closes it when it starts"));
    }
}

fn check_token(path: &Path, findings: &mut Vec<Finding>) {
    match Token::read(&path.join("token")) {
        Ok(_) => {}
        Err(error @ (TokenError::Exposed { .. } | TokenError::Malformed(_))) => {
            findings.push(finding(Level::Error, error.to_string(), ""));
        }
        // There is one only where the service listens on TCP.
        Err(TokenError::Io { .. } | TokenError::Random(_)) => {}
    }
}

fn database(path: &Path, findings: &mut Vec<Finding>) -> Database {
    match Version::of(path) {
        Ok(Version::Absent) => Database::Absent,
        Ok(Version::Current) => Database::Current,
        Ok(Version::Older) => {
            let message = format!("the database {} is of an earlier version", shown(path));
            let hint = "the next service copies it and brings it up to date";
            findings.push(finding(Level::Info, message, hint));
            Database::Older
        }
        Err(error @ StoreError::NewerDatabase { .. }) => {
            let hint = "install that version again, or put one of the copies beside it in its place";
            findings.push(finding(Level::Error, error.to_string(), hint));
            Database::Newer
        }
        Err(error) => {
            let message = format!("the database {} can't be read: {error}", shown(path));
            findings.push(finding(Level::Error, message, "look at its permissions, and at its disk"));
            Database::Unreadable
        }
    }
}

/// What is to be feared of a file system.
#[derive(Clone, Copy)]
enum Concern {
    /// Locks and the shared memory of SQLite's write-ahead log are not what they seem there.
    Network,
    /// It is gone after a restart.
    Memory,
}

impl Concern {
    fn finding(self, path: &Path, name: &str) -> Finding {
        let (level, what, hint) = match self {
            Self::Network => (
                Level::Error,
                "a network file system, on which SQLite's database can be damaged",
                "keep the data on a disk of this machine, with `--data-dir` or XDG_DATA_HOME",
            ),
            Self::Memory => (
                Level::Warning,
                "a file system in memory, which is empty after a restart",
                "keep the data on a disk, with `--data-dir` or XDG_DATA_HOME",
            ),
        };
        finding(level, format!("the data directory {} is on {name}, {what}", shown(path)), hint)
    }
}

/// Magic numbers of statfs(2) and linux/magic.h; <https://sqlite.org/wal.html>, "all processes must be on the same host".
const CONCERNS: [(u32, &str, Concern); 11] = [
    (0x6969, "NFS", Concern::Network),
    (0x517B, "SMB", Concern::Network),
    (0xFE53_4D42, "SMB 2", Concern::Network),
    (0xFF53_4D42, "CIFS", Concern::Network),
    (0x0102_1997, "9P", Concern::Network),
    (0x00C3_6400, "Ceph", Concern::Network),
    (0x5346_414F, "AFS", Concern::Network),
    (0x0BD0_0BD0, "Lustre", Concern::Network),
    (0x786F_4256, "VirtualBox's shared folders", Concern::Network),
    (0x0102_1994, "tmpfs", Concern::Memory),
    (0x8584_58F6, "ramfs", Concern::Memory),
];

#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> Option<(&'static str, Concern)> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: all zeros is a valid `statfs`, which the call below fills.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte and `stat` is valid for the call.
    let code = unsafe { libc::statfs(path.as_ptr(), &raw mut stat) };
    if code != 0 {
        return None;
    }
    // Its width and sign depend on the platform; the number has 32 bits.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number has 32 bits")]
    let found = stat.f_type as u32;
    CONCERNS.iter().find(|(magic, ..)| *magic == found).map(|(_, name, concern)| (*name, *concern))
}

#[cfg(not(target_os = "linux"))]
fn file_system(_path: &Path) -> Option<(&'static str, Concern)> {
    None
}
