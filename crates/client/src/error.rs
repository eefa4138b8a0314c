//! Why a call did not do what was asked.

use std::error::Error;
use std::fmt::Display;
use std::io;

use ftl_core::{Problem, ProblemKind};
use tonic::{Code, ConnectError, Status};

use crate::wire::{WireError, details};

/// Why a call did not do what was asked. Only [`Unavailable`](Self::Unavailable) is worth a repeat.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The request can't be used; at least one reason.
    #[error("{}", list(.0))]
    Refused(Vec<Problem>),
    /// Nothing has this id.
    #[error("{0}")]
    NotFound(String),
    /// What is there does not allow it, above all the job's state; at least one reason.
    #[error("{}", list(.0))]
    Precondition(Vec<Problem>),
    /// Something has this name or request id already.
    #[error("{0}")]
    AlreadyExists(Problem),
    /// More of something than the server gives at a time.
    #[error("{0}")]
    Exhausted(Problem),
    /// Nobody answers, the connection broke, or the server is going down.
    #[error("{0}")]
    Unavailable(String),
    /// No answer in time. What was asked may have been done all the same.
    #[error("{0}")]
    TimedOut(String),
    /// The server does not talk to us: the token is wrong or missing, or the socket is another user's.
    #[error("{0}")]
    Denied(String),
    /// The server failed.
    #[error("{message}{}", told(.incident))]
    Internal {
        /// Finds it in the server's log.
        incident: Option<String>,
        /// What the server says of it.
        message: String,
    },
    /// The server says what we don't understand; it is of another version, or another program.
    #[error("{0}; is the server of this version?")]
    Protocol(String),
}

impl From<WireError> for ClientError {
    fn from(error: WireError) -> Self {
        Self::Protocol(format!("the server's answer can't be used: {error}"))
    }
}

/// A status of our server has details ([`details`]); one of another program has at least a code and a message.
impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::at("the server's address", status)
    }
}

impl ClientError {
    /// What a status means that a call to `place` ended with.
    pub(crate) fn at(place: impl Display, status: Status) -> Self {
        // Only what went wrong on the way has a cause; a status that a server sent has none.
        if let Some(cause) = status.source() {
            return Self::on_the_way(place, cause);
        }
        let details::Details { reason: _, metadata, problems } = details::unpack(&status);
        let message = match status.message() {
            "" => format!("the server answers {:?} without a word", status.code()),
            message => message.to_owned(),
        };
        let problem_of_message = || Problem::new(ProblemKind::InvalidValue, message.clone());
        let all = |problems: Vec<Problem>| match problems.is_empty() {
            true => vec![problem_of_message()],
            false => problems,
        };
        let one = |problems: Vec<Problem>| problems.into_iter().next().unwrap_or_else(problem_of_message);
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Self::Refused(all(problems)),
            Code::NotFound => Self::NotFound(message),
            Code::FailedPrecondition | Code::Aborted => Self::Precondition(all(problems)),
            Code::AlreadyExists => Self::AlreadyExists(one(problems)),
            Code::ResourceExhausted => Self::Exhausted(one(problems)),
            Code::Unavailable => Self::Unavailable(message),
            Code::DeadlineExceeded => Self::TimedOut(message),
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied(message),
            Code::Unimplemented => Self::Protocol(format!("the server does not know this call: {message}")),
            // A server that says OK and sends no answer, or a stream that breaks off without a status.
            Code::Ok => Self::Protocol(message),
            Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal {
                incident: metadata.get(details::INCIDENT_ID).cloned(),
                message: match problems.is_empty() {
                    true => message,
                    false => list(&problems),
                },
            },
        }
    }

    /// What a failure on the way to `place` means.
    pub(crate) fn on_the_way(place: impl Display, error: &(dyn Error + 'static)) -> Self {
        let mut is_connected = true;
        let mut root = error;
        while let Some(cause) = root.source() {
            is_connected &= !root.is::<ConnectError>();
            root = cause;
        }
        if is_connected {
            return Self::Unavailable(format!("the connection to {place} broke: {root}"));
        }
        match root.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => {
                Self::Denied(format!("{place} is not ours to talk to: {root}"))
            }
            Some(_) | None => Self::Unavailable(format!("nobody answers at {place}: {root}")),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

fn told(incident: &Option<String>) -> String {
    match incident {
        Some(incident) => format!("; the server's log has more under `{incident}`"),
        None => String::new(),
    }
}
