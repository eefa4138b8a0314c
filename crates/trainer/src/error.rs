//! What can go wrong in the engine, as a caller needs to tell it apart.

use std::io;
use std::path::{Path, PathBuf};

use ftl_core::Problem;

use crate::plan::Memory;

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The input can't be used; the user can mend it.
    #[error("{}", list(.0))]
    Refused(Vec<Problem>),
    /// The operating system refused a file.
    #[error("can't {action} `{}`", .path.display())]
    File {
        /// What was tried (`read`, `write`, `rename`).
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The loss or the gradient is not a number any more.
    #[error("{0}")]
    Diverged(Problem),
    /// A run took more memory than `device.max_memory` allows. The steps that it took are saved.
    #[error("{problem}")]
    OutOfMemory {
        /// Whose memory it is.
        memory: Memory,
        /// What was measured, the limit, and what would fit.
        problem: Problem,
    },
}

impl TrainError {
    /// For `map_err` on file operations.
    pub fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }
}

impl From<Problem> for TrainError {
    fn from(problem: Problem) -> Self {
        Self::Refused(vec![problem])
    }
}

impl From<Vec<Problem>> for TrainError {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Refused(problems)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
