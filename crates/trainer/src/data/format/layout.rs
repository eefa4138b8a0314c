//! How the rows of a file are laid out: their format, and by which names their columns, keys and roles go.

use ftl_core::spec::Columns;
use ftl_core::spec::resolved::DataFormat;

use super::speaker::Speaker;

/// How the rows of a file are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    /// Their format, which is not `Auto`.
    pub format: DataFormat,
    /// Columns that go by other names than those of the format.
    pub columns: Columns,
    /// How turns are written.
    pub tags: Tags,
    /// What a label of a good or bad answer means.
    pub labels: Labels,
}

/// What becomes of rows whose answer is labelled good or bad, as KTO wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// They are refused with what to do instead.
    Explained,
    /// They are read as if they had none, since the user named the format.
    Ignored,
}

impl Labels {
    /// Where the user asks for this format.
    pub fn where_asked(format: DataFormat) -> Self {
        match format {
            DataFormat::Auto => Self::Explained,
            DataFormat::Messages
            | DataFormat::Sharegpt
            | DataFormat::Alpaca
            | DataFormat::PromptCompletion
            | DataFormat::QuestionAnswer
            | DataFormat::Text
            | DataFormat::Preference
            | DataFormat::Tokens => Self::Ignored,
        }
    }
}

/// How turns of conversations are written where it is not the usual way (LLaMA-Factory's `tags`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// The key that says who speaks; `None`: `role` or `from`.
    pub role: Option<String>,
    /// The key of what is said; `None`: `content`, `value` or `text`.
    pub content: Option<String>,
    /// Further names of speakers. They beat the usual ones.
    pub speakers: Vec<(String, Speaker)>,
    /// Columns of pictures and the like, beside those with the usual names.
    pub media: Vec<String>,
}

impl RowLayout {
    /// Rows of `format` with the usual names, as where a user named the format and nothing else.
    pub fn of(format: DataFormat) -> Self {
        Self { format, columns: Columns::default(), tags: Tags::default(), labels: Labels::Ignored }
    }
}
