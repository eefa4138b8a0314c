//! What people do with what jobs saved: have one made, pin, delete, verify and export. The engine has the last word on
//! files, the store is told what came of it; neither a checkpoint nor any other model is read in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ftl_core::job::{Checkpoint, CheckpointState, Job, State};
use ftl_core::spec::resolved::FinalWeights;
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_store::{OnDisk, StoreError};
use ftl_trainer::checkpoint::layout::{step_of, step_of_any};
use ftl_trainer::checkpoint::{Pinning, Removal, list_with_damaged, pin, pinned_steps, take_away, unpin};
use ftl_trainer::error::TrainError;
use tracing::{info, warn};

use super::{Jobs, Order, Shared};
use crate::commits::Commits;
use crate::error::ServiceError;
use crate::worker::lock::{self, Holder, LockError};

impl Jobs {
    /// Has the worker of a job save after the step under way, and waits for the checkpoint.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where no worker trains, or where it ended before it saved.
    pub async fn save_now(&self, id: &JobId, commits: &Commits) -> Result<Checkpoint, ServiceError> {
        // Subscribe first and read then, so that nothing falls between.
        let mut commits = commits.subscribe(id);
        let asked = self.job(id).await?;
        if asked.state != State::Running || !self.0.active.has(id) {
            return Err(not_training(&asked));
        }
        self.0.active.order(id, Order::Save);
        info!(job.id = %id, "a checkpoint was asked for");
        loop {
            // The job before its checkpoints: what it saved before it ended is there when its end is.
            let job = self.job(id).await?;
            if let Some(checkpoint) = self.0.store.checkpoint_after(id, asked.seq).await? {
                return Ok(checkpoint);
            }
            match job.state {
                State::Running | State::Stopping if job.n_attempts == asked.n_attempts => {}
                State::Queued
                | State::Starting
                | State::Running
                | State::Stopping
                | State::Stopped
                | State::Interrupted
                | State::Succeeded
                | State::Failed
                | State::Cancelled => return Err(ended_before(&job)),
            }
            tokio::select! {
                // The sender lives as long as the service.
                _ = commits.changed() => {}
                () = self.0.ending.cancelled() => return Err(ServiceError::ShuttingDown),
            }
        }
    }

