//! What the end of a worker means for its job. Pure, so that every case can be read and tested as a table.

use ftl_core::Problem;
use ftl_core::job::{Attempt, Checkpoint, Exit, State};
use ftl_store::Change;

/// Attempts that may die one after the other without a new checkpoint; SERVICE: "at most 3 times without progress".
pub(super) const DEATHS_WITHOUT_PROGRESS: usize = 3;

/// What follows for a job that is in `state` when its worker has ended; `None`: its state stays, since it was
/// cancelled.
pub(super) fn after_exit(exit: Exit, state: State, problems: Vec<Problem>) -> Option<Change> {
    let change =
        |to, reason: &str| Some(Change { to, reason: Some(reason.to_owned()), problems: Vec::new() });
    match (state, exit) {
        (
            State::Cancelled
            | State::Stopped
            | State::Interrupted
            | State::Succeeded
            | State::Failed
            | State::Queued,
            _,
        ) => None,
        (_, Exit::Ok) => Some(Change { to: State::Succeeded, reason: None, problems: Vec::new() }),
        (State::Stopping, Exit::Stopped) => {
            Some(Change { to: State::Stopped, reason: None, problems: Vec::new() })
        }
        // Whoever wanted it stopped must not find it running again.
        (
            State::Stopping,
            Exit::Crashed { .. } | Exit::Lost | Exit::Cancelled | Exit::OomGpu | Exit::OomHost,
        ) => change(
            State::Stopped,
            "its worker died before it had saved; it goes on from its newest checkpoint",
        ),
        (State::Starting | State::Running, Exit::Stopped) => {
            change(State::Interrupted, "its worker was told to end; it goes on from where it saved")
        }
        (State::Starting | State::Running, Exit::Crashed { .. } | Exit::Lost | Exit::Cancelled) => {
            Some(Change {
                to: State::Interrupted,
                reason: Some("its worker died; it goes on from its newest checkpoint".to_owned()),
                problems,
            })
        }
        (State::Starting | State::Running | State::Stopping, Exit::Data | Exit::Nan | Exit::SpawnFailed)
        | (State::Starting | State::Running, Exit::OomGpu | Exit::OomHost) => {
            Some(Change { to: State::Failed, reason: None, problems })
        }
    }
}

/// Whether an interrupted job goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    /// It is queued again.
    Queue,
    /// It died too often without getting on.
    GiveUp,
}

/// Judges by how many attempts died since the last checkpoint.
pub(super) fn onward(attempts: &[Attempt], checkpoints: &[Checkpoint]) -> Onward {
    let progressed = checkpoints.iter().map(|checkpoint| checkpoint.attempt).max().unwrap_or(0);
    let n_deaths = attempts
        .iter()
        .filter(|attempt| attempt.number > progressed)
        .filter(|attempt| match attempt.exit {
            Some(Exit::Crashed { .. } | Exit::Lost) => true,
            Some(
                Exit::Ok
                | Exit::Stopped
                | Exit::Data
                | Exit::Nan
                | Exit::OomGpu
                | Exit::OomHost
                | Exit::SpawnFailed
                | Exit::Cancelled,
            )
            | None => false,
        })
        .count();
    if n_deaths > DEATHS_WITHOUT_PROGRESS { Onward::GiveUp } else { Onward::Queue }
}
