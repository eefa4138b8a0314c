//! The files of a deleted job, also where the service dies before they are gone.
//!
//! A mark in the directory says that its job is being deleted. The next service goes on where it finds one. Directories
//! of jobs that the database does not know stay without it: where an older database was put back, they are all that is
//! left of those jobs.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use ftl_core::JobId;
use tracing::{info, warn};

use super::Jobs;
use crate::error::ServiceError;
use crate::worker::lock;

/// The mark's name in the job's directory.
const MARK: &str = "deleted";

/// Says in `directory` that its job is about to be deleted. A full disk must not keep anyone from making room, so what
/// the operating system refuses is only told.
pub(super) fn mark(directory: &Path) {
    match File::create(directory.join(MARK)) {
        Ok(_) => {}
        // The job never began.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!(path = %directory.display(), %error, "a job's directory can't be marked"),
    }
}

/// Takes the mark away: the job stays.
pub(super) fn unmark(directory: &Path) {
    match fs::remove_file(directory.join(MARK)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => warn!(path = %directory.display(), %error, "the mark of a job that stays, stays"),
    }
}

/// At start: removes what a dead service has not. What can't be removed stays for the next start.
pub(super) async fn finish(jobs: &Jobs) -> Result<(), ServiceError> {
    let directories = jobs.0.dir.jobs();
    for entry in fs::read_dir(&directories)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<JobId>().ok()) else {
            continue;
        };
        let directory = entry.path();
        if !directory.join(MARK).exists() {
            continue;
        }
        if jobs.0.store.job(&id).await?.is_some() {
            unmark(&directory);
            continue;
        }
        if !lock::is_free(&directory)? {
            warn!(job.id = %id, "a process still works in the directory of a deleted job");
            continue;
        }
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(&directory));
        match removed.await.map_err(|error| ServiceError::Internal(Box::new(error)))? {
            Ok(()) => info!(job.id = %id, "the files of a deleted job were removed"),
            Err(error) => warn!(job.id = %id, %error, "the files of a deleted job stay"),
        }
    }
    Ok(())
}
