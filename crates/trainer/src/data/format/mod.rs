//! Dataset formats: what a row means.
//!
//! [`FileFormat::detect`] says how the rows of a file are laid out, [`example`] reads one. A new format is a line in
//! `detect` and a function in [`example`]. Knows JSON values; files are [`read`](super::read)'s business, tokens come
//! later.

mod conversation;
mod detect;
mod dialogue;
mod fields;
mod instruction;
mod kto;
mod layout;
mod preference;
mod speaker;
mod suggest;
mod tokens;
mod tools;
mod turn;
mod weight;

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use ftl_core::spec::resolved::DataFormat;
use serde_json::Value;

use self::fields::{Fields, kind_of};
use crate::data::fault::Fault;
use crate::data::sample::Sample;

pub use conversation::{Conversation, Message};
pub use detect::{Asked, FileFormat, Other, SHOWN_ROWS, shown};
pub use layout::{Labels, RowLayout, Tags};
pub use speaker::{Role, Speaker};
pub use tokens::unpadded;

/// What a row of a dataset is.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// Messages that a chat template turns into text.
    Conversation(Conversation),
    /// Text that is given, and text that is learned after it.
    PromptCompletion {
        /// Given.
        prompt: String,
        /// Learned.
        completion: String,
    },
    /// An instruction that becomes a conversation where there is a chat template, else Alpaca's own prompt.
    Instruction {
        /// What to do; never empty.
        instruction: String,
        /// What to do it with; may be empty.
        input: String,
        /// The answer.
        output: String,
    },
    /// Running text.
    Text(String),
    /// Tokens from elsewhere.
    Tokens(Sample),
    /// Two answers to one prompt; neither side is a pair.
    Pair {
        /// The prompt with the better answer.
        chosen: Box<Example>,
        /// The prompt with the worse answer.
        rejected: Box<Example>,
    },
}

impl Example {
    /// Both sides of a pair; anything else itself.
    pub fn sides(&self) -> Vec<&Self> {
        match self {
            Self::Pair { chosen, rejected } => vec![chosen, rejected],
            Self::Conversation(_)
            | Self::PromptCompletion { .. }
            | Self::Instruction { .. }
            | Self::Text(_)
            | Self::Tokens(_) => vec![self],
        }
    }
}

/// Reads `row`, and says what is worth knowing of it: labels that are not heeded, fields that the format has no place
/// for, keys in other capitals.
///
/// Roles in an unusual order are no fault here.
///
/// # Errors
/// Why the row can't be trained on.
pub fn example(row: &Value, layout: &RowLayout) -> Result<(Example, Vec<Fault>), Fault> {
    let fields = match (row, layout.format) {
        (Value::Object(fields), _) => fields,
        (Value::Array(_), DataFormat::Messages | DataFormat::Sharegpt) => {
            return Ok((Example::Conversation(dialogue::bare(row, layout)?), Vec::new()));
        }
        (other, format) => {
            let what = format!("is {}; expected an object with {}", kind_of(other), detect::keys_for(format));
            return Err(Fault::new(Code::NotAnObject, what));
        }
    };
    let fields = Fields::new(fields, layout);
    match read(&fields).and_then(|example| kto::check(&fields).map(|()| example)) {
        Ok(example) => Ok((example, fields.into_notices())),
        Err(fault) => Err(detect::of_another_format(row, layout).unwrap_or(fault)),
    }
}

fn read(fields: &Fields<'_>) -> Result<Example, Fault> {
    match fields.layout.format {
        DataFormat::Messages | DataFormat::Sharegpt => {
            dialogue::conversation(fields).map(Example::Conversation)
        }
        DataFormat::Alpaca => instruction::alpaca(fields),
        DataFormat::PromptCompletion => instruction::prompt_completion(fields),
        DataFormat::QuestionAnswer => instruction::question_answer(fields),
        DataFormat::Text => text(fields),
        DataFormat::Tokens if fields.own("chosen_input_ids").is_some() => preference::pair(fields),
        DataFormat::Tokens => tokens::sample(fields).map(Example::Tokens),
        DataFormat::Preference => preference::pair(fields),
        DataFormat::Auto => Err(Fault::new(Code::UnknownFormat, "has no format yet")),
    }
}

fn text(fields: &Fields<'_>) -> Result<Example, Fault> {
    let (key, text) = fields.text(Field::Text, "`text`")?;
    fields::not_blank(key, text)?;
    fields.unused(&[Field::System, Field::Tools, Field::History]);
    Ok(Example::Text(text.to_owned()))
}
