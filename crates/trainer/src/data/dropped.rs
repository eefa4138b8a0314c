//! What a chat template leaves out of a conversation that it otherwise renders: earlier thoughts, tools that it does not
//! know, a part of a text. White space at the ends of a text is no loss.

use serde_json::Value;

use super::format::{Conversation, Message};
use super::template::{ChatTemplate, Part, THOUGHTS, parts_of};
use super::turns::Turns;

/// What is missing in `text`, the rendering of `conversation`, as the end of a sentence that begins with the row's name.
pub(super) fn dropped(
    template: &ChatTemplate,
    conversation: &Conversation,
    (text, turns): (&str, &Turns<'_>),
) -> Option<String> {
    if let Some(tool) = missing_tool(template, conversation, text) {
        return Some(match tool {
            Some(name) => format!("has a tool `{name}` that the chat template leaves out"),
            None => "has tools that the chat template leaves out".to_owned(),
        });
    }
    if all_there(conversation, text) {
        return None;
    }
    let (index, part) = match turns.trace() {
        Some(trace) => *trace.lost.first()?,
        None => without_trace(conversation, text)?,
    };
    let what = match part {
        Part::Content => "a part of message",
        Part::Thought => "the thoughts of message",
        Part::Call => "a call in message",
    };
    let role = conversation.messages[index].role;
    Some(format!("has {what} {} (role `{role}`) left out by the chat template", index + 1))
}

/// The name of the first tool that is not in `text`; `Some(None)`: tools without names that the template can't print.
fn missing_tool<'a>(
    template: &ChatTemplate,
    conversation: &'a Conversation,
    text: &str,
) -> Option<Option<&'a str>> {
    let tools = conversation.tools.as_ref()?.as_array()?;
    let name_of = |tool: &'a Value| tool.get("function").unwrap_or(tool).get("name").and_then(Value::as_str);
    if !template.mentions("tools") {
        return Some(tools.first().and_then(name_of));
    }
    tools.iter().filter_map(name_of).find(|name| !text.contains(*name)).map(Some)
}

/// Whether every text of every message is in `text`, one after the other. Texts that are not may be there in another
/// way of writing or order.
fn all_there(conversation: &Conversation, text: &str) -> bool {
    let mut rest = text;
    conversation.messages.iter().all(|message| {
        let has_more = message.calls() || THOUGHTS.iter().any(|key| message.fields().contains_key(*key));
        let content = message.content().trim();
        let place = rest.find(content);
        if let Some(place) = place {
            rest = &rest[place + content.len()..];
        }
        !has_more && place.is_some()
    })
}

fn without_trace(conversation: &Conversation, text: &str) -> Option<(usize, Part)> {
    let messages = conversation.messages.iter().enumerate();
    messages.into_iter().find_map(|(index, message)| missing_part(message, text).map(|part| (index, part)))
}

fn missing_part(message: &Message, text: &str) -> Option<Part> {
    let is_missing = |part: &str| !is_written(part, text);
    if parts_of(message.content()).any(is_missing) {
        return Some(Part::Content);
    }
    let field = |key: &str| message.fields().get(key);
    let thought = THOUGHTS.iter().filter_map(|key| field(key)).find_map(Value::as_str);
    if thought.is_some_and(|thought| is_missing(thought.trim())) {
        return Some(Part::Thought);
    }
    message.call_names().any(|name| !text.contains(name)).then_some(Part::Call)
}

/// Whether `part` is in `text`, as it is or as JSON writes it.
fn is_written(part: &str, text: &str) -> bool {
    text.contains(part) || {
        let json = Value::from(part).to_string();
        text.contains(&json[1..json.len() - 1])
    }
}
