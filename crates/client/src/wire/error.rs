//! What is wrong with a message that arrived.

use ftl_core::{Problem, ProblemKind};

/// A message that has no meaning in core's types.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}.{field}: {what}")]
pub struct WireError {
    /// The outermost message: `CreateJobRequest`.
    pub message: &'static str,
    /// The field in it, in `snake_case`: `spec.method.kind`.
    pub field: String,
    /// What is wrong, without a final stop.
    pub what: String,
}

impl WireError {
    /// An error at a field of a message.
    pub fn new(message: &'static str, field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { message, field: field.into(), what: what.into() }
    }

    /// A field that must be there is not.
    pub fn missing(message: &'static str, field: impl Into<String>) -> Self {
        Self::new(message, field, "must be given")
    }

    /// The same error, told from the message around: `TrainSpec.optim` becomes `JobSpec.train.optim`.
    #[must_use]
    pub fn inside(self, message: &'static str, field: impl AsRef<str>) -> Self {
        let field = format!("{}.{}", field.as_ref(), self.field);
        Self { message, field, what: self.what }
    }
}

/// What the sender is told: the field of the request, without the message's name.
impl From<WireError> for Problem {
    fn from(error: WireError) -> Self {
        let WireError { message: _, field, what } = error;
        Self::new(ProblemKind::InvalidValue, what).at(field)
    }
}

/// The value of a field that must be there.
///
/// # Errors
/// [`WireError`] if it is not, or has no meaning.
pub fn required<W, C>(message: &'static str, field: &str, value: Option<W>) -> Result<C, WireError>
where
    C: TryFrom<W>,
    C::Error: Into<WireError>,
{
    optional(message, field, value)?.ok_or_else(|| WireError::missing(message, field))
}

/// The value of a field that may be absent.
pub(super) fn optional<W, C>(
    message: &'static str,
    field: &str,
    value: Option<W>,
) -> Result<Option<C>, WireError>
where
    C: TryFrom<W>,
    C::Error: Into<WireError>,
{
    value.map(|value| C::try_from(value).map_err(|error| error.into().inside(message, field))).transpose()
}

/// The values of a repeated field. The field of an error has the place of the value, from 0: `problems[2].kind`.
///
/// # Errors
/// [`WireError`] for the first value that has no meaning.
pub fn each<W, C>(message: &'static str, field: &str, values: Vec<W>) -> Result<Vec<C>, WireError>
where
    C: TryFrom<W>,
    C::Error: Into<WireError>,
{
    let convert = |(place, value)| {
        C::try_from(value).map_err(|error| error.into().inside(message, format!("{field}[{place}]")))
    };
    values.into_iter().enumerate().map(convert).collect()
}

/// An id in its text.
pub(super) fn id<I: TryFrom<String, Error = Problem>>(
    message: &'static str,
    field: &str,
    text: String,
) -> Result<I, WireError> {
    I::try_from(text).map_err(|problem| WireError::new(message, field, problem.message))
}

/// Where nothing can be wrong, the way in is `From`.
impl From<std::convert::Infallible> for WireError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
