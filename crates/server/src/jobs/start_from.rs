//! A job that begins with a checkpoint of another: its directory gets a copy of its own before the job is made, so that
//! deleting the other loses nothing.
//!
//! ```text
//! jobs/<new job>/start/checkpoint-500/    hard links to the files of jobs/<other>/checkpoint-500/
//! ```
//!
//! Files of a checkpoint are written once and never changed, so both jobs can share their bytes. Until the job is made, the
//! directory bears the mark of a job that is being deleted: a service that dies in between leaves it to the next one, which
//! removes it, or takes the mark away where the job is there (see [`removal`]).

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ftl_core::job::{Checkpoint, CheckpointState, Job, Parent, StartFrom};
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_trainer::checkpoint::layout::checkpoint_name;
use tracing::warn;

use super::{Jobs, removal};
use crate::error::ServiceError;

/// Its name in the new job's directory.
const START: &str = "start";

/// The copy that a job begins with; `None`: it begins at step 0.
pub(super) fn copy_of(job: &Job) -> Option<PathBuf> {
    let parent = job.parent.as_ref()?;
    Some(job.directory.join(START).join(checkpoint_name(parent.step)))
}

/// Copies the checkpoint into the directory of a job that will be made.
///
/// # Errors
/// [`ServiceError::NotFound`] without such a job, [`ServiceError::Precondition`] without such a checkpoint on the disk.
pub(super) async fn copy(jobs: &Jobs, from: StartFrom, directory: &Path) -> Result<Parent, ServiceError> {
    let StartFrom { job, step } = from;
    jobs.job(&job).await?;
    let checkpoints = jobs.0.store.checkpoints(&job).await?;
    let directory = directory.to_owned();
    let copied = tokio::task::spawn_blocking(move || {
        let Checkpoint { step, path, .. } = choose(&job, checkpoints, step)?;
        let to = directory.join(START).join(checkpoint_name(step));
        let copied = fs::create_dir_all(&directory).and_then(|()| {
            removal::mark(&directory);
            link_tree(&path, &to)
        });
        match copied {
            Ok(()) => Ok(Parent { job, step }),
            Err(error) => {
                discard(&directory);
                if error.kind() == ErrorKind::NotFound {
                    // The other job's retention was faster.
                    return Err(ServiceError::Precondition(absent(&job, Some(step))));
                }
                Err(error.into())
            }
        }
    });
    copied.await.map_err(|error| ServiceError::Internal(Box::new(error)))?
}

/// The job is made: its directory stays.
pub(super) async fn keep(directory: &Path) {
    let directory = directory.to_owned();
    // A panic there is of no consequence for whoever asked.
    let _ = tokio::task::spawn_blocking(move || removal::unmark(&directory)).await;
}

/// Removes the directory of a job that was not made.
pub(super) async fn forget(directory: &Path) {
    let directory = directory.to_owned();
    let _ = tokio::task::spawn_blocking(move || discard(&directory)).await;
}

/// The newest checkpoint that is complete on the disk, or the one after that step.
fn choose(job: &JobId, checkpoints: Vec<Checkpoint>, step: Option<u64>) -> Result<Checkpoint, ServiceError> {
    let is_meant = |checkpoint: &Checkpoint| match checkpoint.state {
        CheckpointState::Complete => step.is_none_or(|step| checkpoint.step == step),
        CheckpointState::Damaged | CheckpointState::Removed => false,
    };
    let there = checkpoints.into_iter().filter(|checkpoint| is_meant(checkpoint) && checkpoint.path.is_dir());
    // By step: one that was written again after a crash is listed later than it was first.
    there
        .max_by_key(|checkpoint| checkpoint.step)
        .ok_or_else(|| ServiceError::Precondition(absent(job, step)))
}

fn absent(job: &JobId, step: Option<u64>) -> Problem {
    let message = match step {
        Some(step) => format!("job `{job}` has no whole checkpoint of step {step} on the disk"),
        None => format!("job `{job}` has no whole checkpoint on the disk"),
    };
    Problem::new(ProblemKind::NotFound, message)
        .at("from.step")
        .hint(format!("`ftl checkpoints ls {job}` lists those that are there"))
}

/// Makes the directory with hard links to all files of another; across file systems with copies.
fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            link_tree(&source, &target)?;
            continue;
        }
        match fs::hard_link(&source, &target) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            // Another file system, or one without links.
            Err(_) => fs::copy(&source, &target).map(drop)?,
            Ok(()) => {}
        }
    }
    fs::File::open(to)?.sync_all()
}

fn discard(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            warn!(path = %directory.display(), %error, "the copy of a checkpoint stays");
        }
        Ok(()) | Err(_) => {}
    }
}
