//! Runs the program `ftl-train`, and reads the reference numbers under `FTL_FIXTURES`.

#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program.
pub fn ftl_train<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_ftl-train")).args(args).output().unwrap();
    Ended {
        code: output.status.code().expect("the program ends by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the program with `--json` and returns the document.
pub fn json<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Value {
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).chain(["--json".into()]);
    let Ended { code, stdout, stderr } = ftl_train(args);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Runs the program, which must refuse, and returns the first problem's field and message.
pub fn refused<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> (String, String) {
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).chain(["--json".into()]);
    let Ended { code, stdout, stderr } = ftl_train(args);
    assert_eq!(code, 2, "{stdout}{stderr}");
    assert!(!stderr.is_empty());
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let problem = &document["problem"];
    assert!(problem["kind"].is_string());
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    (text("field"), text("message"))
}

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

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The tensors of a safetensors file.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn read(path: &Path) -> Self {
        Self(fs::read(path).unwrap())
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().shape().to_vec()
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32);
        tensor.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Whole numbers by rows; a vector is one row.
    pub fn rows(&self, name: &str) -> Vec<Vec<i64>> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I64);
        let width = *tensor.shape().last().unwrap();
        let numbers: Vec<i64> =
            tensor.data().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect();
        numbers.chunks(width).map(<[i64]>::to_vec).collect()
    }
}

pub fn largest_difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}
