//! The logits of rows as one tensor in a safetensors file, written piece by piece: it may be far larger than memory.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ftl_core::{Problem, ProblemKind};
use serde_json::json;

use crate::error::TrainError;

/// The tensor's name.
const LOGITS: &str = "logits";
/// Tensors begin at a multiple of this, so that a map of the file is aligned.
const ALIGNMENT: usize = 8;
const F32_BYTES: usize = size_of::<f32>();

/// A file with one tensor `logits`, f32 `[rows, tokens, vocab]`; zero where nothing was written.
#[derive(Debug)]
pub struct LogitsFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    start: u64,
    shape: [usize; 3],
}

impl LogitsFile {
    /// Begins the file, under another name until [`finish`](Self::finish).
    ///
    /// # Errors
    /// A size beyond what a file can have, or what the operating system says.
    pub fn create(path: &Path, shape: [usize; 3]) -> Result<Self, TrainError> {
        let n_bytes = shape.iter().try_fold(F32_BYTES as u64, |n, size| n.checked_mul(*size as u64));
        let Some(n_bytes) = n_bytes.filter(|n| i64::try_from(*n).is_ok_and(|n| n < i64::MAX / 2)) else {
            let message = format!("logits of shape {shape:?} are more than a file can hold");
            return Err(Problem::new(ProblemKind::InvalidValue, message).at("logits").into());
        };
        let mut header = json!({
            "__metadata__": {"format": "pt"},
            LOGITS: {"dtype": "F32", "shape": shape, "data_offsets": [0, n_bytes]},
        })
        .to_string()
        .into_bytes();
        header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let mut file = File::create(&partial).map_err(TrainError::file("create", &partial))?;
        let mut begin = || {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            let start = file.stream_position()?;
            // What is not written stays zero, without taking room on most file systems.
            file.set_len(start + n_bytes)?;
            Ok(start)
        };
        let start = begin().map_err(TrainError::file("write", &partial))?;
        Ok(Self { path: path.to_owned(), partial, file, start, shape })
    }

    /// Writes the logits of consecutive tokens from `[row, token]` on.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&mut self, [row, token]: [usize; 2], logits: &[f32]) -> Result<(), TrainError> {
        let [n_rows, n_tokens, vocab] = self.shape;
        let n_new = logits.len() / vocab;
        assert!(row < n_rows && token + n_new <= n_tokens && logits.len().is_multiple_of(vocab));
        let offset = self.start + ((row * n_tokens + token) * vocab * F32_BYTES) as u64;
        let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        let mut put = || {
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.write_all(&bytes)
        };
        put().map_err(TrainError::file("write", &self.partial))
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(self) -> Result<(), TrainError> {
        let Self { path, partial, file, .. } = self;
        file.sync_all().map_err(TrainError::file("write", &partial))?;
        fs::rename(&partial, &path).map_err(TrainError::file("rename", &partial))
    }
}