    /// The checkpoint of this name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ServiceError> {
        Ok(self.with_job(id, name).await?.1)
    }

    /// Keeps a checkpoint, whatever the spec says.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where it is not on disk any more, or was set aside as damaged.
    pub async fn pin_checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ServiceError> {
        let (job, checkpoint) = self.with_job(id, name).await?;
        if step_of(name).is_none() {
            let message = format!("`{name}` was set aside as damaged, so it stays anyway");
            return Err(precondition(message, "pin a checkpoint that is complete"));
        }
        let (directory, step) = (job.directory.clone(), checkpoint.step);
        match blocking(move || pin(&directory, step)).await? {
            Pinning::Pinned => {
                info!(job.id = %id, step, "a checkpoint was pinned");
                Ok(self.0.store.checkpoint_pinned(id, &checkpoint.path).await?)
            }
            Pinning::Absent => Err(self.gone(id, &checkpoint).await?),
        }
    }

    /// Lets a checkpoint go again, as the spec says.
    ///
    /// # Errors
    /// What the operating system refuses.
    pub async fn unpin_checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ServiceError> {
        let (job, checkpoint) = self.with_job(id, name).await?;
        let (directory, step) = (job.directory.clone(), checkpoint.step);
        blocking(move || unpin(&directory, step)).await?;
        info!(job.id = %id, step, "a checkpoint is pinned no more");
        Ok(self.0.store.checkpoint_unpinned(id, &checkpoint.path).await?)
    }

    /// Deletes a checkpoint.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where it is pinned, where its job may need it, or where its files can't be removed.
    pub async fn delete_checkpoint(&self, id: &JobId, name: &str) -> Result<(), ServiceError> {
        let (job, checkpoint) = self.with_job(id, name).await?;
        may_be_deleted(&job, &checkpoint)?;
        let (directory, name, is_last) = (job.directory.clone(), name.to_owned(), checkpoint.last);
        let removal = tokio::task::spawn_blocking(move || -> Result<Removal, ServiceError> {
            // A worker that begins in this moment must find it or not, and nothing in between.
            let _lock = if is_last { Some(hold(&directory, job.n_attempts)?) } else { None };
            Ok(take_away(&directory, &name)?)
        });
        match joined(removal.await)? {
            Removal::Pinned => Err(pinned(&checkpoint)),
            Removal::Absent => Err(self.gone(id, &checkpoint).await?),
            Removal::Taken(removing) => {
                self.0.store.checkpoint_removed(id, &checkpoint.path).await?;
                info!(job.id = %id, checkpoint = checkpoint.name(), "a checkpoint was deleted");
                if let Err(error) = blocking(move || removing.finish()).await {
                    warn!(job.id = %id, %error, "the files of a deleted checkpoint stay");
                    let message = "the checkpoint is deleted, but its files could not be removed".to_owned();
                    let hint =
                        "look at the directory's permissions; they go when the job goes on or is removed";
                    return Err(precondition(message, hint));
                }
                Ok(())
            }
        }
    }

    /// Compares a checkpoint with what was written.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where it is not on disk any more; a worker that died over it. A difference is no
    /// error.
    pub async fn verify_checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ServiceError> {
        let (_, checkpoint) = self.with_job(id, name).await?;
        let problem = self.0.workers.verify_checkpoint(checkpoint.path.clone()).await?;
        let path = checkpoint.path.clone();
        if problem.is_some() && !blocking(move || Ok(path.exists())).await? {
            return Err(self.gone(id, &checkpoint).await?);
        }
        let damage = match problem {
            Some(problem) => Some(problem.message),
            None if step_of(name).is_some() => None,
            // Under this name no job finds it.
            None => Some("every file is as it was written, but a job has set it aside as damaged".to_owned()),
        };
        Ok(self.0.store.checkpoint_verified(id, &checkpoint, damage).await?)
    }

    /// Copies of a checkpoint what other programs load into the new directory `to`; gives the size of its files.
    ///
    /// # Errors
    /// [`ServiceError::Precondition`] where it is damaged or not on disk any more, [`ServiceError::Invalid`] where there
    /// is something at `to` or it can't be written.
    pub async fn export_checkpoint(&self, id: &JobId, name: &str, to: PathBuf) -> Result<u64, ServiceError> {
        let (_, checkpoint) = self.with_job(id, name).await?;
        let path = checkpoint.path.clone();
        if !blocking(move || Ok(path.exists())).await? {
            return Err(self.gone(id, &checkpoint).await?);
        }
        match self.0.workers.export_checkpoint(checkpoint.path.clone(), to).await {
            Err(ServiceError::Invalid(problems))
                if problems.iter().any(|problem| problem.kind == ProblemKind::BrokenCheckpoint) =>
            {
                let damage =
                    problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ");
                self.0.store.checkpoint_verified(id, &checkpoint, Some(damage.clone())).await?;
                let message = format!("`{name}` is damaged: {damage}");
                Err(precondition(message, "export another checkpoint"))
            }
            done => done,
        }
    }

    async fn with_job(&self, id: &JobId, name: &str) -> Result<(Job, Checkpoint), ServiceError> {
        let job = self.job(id).await?;
        let path = job.directory.join(checked(name)?);
        match self.0.store.checkpoint(id, &path).await? {
            Some(checkpoint) => Ok((job, checkpoint)),
            None => Err(ServiceError::NotFound { what: "checkpoint", id: format!("{id}/{name}") }),
        }
    }

    /// Keeps that a checkpoint turned out to be gone, and gives the refusal that says so.
    async fn gone(&self, id: &JobId, checkpoint: &Checkpoint) -> Result<ServiceError, ServiceError> {
        if checkpoint.state != CheckpointState::Removed {
            self.0.store.checkpoint_removed(id, &checkpoint.path).await?;
        }
        let message = format!("`{}` is not on disk any more", checkpoint.name());
        Ok(precondition(message, "list the job's checkpoints"))
    }
}

