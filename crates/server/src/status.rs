//! [`ServiceError`] as a gRPC status: the only mapping.
//!
//! Every status carries a `google.rpc.ErrorInfo` (domain `finetunelab`) whose reason a program can branch on, and an
//! `ftl.v1.ProblemList` with what people are told; INVALID_ARGUMENT has a `google.rpc.BadRequest` besides, for clients
//! that know nothing of ours. What only the log may know is logged here under an incident id.

use std::collections::BTreeMap;

use ftl_client::wire::details::{Details, INCIDENT_ID, STATE, pack, reason, reason_of};
use ftl_core::{Problem, ProblemKind};
use tonic::{Code, Status};
use tracing::error;

use crate::error::ServiceError;

/// Longest text of a problem on the wire.
const MAX_TEXT_BYTES: usize = 600;
/// Longest message; percent-encoding makes up to three bytes of each.
const MAX_MESSAGE_BYTES: usize = 1_300;
/// Largest details of a status; of more problems, the first ones are told. base64 makes four bytes of three, and
/// clients take 16 KiB of headers by default, the message and all others among them.
const MAX_DETAILS_BYTES: usize = 8 << 10;

/// What a status says.
struct Said {
    code: Code,
    reason: String,
    metadata: Vec<(&'static str, String)>,
    problems: Vec<Problem>,
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let said = |code, reason: &str, problem: Problem| Said {
            code,
            reason: reason.to_owned(),
            metadata: Vec::new(),
            problems: vec![problem],
        };
        match error {
            ServiceError::Invalid(problems) => {
                let reason = problems.first().map_or("INVALID_VALUE", |problem| reason_of(problem.kind));
                status(Said {
                    code: Code::InvalidArgument,
                    reason: reason.to_owned(),
                    metadata: Vec::new(),
                    problems,
                })
            }
            ServiceError::NotFound { what, ref id } => {
                let problem = Problem::new(ProblemKind::NotFound, error.to_string());
                let reason = format!("{}_NOT_FOUND", what.to_uppercase());
                status(Said { metadata: vec![("id", short(id))], ..said(Code::NotFound, &reason, problem) })
            }
            ServiceError::Transition(illegal) => {
                let problem = Problem::new(ProblemKind::InvalidValue, illegal.to_string());
                status(Said {
                    metadata: vec![(STATE, illegal.from.to_string()), ("asked", illegal.to.to_string())],
                    ..said(Code::FailedPrecondition, reason::ILLEGAL_TRANSITION, problem)
                })
            }
            ServiceError::Precondition(problem) => {
                status(said(Code::FailedPrecondition, reason_of(problem.kind), problem))
            }
            ServiceError::AlreadyExists(problem) => {
                status(said(Code::AlreadyExists, reason_of(problem.kind), problem))
            }
            ServiceError::Exhausted(problem) => {
                status(said(Code::ResourceExhausted, reason_of(problem.kind), problem))
            }
            ServiceError::Worker(problem) => worker(problem),
            ServiceError::ShuttingDown => {
                let problem = Problem::new(ProblemKind::Worker, "the service is shutting down")
                    .hint("try again when it is back");
                status(said(Code::Unavailable, reason::SHUTTING_DOWN, problem))
            }
            ServiceError::Internal(cause) => incident(&chain(&*cause)),
        }
    }
}

/// INTERNAL for the caller; `cause` for the log, under the same incident id.
pub fn incident(cause: &str) -> Status {
    let incident_id = incident_id();
    error!(incident.id = incident_id, cause, "an internal error was answered");
    let message = format!("internal error; the log of the service says more at incident `{incident_id}`");
    status(Said {
        code: Code::Internal,
        reason: reason::INTERNAL.to_owned(),
        metadata: vec![(INCIDENT_ID, incident_id)],
        problems: vec![Problem::new(ProblemKind::Worker, message)],
    })
}

/// A status with an `ErrorInfo` for a caller who is not let in.
pub(crate) fn refusal(code: Code, reason: &str, message: &str) -> Status {
    status(Said {
        code,
        reason: reason.to_owned(),
        metadata: Vec::new(),
        problems: vec![Problem::new(ProblemKind::InvalidValue, message)],
    })
}

/// What a worker died of was written for people; how it died is in the log too.
fn worker(problem: Problem) -> Status {
    let incident_id = incident_id();
    error!(incident.id = incident_id, %problem, "a worker failed");
    let code = match problem.kind {
        ProblemKind::OutOfMemory => Code::ResourceExhausted,
        ProblemKind::Syntax
        | ProblemKind::UnknownKey
        | ProblemKind::MissingKey
        | ProblemKind::InvalidValue
        | ProblemKind::NotAvailable
        | ProblemKind::NotFound
        | ProblemKind::BrokenModel
        | ProblemKind::UnsupportedModel
        | ProblemKind::BrokenAdapter
        | ProblemKind::BadData
        | ProblemKind::BadTemplate
        | ProblemKind::OutputExists
        | ProblemKind::BrokenCheckpoint
        | ProblemKind::Diverged
        | ProblemKind::Device
        | ProblemKind::Worker
        | ProblemKind::Storage => Code::Internal,
    };
    status(Said {
        code,
        reason: reason_of(problem.kind).to_owned(),
        metadata: vec![(INCIDENT_ID, incident_id)],
        problems: vec![problem],
    })
}

fn status(Said { code, reason, metadata, problems }: Said) -> Status {
    let n_problems = problems.len();
    let metadata: BTreeMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut problems: Vec<Problem> = problems.into_iter().map(shortened).collect();
    loop {
        let details =
            Details { reason: reason.clone(), metadata: metadata.clone(), problems: problems.clone() };
        let status = pack(code, message(&problems, n_problems), details);
        // The message is part of the details too.
        if status.details().len() <= MAX_DETAILS_BYTES || problems.len() <= 1 {
            return status;
        }
        problems.pop();
    }
}

fn message(shown: &[Problem], n_problems: usize) -> String {
    let first = shown.first().map(Problem::to_string).unwrap_or_default();
    let first = cut(&first, MAX_MESSAGE_BYTES);
    match n_problems {
        0 | 1 => first,
        2 => format!("{first}; and 1 more problem"),
        n => format!("{first}; and {} more problems", n - 1),
    }
}

fn shortened(problem: Problem) -> Problem {
    let Problem { kind, field, message, hint } = problem;
    Problem {
        kind,
        field: field.as_deref().map(short),
        message: short(&message),
        hint: hint.as_deref().map(short),
    }
}

fn short(text: &str) -> String {
    cut(text, MAX_TEXT_BYTES)
}

fn cut(text: &str, n_bytes: usize) -> String {
    if text.len() <= n_bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(n_bytes)])
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Found again in the log by eye: short, and without a pattern.
fn incident_id() -> String {
    // An id that is not random still finds its line: the time stands beside it.
    format!("{:012x}", getrandom::u64().unwrap_or_default() >> 16)
}
