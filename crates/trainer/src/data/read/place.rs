//! Where rows stand, and files that are refused as a whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ftl_core::dataset::Code;
use ftl_core::{Problem, ProblemKind};

/// Where a row stands. Written as ``row 7 of `train.jsonl` ``; in JSON Lines the number is that of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// Counts from 1.
    pub number: u64,
    /// The line that the row begins in, from 1, where rows are not lines but the file has some.
    pub line: Option<u64>,
}

impl Place {
    /// A problem with this row; `what` ends the sentence that begins with its name.
    pub fn problem(&self, what: impl fmt::Display) -> Problem {
        Problem::new(ProblemKind::BadData, format!("{self} {what}")).at(self.at())
    }

    /// `path:line`, as editors understand it; where a file has no lines, `path:row`.
    pub fn at(&self) -> String {
        format!("{}:{}", self.path.display(), self.line.unwrap_or(self.number))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} of `{}`", self.number, file_name(&self.path))
    }
}

/// Why a file can't be read, or not any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What sort of fault it is, for programs.
    pub code: Code,
    /// The same for a person.
    pub problem: Problem,
}

impl Refusal {
    /// The file is no data, or damaged; `what` ends the sentence that begins with its name.
    pub(super) fn new(code: Code, path: &Path, what: impl fmt::Display) -> Self {
        let message = format!("`{}` {what}", file_name(path));
        Self { code, problem: Problem::new(ProblemKind::BadData, message).at(path.display().to_string()) }
    }

    /// The file has no rows.
    pub(super) fn empty(path: &Path) -> Self {
        Self::new(Code::EmptyFile, path, "is empty")
    }

    /// Names a line of the file.
    pub(super) fn in_line(self, path: &Path, line: u64) -> Self {
        Self { problem: self.problem.at(format!("{}:{line}", path.display())), ..self }
    }

    /// Says what to do.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { problem: self.problem.hint(hint), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        refusal.problem
    }
}

/// The last part of a path.
pub fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