/// Puts the store right about the checkpoints of a job after its worker has ended: one that was killed may have saved or
/// deleted what it could not tell of. A directory that can't be read holds nobody up.
///
/// # Errors
/// What the store refuses.
pub(super) async fn look_over(shared: &Arc<Shared>, job: &Job, attempt: u32) -> Result<(), StoreError> {
    let directory = job.directory.clone();
    let found = tokio::task::spawn_blocking(move || -> Result<Option<Vec<OnDisk>>, ServiceError> {
        // An orphan of an earlier service tells by itself.
        if !lock::is_free(&directory)? {
            return Ok(None);
        }
        let pinned = pinned_steps(&directory)?;
        let on_disk = list_with_damaged(&directory)?.into_iter().map(|checkpoint| OnDisk {
            pinned: pinned.contains(&checkpoint.step),
            usable: is_usable(&checkpoint.path),
            step: checkpoint.step,
            path: checkpoint.path,
        });
        Ok(Some(on_disk.collect()))
    });
    match joined(found.await) {
        Ok(Some(on_disk)) => shared.store.found_on_disk(&job.id, attempt, on_disk).await,
        Ok(None) => Ok(()),
        Err(cause) => {
            let cause = &cause as &dyn std::error::Error;
            warn!(job.id = %job.id, cause, "the checkpoints of a job can't be looked at");
            Ok(())
        }
    }
}

fn is_usable(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).and_then(step_of).is_some()
}

/// Only names of checkpoints lead to files: nothing with a `/` is one.
fn checked(name: &str) -> Result<&str, ServiceError> {
    let problem = match step_of_any(name) {
        Some(_) => return Ok(name),
        None if name.is_empty() => Problem::new(ProblemKind::MissingKey, "the name is missing"),
        None => {
            let shown: String = name.chars().take(100).collect();
            let message = format!("`{shown}` is no checkpoint's name");
            Problem::new(ProblemKind::InvalidValue, message)
        }
    };
    Err(problem.at("name").hint("give a name as ListCheckpoints has it, `checkpoint-500`").into())
}

fn may_be_deleted(job: &Job, checkpoint: &Checkpoint) -> Result<(), ServiceError> {
    if checkpoint.pinned {
        return Err(pinned(checkpoint));
    }
    let (name, state) = (checkpoint.name(), job.state);
    let is_at_rest = state.is_at_rest();
    if checkpoint.last && !is_at_rest {
        let message = format!("the job is {state} and would go on from `{name}`");
        return Err(precondition(message, "stop or cancel the job, and wait for that"));
    }
    let may_go_on = !is_at_rest || matches!(state, State::Stopped | State::Failed);
    let wants_best = job.spec.check().is_ok_and(|spec| spec.train.result == FinalWeights::Best);
    if checkpoint.best && may_go_on && wants_best {
        let message = format!("the result of the job, which is {state}, would be made of `{name}`");
        return Err(precondition(message, "cancel the job first, or remove it with all its files"));
    }
    Ok(())
}

/// Keeps workers out of the job's directory.
fn hold(directory: &Path, attempt: u32) -> Result<std::fs::File, ServiceError> {
    let holder = Holder { pid: std::process::id(), attempt };
    lock::take(directory, &holder, Duration::ZERO, &|| false).map_err(|error| match error {
        LockError::Held(_) | LockError::GivenUp => {
            precondition("a worker is in the job's directory".to_owned(), "try again in some seconds")
        }
        LockError::Io(error) => error.into(),
    })
}

fn pinned(checkpoint: &Checkpoint) -> ServiceError {
    precondition(format!("`{}` is pinned", checkpoint.name()), "unpin it first")
}

fn not_training(job: &Job) -> ServiceError {
    let message = format!("the job is {}, and only a worker that trains can save", job.state);
    precondition(message, "ask while it is RUNNING")
}

fn ended_before(job: &Job) -> ServiceError {
    let message = format!("the worker ended before it saved once more; the job is {}", job.state);
    precondition(message, "list the job's checkpoints: it saves when it is stopped")
}

fn precondition(message: String, hint: &str) -> ServiceError {
    ServiceError::Precondition(Problem::new(ProblemKind::InvalidValue, message).hint(hint))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TrainError> + Send + 'static,
) -> Result<T, ServiceError> {
    joined(tokio::task::spawn_blocking(work).await)
}

fn joined<T, E>(result: Result<Result<T, E>, tokio::task::JoinError>) -> Result<T, ServiceError>
where
    ServiceError: From<E>,
{
    Ok(result.map_err(|error| ServiceError::Internal(Box::new(error)))??)
}
