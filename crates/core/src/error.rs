//! What a person is told when something they gave can't be used.
//!
//! A [`Problem`] is written for the user: which value, against which limit, and what to do. Paths of other
//! people, SQL and driver messages stay in the log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One reason why an input is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What sort of fault it is; a caller branches on this.
    pub kind: ProblemKind,
    /// The spec key (`train.learning_rate`), file or file line at fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// One sentence, lower case, without a final stop: what happened and against which limit.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The sorts of [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The spec file is not readable as TOML, JSON or YAML.
    Syntax,
    /// A key that no section has.
    UnknownKey,
    /// A key that must be given is missing.
    MissingKey,
    /// A value of the wrong type, out of range, or in conflict with another.
    InvalidValue,
    /// A known key or value whose function this version does not have.
    NotAvailable,
    /// A file or directory that does not exist or can't be read.
    NotFound,
    /// A model directory that is damaged or contradicts itself.
    BrokenModel,
    /// A model architecture that the engine does not have.
    UnsupportedModel,
    /// An adapter directory that is damaged or does not fit the model.
    BrokenAdapter,
    /// A dataset, or a row of one, that can't be trained on.
    BadData,
    /// A chat template that can't be compiled or rendered.
    BadTemplate,
    /// An output directory that already holds something.
    OutputExists,
    /// A checkpoint that is damaged or belongs to another run.
    BrokenCheckpoint,
    /// A loss or gradient that is no number any more.
    Diverged,
    /// A device that is not there or can't be used.
    Device,
    /// Too little memory, on the GPU or in the machine.
    OutOfMemory,
    /// A worker process that could not be started or died.
    Worker,
    /// The disk is full, or the operating system refused a file.
    Storage,
}

impl Problem {
    /// A problem without a field or a hint.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { kind, field: None, message: message.into(), hint: None }
    }

    /// Names the key, file or line at fault.
    #[must_use]
    pub fn at(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind: _, field, message, hint } = self;
        if let Some(field) = field {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)?;
        match hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
