//! Why a row can't be trained on: a code for programs, and the end of a sentence for a person.

use std::fmt;

use ftl_core::dataset::Code;

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What sort of fault it is.
    pub code: Code,
    /// The end of a sentence that begins with the row's name: ``has no `output` ``.
    pub what: String,
}

impl Fault {
    /// A fault.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
