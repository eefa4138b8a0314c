//! What an error carries besides its code and message: the one format that both sides share.
//!
//! The details of a `google.rpc.Status` (AIP-193) hold an `ErrorInfo`, for INVALID_ARGUMENT a `BadRequest` with one
//! violation per problem, and, where there are problems, an `ftl.v1.ProblemList` with all of them whole. Which code
//! and reason an error has is the server's to say.

use std::collections::BTreeMap;

use ftl_core::{Problem, ProblemKind};
use prost::Message as _;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::{BadRequest, ErrorDetails, StatusExt as _, pb};

use super::{Numbered as _, v1};

/// Who says the reasons (`ErrorInfo.domain`).
pub const DOMAIN: &str = "finetunelab";

/// `ErrorInfo.reason` where no [`ProblemKind`] says it.
pub mod reason {
    /// No job has the id.
    pub const JOB_NOT_FOUND: &str = "JOB_NOT_FOUND";
    /// The job never had a checkpoint of this name.
    pub const CHECKPOINT_NOT_FOUND: &str = "CHECKPOINT_NOT_FOUND";
    /// No dataset has the id.
    pub const DATASET_NOT_FOUND: &str = "DATASET_NOT_FOUND";
    /// The dataset has no report of this number.
    pub const REPORT_NOT_FOUND: &str = "REPORT_NOT_FOUND";
    /// Nothing of a file with this hash has arrived.
    pub const UPLOAD_NOT_FOUND: &str = "UPLOAD_NOT_FOUND";
    /// No imported model has the id.
    pub const MODEL_NOT_FOUND: &str = "MODEL_NOT_FOUND";
    /// No config has the id.
    pub const CONFIG_NOT_FOUND: &str = "CONFIG_NOT_FOUND";
    /// The job's state, which stands at `state` of the metadata, does not allow it.
    pub const ILLEGAL_TRANSITION: &str = "ILLEGAL_TRANSITION";
    /// A fault of the service; `incident_id` of the metadata finds it in its log.
    pub const INTERNAL: &str = "INTERNAL";
    /// The service is going down.
    pub const SHUTTING_DOWN: &str = "SHUTTING_DOWN";
}

/// Key of [`Details::metadata`]: finds the error in the service's log.
pub const INCIDENT_ID: &str = "incident_id";
/// Key of [`Details::metadata`]: the state that a job is in.
pub const STATE: &str = "state";

/// The type of a packed `ftl.v1.ProblemList`.
const PROBLEM_LIST: &str = "type.googleapis.com/ftl.v1.ProblemList";

/// What an error carries besides its code and message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// What sort of error it is, in SCREAMING_SNAKE_CASE: one of [`reason`], or what [`reason_of`] gives. Empty where
    /// another program than ours answered.
    pub reason: String,
    /// What a program may want to know.
    pub metadata: BTreeMap<String, String>,
    /// What is wrong, for the user.
    pub problems: Vec<Problem>,
}

/// The reason of an error that a problem of this kind explains: `OUT_OF_MEMORY`.
pub fn reason_of(kind: ProblemKind) -> &'static str {
    let name = v1::problem::Kind::try_from(kind.number())
        .expect("the number of a kind is one of the generated enum")
        .as_str_name();
    name.strip_prefix("KIND_").unwrap_or(name)
}

/// The status with these details.
pub fn pack(code: Code, message: impl Into<String>, details: Details) -> Status {
    let Details { reason, metadata, problems } = details;
    let message = message.into();
    let mut packed = ErrorDetails::new();
    packed.set_error_info(reason, DOMAIN, metadata.into_iter().collect::<std::collections::HashMap<_, _>>());
    if code == Code::InvalidArgument {
        for problem in &problems {
            let Problem { kind: _, field, message, hint } = problem;
            let description = match hint {
                Some(hint) => format!("{message}; {hint}"),
                None => message.clone(),
            };
            packed.add_bad_request_violation(field.clone().unwrap_or_default(), description);
        }
    }
    let standard = Status::with_error_details(code, message.clone(), packed);
    if problems.is_empty() {
        return standard;
    }
    let mut status = pb::Status::decode(standard.details()).expect("it was encoded a line above");
    let list = v1::ProblemList::from(problems).encode_to_vec();
    status.details.push(Any { type_url: PROBLEM_LIST.to_owned(), value: list });
    Status::with_details(code, message, status.encode_to_vec().into())
}

/// The details of a status. What is not there, or not readable, is empty: the code and the message still stand. Without
/// a problem list, the problems are the violations of a `BadRequest`.
pub fn unpack(status: &Status) -> Details {
    let standard = status.get_error_details();
    let (reason, metadata) = match standard.error_info() {
        Some(info) => (info.reason.clone(), info.metadata.clone().into_iter().collect()),
        None => (String::new(), BTreeMap::new()),
    };
    let problems = problem_list(status.details())
        .or_else(|| standard.bad_request().map(problems_of_violations))
        .unwrap_or_default();
    Details { reason, metadata, problems }
}

fn problem_list(details: &[u8]) -> Option<Vec<Problem>> {
    let status = pb::Status::decode(details).ok()?;
    let packed = status.details.into_iter().find(|any| any.type_url == PROBLEM_LIST)?;
    v1::ProblemList::decode(packed.value.as_slice()).ok()?.try_into().ok()
}

fn problems_of_violations(request: &BadRequest) -> Vec<Problem> {
    let problem = |violation: &tonic_types::FieldViolation| Problem {
        kind: ProblemKind::InvalidValue,
        field: super::page::some_text(violation.field.clone()),
        message: violation.description.clone(),
        hint: None,
    };
    request.field_violations.iter().map(problem).collect()
}
