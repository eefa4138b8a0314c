//! Rows of messages, as OpenAI or ShareGPT write them, with a system message and tools of their own columns.

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use ftl_core::spec::resolved::DataFormat;
use serde_json::Value;

use super::conversation::{Conversation, Message, no_messages};
use super::fields::{Fields, Found};
use super::layout::RowLayout;
use super::speaker::{Role, Spelling};
use super::tools::{Bare, read_tools};
use super::turn::Style;
use crate::data::fault::Fault;

/// Columns of what is no text, beside messages that speak of it.
const MEDIA: [&str; 6] = ["images", "image", "videos", "video", "audios", "audio"];
/// Columns of thoughts, which conversations keep in their messages.
pub(super) const THOUGHTS: [&str; 6] =
    ["reasoning", "reasoning_content", "thinking", "thought", "chain_of_thought", "rationale"];

impl RowLayout {
    /// How its turns are written.
    pub(super) fn style(&self) -> Style<'_> {
        let spelling = match self.format {
            // Pairs come from both worlds.
            DataFormat::Sharegpt | DataFormat::Preference => Spelling::ShareGpt,
            DataFormat::Auto
            | DataFormat::Messages
            | DataFormat::Alpaca
            | DataFormat::PromptCompletion
            | DataFormat::QuestionAnswer
            | DataFormat::Text
            | DataFormat::Tokens => Spelling::OpenAi,
        };
        Style { spelling, tags: &self.tags }
    }
}

/// A row with a list of messages.
pub(super) fn conversation(fields: &Fields<'_>) -> Result<Conversation, Fault> {
    let found = fields.needed(Field::Messages, "")?;
    text_only(fields)?;
    fields.unused(&[Field::History, Field::Input]);
    let messages = fields.layout.style().messages(found.key, &found.parsed())?;
    whole(fields, messages)
}

/// A row that is a list of messages.
pub(super) fn bare(messages: &Value, layout: &RowLayout) -> Result<Conversation, Fault> {
    judged(Conversation { messages: layout.style().messages("messages", messages)?, tools: None })
}

/// The messages with the system message and the tools of the row.
pub(super) fn whole(fields: &Fields<'_>, messages: Vec<Message>) -> Result<Conversation, Fault> {
    if messages.is_empty() {
        return Err(no_messages());
    }
    judged(Conversation { messages: with_system(fields, messages)?, tools: tools(fields)? })
}

/// The tools of the row's own column.
pub(super) fn tools(fields: &Fields<'_>) -> Result<Option<Value>, Fault> {
    let Some(Found { key, value }) = fields.find(Field::Tools) else { return Ok(None) };
    let bare = match fields.layout.format {
        // OpenAI's older `functions` are bare too.
        DataFormat::Messages if !key.eq_ignore_ascii_case("functions") => Bare::Kept,
        DataFormat::Auto
        | DataFormat::Messages
        | DataFormat::Sharegpt
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer
        | DataFormat::Text
        | DataFormat::Preference
        | DataFormat::Tokens => Bare::Wrapped,
    };
    read_tools(key, value, bare)
}

/// A system message of its own column goes first; one that the messages begin with beats it, as in LLaMA-Factory.
pub(super) fn with_system(fields: &Fields<'_>, mut messages: Vec<Message>) -> Result<Vec<Message>, Fault> {
    let Some(text) = fields.optional_text(Field::System)?.filter(|text| !text.trim().is_empty()) else {
        return Ok(messages);
    };
    match messages.first() {
        Some(first) if matches!(first.role, Role::System | Role::Developer) => {
            if first.content() != text
                && let Some(found) = fields.find(Field::System)
            {
                let what = format!("has a `{}`, but its messages begin with another one", found.key);
                fields.notice(Code::FieldIgnored, what);
            }
        }
        Some(_) | None => messages.insert(0, Message::new(Role::System, text)),
    }
    Ok(messages)
}

/// Refuses rows with pictures and the like: what their messages say of them can't be learned without.
pub(super) fn text_only(fields: &Fields<'_>) -> Result<(), Fault> {
    match MEDIA.iter().find_map(|key| fields.other(key)) {
        Some(found) => {
            let what = format!("has `{}`; only text can be trained on", found.key);
            Err(Fault::new(Code::NotText, what))
        }
        None => Ok(()),
    }
}

/// Refuses a conversation in which the assistant says nothing.
fn judged(conversation: Conversation) -> Result<Conversation, Fault> {
    let messages = &conversation.messages;
    if messages.is_empty() {
        return Err(no_messages());
    }
    let mut answers = messages.iter().filter(|message| message.role == Role::Assistant).peekable();
    if answers.peek().is_none() {
        return Err(Fault::new(
            Code::NoAnswer,
            "has no message of the assistant, so there is nothing to learn",
        ));
    }
    if !answers.any(Message::says_something) {
        let what = "has an empty answer: the assistant says nothing in its messages";
        return Err(Fault::new(Code::EmptyField, what));
    }
    Ok(conversation)
}
