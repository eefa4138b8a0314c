//! Why a row can't be trained on: a code for programs, and the end of a sentence for a person.

use std::fmt;

use ftl_core::dataset::{Code, Severity};

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What sort of fault it is.
    pub code: Code,
    /// The end of a sentence that begins with the row's name: ``has no `output` ``.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), hint: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Whether a row with it can't be trained on.
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }

    /// The same of a part of the row: `name` is read before what is wrong, as in ``has a message 3 that …``.
    #[must_use]
    pub fn within(self, name: impl fmt::Display) -> Self {
        Self { what: format!("{name} {}", self.what), ..self }
    }
}

/// For callers that need the sentence alone.
impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.what
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
