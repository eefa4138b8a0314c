//! Why the service did not do what a caller asked. [`status`](crate::status) turns it into a gRPC status.

use std::fmt::Display;

use ftl_client::wire::WireError;
use ftl_core::job::IllegalTransition;
use ftl_core::{Problem, ProblemKind};
use ftl_store::StoreError;
use ftl_trainer::error::TrainError;

/// Why the service did not do what a caller asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The request can't be used; the caller can mend it.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
    /// Nothing has this id.
    #[error("there is no {what} `{id}`")]
    NotFound {
        /// `job`, `checkpoint`, `dataset`, `report`, `upload`, `model`, `config`.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// The job's state does not allow it.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// What is there does not allow it, the request itself is fine.
    #[error("{0}")]
    Precondition(Problem),
    /// Something has this name or request id already.
    #[error("{0}")]
    AlreadyExists(Problem),
    /// More of something than the service gives at a time.
    #[error("{0}")]
    Exhausted(Problem),
    /// A worker process died over it.
    #[error("{0}")]
    Worker(Problem),
    /// The service is going down.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// The caller can't help it. The cause goes to the log and an incident id to the caller.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ServiceError {
    /// The store knows no names: says of what it did not find what it was, `job` or `dataset`, and its id.
    #[must_use]
    pub fn about(self, what: &'static str, id: &impl Display) -> Self {
        match self {
            Self::NotFound { what: "", id: _ } => Self::NotFound { what, id: id.to_string() },
            other => other,
        }
    }
}

/// What the store says holds paths and the words of SQLite: the caller is told what to do, the log gets the rest.
impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        let problem = |kind, message: String| Problem::new(kind, message);
        match error {
            StoreError::NotFound => Self::NotFound { what: "", id: String::new() },
            StoreError::Illegal(illegal) => Self::Transition(illegal),
            StoreError::NotAtRest(_) => Self::Precondition(
                problem(ProblemKind::InvalidValue, error.to_string())
                    .hint("stop or cancel it, and wait for that"),
            ),
            StoreError::NotQueued(_) | StoreError::PlaceChanged { .. } => Self::Precondition(
                problem(ProblemKind::InvalidValue, error.to_string())
                    .hint("`ftl jobs queue` lists the queue in its order"),
            ),
            StoreError::RequestIdTaken => {
                Self::AlreadyExists(problem(ProblemKind::InvalidValue, error.to_string()).at("request_id"))
            }
            StoreError::NameTaken => {
                Self::AlreadyExists(problem(ProblemKind::InvalidValue, error.to_string()).at("name"))
            }
            StoreError::BadPageToken => {
                problem(ProblemKind::InvalidValue, error.to_string()).at("page_token").into()
            }
            StoreError::Unstorable { field, reason } => {
                problem(ProblemKind::InvalidValue, format!("it can't be stored: {reason}")).at(field).into()
            }
            StoreError::DiskFull(_) => Self::Exhausted(
                problem(ProblemKind::Storage, "the disk of the data directory is full".to_owned())
                    .hint("make room there, nothing was changed"),
            ),
            StoreError::ReadOnly(_) => Self::Precondition(
                problem(ProblemKind::Storage, "the data directory can't be written".to_owned())
                    .hint("look at its permissions, and whether its disk is mounted read-only"),
            ),
            StoreError::Busy(_) => Self::Precondition(
                problem(ProblemKind::Storage, "another program keeps the database locked".to_owned())
                    .hint("close that program and try again"),
            ),
            StoreError::Closed => Self::ShuttingDown,
            StoreError::AttemptEnded(_)
            | StoreError::IdTaken
            | StoreError::StateAmongEvents(_)
            | StoreError::Unreadable { .. }
            | StoreError::AlreadyOpen(_)
            | StoreError::NewerDatabase { .. }
            | StoreError::NotOurs { .. }
            | StoreError::SqliteTooOld { .. }
            | StoreError::Damaged(_)
            | StoreError::Io(_)
            | StoreError::File { .. }
            | StoreError::OutcomeUnknown(_)
            | StoreError::Sql(_)
            | StoreError::Panicked(_) => Self::Internal(Box::new(error)),
        }
    }
}

impl From<WireError> for ServiceError {
    fn from(error: WireError) -> Self {
        Problem::from(error).into()
    }
}

impl From<Problem> for ServiceError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

impl From<Vec<Problem>> for ServiceError {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Invalid(problems)
    }
}

/// What the engine can't do with a checkpoint's directory.
impl From<TrainError> for ServiceError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Refused(problems) => Self::Invalid(problems),
            TrainError::Diverged(problem) | TrainError::OutOfMemory { problem, .. } => {
                Self::Precondition(problem)
            }
            TrainError::File { .. } => Self::Internal(Box::new(error)),
        }
    }
}

impl From<std::io::Error> for ServiceError {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(Box::new(error))
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
