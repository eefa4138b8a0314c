//! Errors: what a server packs is what a client unpacks, and what is made of a status that has no details.

use std::collections::BTreeMap;

use ftl_client::ClientError;
use ftl_client::wire::details::{DOMAIN, Details, INCIDENT_ID, STATE, pack, reason, reason_of, unpack};
use ftl_core::{Problem, ProblemKind};
use tonic::{Code, ConnectError, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

fn problems() -> Vec<Problem> {
    vec![
        Problem::new(ProblemKind::InvalidValue, "0 is out of range").at("adapter.r").hint("8 to 64 is usual"),
        Problem::new(ProblemKind::NotFound, "there is no file `x`"),
    ]
}

fn details() -> Details {
    let metadata = BTreeMap::from([(STATE.to_owned(), "RUNNING".to_owned())]);
    Details { reason: reason::ILLEGAL_TRANSITION.to_owned(), metadata, problems: problems() }
}

#[test]
fn what_is_packed_is_unpacked_whole() {
    for code in [Code::InvalidArgument, Code::FailedPrecondition, Code::Internal] {
        let status = pack(code, "two problems", details());
        assert_eq!((status.code(), status.message()), (code, "two problems"));
        assert_eq!(unpack(&status), details());
    }
    let other = Details { problems: Vec::new(), ..details() };
    assert_ne!(unpack(&pack(Code::Internal, "", details())), other);
    assert_eq!(unpack(&pack(Code::Internal, "", other.clone())), other);
}

#[test]
fn other_languages_read_the_standard_details() {
    let status = pack(Code::InvalidArgument, "two problems", details());
    let info = status.get_details_error_info().expect("every error has one");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("ILLEGAL_TRANSITION", DOMAIN));
    assert_eq!(info.metadata.get("state").map(String::as_str), Some("RUNNING"));
    let request = status.get_details_bad_request().expect("a bad request has one");
    let violations: Vec<_> = request
        .field_violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.description.as_str()))
        .collect();
    assert_eq!(
        violations,
        [("adapter.r", "0 is out of range; 8 to 64 is usual"), ("", "there is no file `x`")]
    );
    let elsewhere = pack(Code::FailedPrecondition, "two problems", details());
    assert!(elsewhere.get_details_bad_request().is_none(), "only a bad request has one");
}

#[test]
fn reasons_are_the_kinds_of_problems() {
    assert_eq!(reason_of(ProblemKind::OutOfMemory), "OUT_OF_MEMORY");
    assert_eq!(reason_of(ProblemKind::Syntax), "SYNTAX");
}

#[test]
fn each_code_is_an_error_of_its_own() {
    let error = |code| ClientError::from(pack(code, "said", details()));
    let first = || problems().swap_remove(0);
    let text = || "said".to_owned();
    let cases = [
        (Code::InvalidArgument, ClientError::Refused(problems())),
        (Code::OutOfRange, ClientError::Refused(problems())),
        (Code::NotFound, ClientError::NotFound(text())),
        (Code::FailedPrecondition, ClientError::Precondition(problems())),
        (Code::Aborted, ClientError::Precondition(problems())),
        (Code::AlreadyExists, ClientError::AlreadyExists(first())),
        (Code::ResourceExhausted, ClientError::Exhausted(first())),
        (Code::Unavailable, ClientError::Unavailable(text())),
        (Code::DeadlineExceeded, ClientError::TimedOut(text())),
        (Code::PermissionDenied, ClientError::Denied(text())),
        (Code::Unauthenticated, ClientError::Denied(text())),
        (Code::Unimplemented, ClientError::Protocol("the server does not know this call: said".to_owned())),
        (Code::Ok, ClientError::Protocol(text())),
    ];
    for (code, expected) in cases {
        assert_eq!(error(code), expected, "{code:?}");
    }
    for code in [Code::Internal, Code::Unknown, Code::DataLoss, Code::Cancelled] {
        let message = "adapter.r: 0 is out of range; 8 to 64 is usual\nthere is no file `x`".to_owned();
        assert_eq!(error(code), ClientError::Internal { incident: None, message }, "{code:?}");
    }
}

#[test]
fn a_server_without_details_is_understood_by_code_and_message() {
    let problem = Problem::new(ProblemKind::InvalidValue, "said");
    let cases = [
        (Code::InvalidArgument, ClientError::Refused(vec![problem.clone()])),
        (Code::FailedPrecondition, ClientError::Precondition(vec![problem.clone()])),
        (Code::AlreadyExists, ClientError::AlreadyExists(problem.clone())),
        (Code::ResourceExhausted, ClientError::Exhausted(problem)),
        (Code::NotFound, ClientError::NotFound("said".to_owned())),
        (Code::Internal, ClientError::Internal { incident: None, message: "said".to_owned() }),
    ];
    for (code, expected) in cases {
        assert_eq!(ClientError::from(Status::new(code, "said")), expected, "{code:?}");
        let garbage = Status::with_details(code, "said", vec![0xff, 0xff, 0xff].into());
        assert_eq!(ClientError::from(garbage), expected, "{code:?} with details that are none");
    }
    assert_eq!(
        ClientError::from(Status::new(Code::NotFound, "")).to_string(),
        "the server answers NotFound without a word"
    );
}

#[test]
fn violations_stand_in_for_a_missing_problem_list() {
    let standard = ErrorDetails::with_bad_request_violation("page_token", "is from another list");
    let status = Status::with_error_details(Code::InvalidArgument, "bad", standard);
    let expected = Problem::new(ProblemKind::InvalidValue, "is from another list").at("page_token");
    assert_eq!(ClientError::from(status), ClientError::Refused(vec![expected]));
}

#[test]
fn what_fails_on_the_way_is_told_from_what_a_server_says() {
    use std::io::{Error, ErrorKind};
    let connecting =
        |kind| Status::from_error(Box::new(ConnectError(Box::new(Error::new(kind, "said by the system")))));
    assert_eq!(
        ClientError::from(connecting(ErrorKind::ConnectionRefused)),
        ClientError::Unavailable("nobody answers at the server's address: said by the system".to_owned())
    );
    assert_eq!(
        ClientError::from(connecting(ErrorKind::PermissionDenied)),
        ClientError::Denied("the server's address is not ours to talk to: said by the system".to_owned())
    );
    let broken = Status::from_error(Box::new(Error::new(ErrorKind::BrokenPipe, "said by the system")));
    assert_eq!(
        ClientError::from(broken),
        ClientError::Unavailable(
            "the connection to the server's address broke: said by the system".to_owned()
        )
    );
}

#[test]
fn errors_are_told_in_sentences() {
    let incident = Details {
        reason: reason::INTERNAL.to_owned(),
        metadata: BTreeMap::from([(INCIDENT_ID.to_owned(), "7f3a".to_owned())]),
        problems: Vec::new(),
    };
    let cases = [
        (
            ClientError::from(pack(Code::Internal, "the service failed", incident)),
            "the service failed; the server's log has more under `7f3a`",
        ),
        (
            ClientError::Refused(problems()),
            "adapter.r: 0 is out of range; 8 to 64 is usual\nthere is no file `x`",
        ),
        (
            ClientError::Protocol("the server does not know this call".to_owned()),
            "the server does not know this call; is the server of this version?",
        ),
        (ClientError::NotFound("there is no job `x`".to_owned()), "there is no job `x`"),
    ];
    for (error, expected) in cases {
        assert_eq!(error.to_string(), expected);
    }
}
