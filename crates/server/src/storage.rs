//! What the data directory holds: bytes by what they are for, and copies of the database.

use std::io;
use std::path::{Path, PathBuf};

use ftl_core::system::{JobStorage, Storage};
use ftl_core::{Problem, ProblemKind};
use ftl_store::{Store, StoreError};
use ftl_trainer::doctor;

use crate::data_dir::DataDir;
use crate::error::ServiceError;

/// Jobs that are told of one by one.
const MAX_JOBS: usize = 100;

/// Adds up the files of a data directory. Looks at every one of them: for a thread that may wait.
pub(crate) fn measure(dir: &DataDir) -> Storage {
    let (mut database_bytes, mut backups_bytes, mut other_bytes) = (0, 0, 0);
    let database = dir.database();
    let name = database.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for path in entries(dir.root()) {
        let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if [dir.jobs(), dir.datasets(), dir.uploads()].contains(&path) {
            continue;
        }
        let bytes = bytes_at(&path);
        match found.strip_prefix(&name) {
            Some("" | "-wal" | "-shm" | "-journal") => database_bytes += bytes,
            Some(ending) if ending.starts_with(".backup-") => backups_bytes += bytes,
            Some(_) | None => other_bytes += bytes,
        }
    }
    let (mut jobs_bytes, mut largest_jobs) = (0, Vec::new());
    for path in entries(&dir.jobs()) {
        let bytes = bytes_at(&path);
        jobs_bytes += bytes;
        if let Some(job) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) {
            largest_jobs.push(JobStorage { job, bytes });
        }
    }
    largest_jobs.sort_by_key(|job| std::cmp::Reverse(job.bytes));
    largest_jobs.truncate(MAX_JOBS);
    Storage {
        database_bytes,
        backups_bytes,
        jobs_bytes,
        datasets_bytes: bytes_at(&dir.datasets()),
        uploads_bytes: bytes_at(&dir.uploads()),
        other_bytes,
        free_bytes: doctor::free_bytes(dir.root()),
        largest_jobs,
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    directory.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// All bytes of a file, or of the files of a directory. What disappears meanwhile counts as nothing.
fn bytes_at(path: &Path) -> u64 {
    // Not through links: what they lead to is not ours, and one that leads to itself has no end.
    match path.symlink_metadata() {
        Ok(facts) if facts.is_dir() => entries(path).iter().map(|path| bytes_at(path)).sum(),
        Ok(facts) => facts.len(),
        Err(_) => 0,
    }
}

/// Copies the database to `to`, and says how large the copy is.
///
/// # Errors
/// [`ServiceError::AlreadyExists`] where something is there, [`ServiceError::Precondition`] where it can't be written.
pub(crate) async fn back_up(store: &Store, to: &Path) -> Result<u64, ServiceError> {
    match store.back_up(to).await {
        Ok(bytes) => Ok(bytes),
        Err(StoreError::File { path, source }) => Err(unwritten(to, &path, &source)),
        Err(error) => Err(error.into()),
    }
}

/// The caller named the path, so it is told what is wrong there.
fn unwritten(to: &Path, path: &Path, error: &io::Error) -> ServiceError {
    if path == to && error.kind() == io::ErrorKind::AlreadyExists {
        let message = format!("`{}` exists already", to.display());
        let problem = Problem::new(ProblemKind::OutputExists, message).at("path");
        return ServiceError::AlreadyExists(
            problem.hint("name a file that does not exist; nothing is overwritten"),
        );
    }
    let message = format!("`{}` can't be written: {error}", path.display());
    let problem = Problem::new(ProblemKind::Storage, message).at("path");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ServiceError::Exhausted(problem.hint("make room there, or name another disk"))
        }
        _ => ServiceError::Precondition(
            problem.hint("name a file in a directory that exists and can be written"),
        ),
    }
}
