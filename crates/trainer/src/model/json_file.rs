//! Small JSON files beside weights (`config.json`, an index, a manifest), read with a size limit, and written. What their keys
//! mean is their reader's business.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::TrainError;

/// Larger than any index of weights seen (some 20 MB for the largest mixtures of experts).
const MAX_JSON_BYTES: u64 = 128 << 20;

/// How a git-lfs pointer begins (git-lfs specification, version 1).
const LFS_POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Reads a file that must hold one JSON object.
///
/// # Errors
/// A [`Problem`] of kind `NotFound` if the file is missing or unreadable, of kind `broken` if it is too large, a
/// git-lfs pointer, or not a JSON object.
pub fn read_object(path: &Path, broken: ProblemKind) -> Result<Map<String, Value>, Problem> {
    let bytes = read_bytes(path, broken)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(Problem::new(broken, "holds JSON, but not an object `{…}`").at(path.display().to_string()))
        }
        Err(_) if is_lfs_pointer(&bytes) => Err(lfs_pointer(path, broken)),
        Err(error) => {
            Err(Problem::new(broken, format!("is not JSON: {error}")).at(path.display().to_string()))
        }
    }
}

/// Writes a value as indented JSON.
///
/// # Errors
/// [`TrainError::File`] if the operating system refuses.
///
/// # Panics
/// If the value has no JSON form, such as a map whose keys are no strings.
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("the value has a JSON form");
    bytes.push(b'\n');
    fs::write(path, bytes).map_err(TrainError::file("write", path))
}

/// Whether these are the first bytes of a git-lfs pointer, which stands in place of a file that was not fetched.
pub fn is_lfs_pointer(start: &[u8]) -> bool {
    start.starts_with(LFS_POINTER_START)
}

/// The refusal of a git-lfs pointer.
pub fn lfs_pointer(path: &Path, broken: ProblemKind) -> Problem {
    Problem::new(broken, "is a git-lfs pointer, not the file itself")
        .at(path.display().to_string())
        .hint("run `git lfs pull` in the directory, or download the file itself")
}

/// The refusal of a file that the operating system does not give.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    let message = match error.kind() {
        ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("can't be read: {error}"),
    };
    Problem::new(ProblemKind::NotFound, message).at(path.display().to_string())
}

fn read_bytes(path: &Path, broken: ProblemKind) -> Result<Vec<u8>, Problem> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut bytes = Vec::new();
    file.take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_JSON_BYTES {
        return Err(Problem::new(broken, format!("is larger than {MAX_JSON_BYTES} bytes"))
            .at(path.display().to_string()));
    }
    Ok(bytes)
}
