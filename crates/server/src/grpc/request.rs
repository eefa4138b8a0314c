//! What every request must fulfil. Nothing here asks whether what a request names exists.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use ftl_client::wire::page;
use ftl_core::{PageRequest, Problem, ProblemKind};

use crate::error::ServiceError;
use crate::resolve::absolute;

/// Longest name in characters: a line of a list.
const MAX_NAME_CHARS: usize = 200;
/// Longest request id in characters: three times a UUID.
const MAX_REQUEST_ID_CHARS: usize = 128;

/// An id from its text.
///
/// # Errors
/// [`ServiceError::Invalid`] at `field`.
pub(super) fn id<I: FromStr<Err = Problem>>(field: &'static str, text: &str) -> Result<I, ServiceError> {
    if text.is_empty() {
        return Err(missing(field, "the id is missing"));
    }
    text.parse().map_err(|problem: Problem| problem.at(field).into())
}

/// A name that a person gives.
///
/// # Errors
/// [`ServiceError::Invalid`] at `name`.
pub(super) fn name(text: String) -> Result<String, ServiceError> {
    let refused = |message: String, hint: &str| {
        Err(Problem::new(ProblemKind::InvalidValue, message).at("name").hint(hint).into())
    };
    let n_chars = text.chars().count();
    if text.trim().is_empty() {
        return refused("the name is empty".to_owned(), "give a name");
    }
    if n_chars > MAX_NAME_CHARS {
        return refused(format!("the name has {n_chars} characters, at most {MAX_NAME_CHARS}"), "shorten it");
    }
    if text.contains(char::is_control) {
        return refused(
            "the name holds a line break or another control character".to_owned(),
            "keep it to one line",
        );
    }
    Ok(text)
}

/// A name that a person gives, or else one made from the last part of `path`.
///
/// # Errors
/// [`ServiceError::Invalid`] at `name`.
pub(super) fn name_or_file_name(text: String, path: &Path) -> Result<String, ServiceError> {
    if !text.is_empty() {
        return name(text);
    }
    let last = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok(last.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect())
}

/// What a repeated request is recognised by.
///
/// # Errors
/// [`ServiceError::Invalid`] at `request_id`.
pub(super) fn request_id(text: Option<String>) -> Result<Option<String>, ServiceError> {
    let Some(text) = text else { return Ok(None) };
    let n_chars = text.chars().count();
    let message = match n_chars {
        0 => "the request id is empty".to_owned(),
        n if n > MAX_REQUEST_ID_CHARS => {
            format!("the request id has {n} characters, at most {MAX_REQUEST_ID_CHARS}")
        }
        _ => return Ok(Some(text)),
    };
    Err(Problem::new(ProblemKind::InvalidValue, message)
        .at("request_id")
        .hint("send a UUID, or leave it out")
        .into())
}

/// A path on this machine.
///
/// # Errors
/// [`ServiceError::Invalid`] at `path`.
pub(super) fn path(text: String) -> Result<PathBuf, ServiceError> {
    if text.is_empty() {
        return Err(missing("path", "the path is missing"));
    }
    let path = PathBuf::from(text);
    absolute(&path, "path")?;
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Problem::new(ProblemKind::InvalidValue, "the path holds a zero byte").at("path").into());
    }
    Ok(path)
}

/// Which page is asked for.
pub(super) fn page(page_size: u32, page_token: String) -> PageRequest {
    page::request(page_size, page_token)
}

/// The token of a page that was not given out.
pub(super) fn bad_page_token() -> ServiceError {
    Problem::new(
        ProblemKind::InvalidValue,
        "the page token was not given out for this list; begin with the first page",
    )
    .at("page_token")
    .into()
}

/// Something that must be given is not.
pub(super) fn missing(field: &'static str, message: &str) -> ServiceError {
    Problem::new(ProblemKind::MissingKey, message).at(field).into()
}
