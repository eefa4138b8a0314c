//! Directories for the `files_*` tests: third-party models under `FTL_DATA`, reference numbers under
//! `FTL_FIXTURES`, and damaged copies of them.

#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use ftl_core::Problem;
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A path under the directory that the variable names; says that the test is skipped where it is unset.
pub fn from_env(variable: &str, path: &str) -> Option<PathBuf> {
    match std::env::var_os(variable) {
        Some(root) => Some(Path::new(&root).join(path)),
        None => {
            eprintln!("skipped: {variable} is not set");
            None
        }
    }
}

/// A third-party file or directory.
pub fn data(path: &str) -> Option<PathBuf> {
    from_env("FTL_DATA", path)
}

/// A reference file or directory.
pub fn fixture(path: &str) -> Option<PathBuf> {
    from_env("FTL_FIXTURES", path)
}

/// A writable copy of the files of a directory.
pub fn copy_of(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::write(copy.path().join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    copy
}

/// The object in a JSON file.
pub fn read_json(path: &Path) -> Map<String, Value> {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Changes one key of a JSON file.
pub fn set_key(path: &Path, key: &str, value: Value) {
    let mut json = read_json(path);
    json.insert(key.to_owned(), value);
    fs::write(path, serde_json::to_vec_pretty(&json).unwrap()).unwrap();
}

/// Problems as the user reads them, one on a line.
pub fn text(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// Bytes of a safetensors file with this header and so many bytes of tensors.
pub fn safetensors(header: &Value, n_bytes: usize) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(vec![0; n_bytes]);
    bytes
}
