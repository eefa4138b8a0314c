//! The life of a job as states, and the transitions between them.
//!
//! ```text
//!           start                 done
//! QUEUED ---------> STARTING -> RUNNING ---------> SUCCEEDED
//!   ^  |                |          |  \-----------> FAILED       a Problem is stored
//!   |  '--> CANCELLED   |          |-> STOPPING -> STOPPED       by the user; saved
//!   |                   '----------+-> INTERRUPTED               server, host or worker died
//!   |                                      |
//!   '------ resume (STOPPED, FAILED) ------+---- by itself (INTERRUPTED)
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Waits for its turn.
    Queued,
    /// A worker is being started.
    Starting,
    /// A worker trains.
    Running,
    /// The worker was asked to save and stop.
    Stopping,
    /// Stopped by the user; a checkpoint exists.
    Stopped,
    /// The server, the host or the worker died.
    Interrupted,
    /// Every artifact exists and is verified.
    Succeeded,
    /// Ended with a Problem.
    Failed,
    /// Given up by the user; nothing follows.
    Cancelled,
}

/// A change of state that the life of a job does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} can't become {to}")]
pub struct IllegalTransition {
    /// The state the job is in.
    pub from: State,
    /// The state that was asked for.
    pub to: State,
}

impl State {
    /// All states, in the order of a job's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Interrupted,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cancelled)
    }

    /// Whether no worker is at it and none will be by itself.
    pub fn is_at_rest(self) -> bool {
        match self {
            Self::Stopped | Self::Succeeded | Self::Failed | Self::Cancelled => true,
            Self::Queued | Self::Starting | Self::Running | Self::Stopping | Self::Interrupted => false,
        }
    }

    /// The state after the change, which is `to`.
    ///
    /// # Errors
    /// [`IllegalTransition`] if `to` may not follow `self`.
    pub fn transition(self, to: Self) -> Result<Self, IllegalTransition> {
        let allowed: &[Self] = match self {
            Self::Queued => &[Self::Starting, Self::Cancelled],
            Self::Starting => {
                &[Self::Running, Self::Stopping, Self::Interrupted, Self::Failed, Self::Cancelled]
            }
            Self::Running => {
                &[Self::Stopping, Self::Interrupted, Self::Succeeded, Self::Failed, Self::Cancelled]
            }
            // A run may reach its end, or fail, between the request and its answer.
            Self::Stopping => {
                &[Self::Stopped, Self::Interrupted, Self::Succeeded, Self::Failed, Self::Cancelled]
            }
            Self::Stopped | Self::Failed => &[Self::Queued, Self::Cancelled],
            Self::Interrupted => &[Self::Queued, Self::Failed, Self::Cancelled],
            Self::Succeeded | Self::Cancelled => &[],
        };
        if allowed.contains(&to) { Ok(to) } else { Err(IllegalTransition { from: self, to }) }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "QUEUED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopping => "STOPPING",
            Self::Stopped => "STOPPED",
            Self::Interrupted => "INTERRUPTED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        })
    }
}
