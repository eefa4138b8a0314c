//! One turn of a conversation, in the ways that files write it.
//!
//! | what | written as |
//! |---|---|
//! | who speaks | `role`, `from` |
//! | what is said | `content`, `value`, `text`: a text, or a list of parts |
//! | parts | `text`; `reasoning` and `thinking` become `reasoning_content`; `tool_call` becomes a call |
//! | calls | `tool_calls`; OpenAI's older `function_call`; a turn of `function_call` whose text is JSON |

use ftl_core::dataset::Code;
use serde_json::{Map, Value};

use super::conversation::{Message, usual_weight};
use super::fields::kind_of;
use super::layout::Tags;
use super::speaker::{Role, Speaker, Spelling};
use super::tools::{call, calls_of_text};
use super::weight::given_weight;
use crate::data::fault::Fault;

/// How a file writes its turns.
#[derive(Clone, Copy)]
pub(super) struct Style<'a> {
    pub(super) spelling: Spelling,
    pub(super) tags: &'a Tags,
}

/// What a turn says.
#[derive(Default)]
struct Said {
    /// `None`: it has no text of its own.
    content: Option<String>,
    reasoning: String,
    calls: Vec<Value>,
}

impl Style<'_> {
    /// Reads the list that stands at `key`.
    pub(super) fn messages(&self, key: &str, turns: &Value) -> Result<Vec<Message>, Fault> {
        let Value::Array(turns) = turns else {
            let what = format!("has {} as `{key}`; expected a list", kind_of(turns));
            return Err(Fault::new(Code::WrongType, what));
        };
        let numbered = turns.iter().enumerate();
        numbered
            .map(|(index, turn)| {
                self.message(turn)
                    .map_err(|fault| fault.within(format_args!("has a message {} that", index + 1)))
            })
            .collect()
    }

    /// Reads one turn.
    pub(super) fn message(&self, turn: &Value) -> Result<Message, Fault> {
        let bad = |what: String| Fault::new(Code::BadMessage, what);
        let [role_key, content_key] = self.usual_keys();
        let Value::Object(given) = turn else {
            return Err(bad(format!(
                "is {}; expected an object with `{role_key}` and `{content_key}`",
                kind_of(turn)
            )));
        };
        let (role_key, speaker) = self.speaker(given)?;
        let (content_key, content) = match self.content(given) {
            Some((key, value)) => (Some(key), value),
            None => (None, &Value::Null),
        };
        let mut calls = given_calls(given)?;
        let mut said = match content {
            Value::String(text) => Said { content: Some(text.clone()), ..Said::default() },
            Value::Array(parts) => said(parts)?,
            part @ Value::Object(_) => said(std::slice::from_ref(part))?,
            Value::Null if !calls.is_empty() => Said::default(),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
                return Err(bad(match content_key {
                    Some(key) => format!("has {} as `{key}`; expected text", kind_of(other)),
                    None => format!("has no `{}`", self.usual_keys()[1]),
                }));
            }
        };
        calls.append(&mut said.calls);
        let role = match speaker {
            Speaker::Plain(role) => role,
            Speaker::Call => {
                let text = said.content.take().unwrap_or_default();
                let (thoughts, json) = behind_thoughts(&text);
                calls.extend(calls_of_text(json)?);
                said.content = Some(thoughts.to_owned());
                Role::Assistant
            }
        };
        let written = [Some(role_key), content_key];
        let fields = fields(given, written, role, said, calls);
        let given_weight = given_weight(role, &fields)?;
        let weight = given_weight.unwrap_or_else(|| usual_weight(role));
        Ok(Message { role, weight, given_weight, fields })
    }

    fn usual_keys(&self) -> [&str; 2] {
        let usual = match self.spelling {
            Spelling::OpenAi => ["role", "content"],
            Spelling::ShareGpt => ["from", "value"],
        };
        [self.tags.role.as_deref().unwrap_or(usual[0]), self.tags.content.as_deref().unwrap_or(usual[1])]
    }

    fn speaker<'a>(&self, given: &'a Map<String, Value>) -> Result<(&'a str, Speaker), Fault> {
        let usual = match self.spelling {
            Spelling::OpenAi => &["role"][..],
            Spelling::ShareGpt => &["from", "role", "speaker"],
        };
        let tag = self.tags.role.as_deref();
        let found = tag.into_iter().chain(usual.iter().copied()).find_map(|key| given.get_key_value(key));
        let Some((key, value)) = found else {
            return Err(Fault::new(Code::BadMessage, format!("has no `{}`", self.usual_keys()[0])));
        };
        let Value::String(name) = value else {
            return Err(Fault::new(Code::BadMessage, format!("has {} as `{key}`", kind_of(value))));
        };
        let tagged = self.tags.speakers.iter().find(|(known, _)| known == name).map(|(_, speaker)| *speaker);
        match tagged.or_else(|| self.spelling.speaker(name)) {
            Some(speaker) => Ok((key, speaker)),
            None => Err(Fault::new(
                Code::UnknownRole,
                format!("has the role `{name}`; expected one of: {}", self.spelling.known()),
            )),
        }
    }

    fn content<'a>(&self, given: &'a Map<String, Value>) -> Option<(&'a str, &'a Value)> {
        let usual = match self.spelling {
            Spelling::OpenAi => &["content"][..],
            Spelling::ShareGpt => &["value", "content", "text"],
        };
        let tag = self.tags.content.as_deref();
        let keys = || tag.into_iter().chain(usual.iter().copied()).filter_map(|key| given.get_key_value(key));
        let found = keys().find(|(_, value)| !value.is_null()).or_else(|| keys().next());
        found.map(|(key, value)| (key.as_str(), value))
    }
}

/// The message as templates see it. `written` are the keys that said who speaks and what.
fn fields(
    given: &Map<String, Value>,
    written: [Option<&str>; 2],
    role: Role,
    said: Said,
    calls: Vec<Value>,
) -> Map<String, Value> {
    let Said { content, reasoning, calls: _ } = said;
    let mut fields = Map::new();
    fields.insert("role".to_owned(), Value::from(role.name()));
    match content {
        Some(content) => fields.insert("content".to_owned(), Value::from(content)),
        // A call without text: null stays null, and what is not there stays away.
        None => given.get("content").and_then(|_| fields.insert("content".to_owned(), Value::Null)),
    };
    for (key, value) in given {
        let is_read = written.contains(&Some(key.as_str()))
            || matches!(key.as_str(), "role" | "content" | "function_call" | "tool_calls");
        // Tables write null for a key that a row does not have; templates that ask for keys must not see it.
        if !is_read && !value.is_null() {
            fields.insert(key.clone(), value.clone());
        }
    }
    if !reasoning.is_empty() {
        fields.entry("reasoning_content").or_insert_with(|| Value::from(reasoning));
    }
    if !calls.is_empty() {
        fields.insert("tool_calls".to_owned(), Value::Array(calls));
    }
    fields
}

/// `tool_calls`, as a list or the text of one, or OpenAI's older `function_call`.
fn given_calls(given: &Map<String, Value>) -> Result<Vec<Value>, Fault> {
    match (given.get("tool_calls"), given.get("function_call")) {
        (Some(Value::Array(calls)), _) if !calls.is_empty() => calls.iter().map(call).collect(),
        (Some(Value::String(text)), _) if !text.trim().is_empty() => calls_of_text(text),
        (Some(Value::Null | Value::Array(_) | Value::String(_)) | None, function_call) => match function_call
        {
            Some(one @ Value::Object(_)) => Ok(vec![call(one)?]),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_))
            | None => Ok(Vec::new()),
        },
        (Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))), _) => Err(Fault::new(
            Code::BadMessage,
            format!("has {} as `tool_calls`; expected a list", kind_of(other)),
        )),
    }
}

/// Joins the parts of a message; only text can be trained on.
fn said(parts: &[Value]) -> Result<Said, Fault> {
    let mut said = Said::default();
    for part in parts {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        let text = ["text", "value", "content", kind].into_iter().find_map(|key| part.get(key)?.as_str());
        let text = text.or(part.as_str());
        match (kind, text) {
            ("text" | "input_text" | "output_text", Some(text)) => {
                said.content.get_or_insert_default().push_str(text);
            }
            ("reasoning" | "thinking" | "reasoning_content", Some(text)) => said.reasoning.push_str(text),
            ("tool_call" | "function_call", Some(text)) => said.calls.extend(calls_of_text(text)?),
            ("tool_call" | "function_call", None) => {
                said.calls.push(call(part.get("value").unwrap_or(part))?)
            }
            (
                "text" | "input_text" | "output_text" | "reasoning" | "thinking" | "reasoning_content",
                None,
            ) => {
                return Err(Fault::new(Code::BadMessage, "has a part without `text`"));
            }
            (kind, _) => {
                let what = format!("has a part of type `{kind}`; only `text` can be trained on");
                return Err(Fault::new(Code::NotText, what));
            }
        }
    }
    if said.content.is_none() {
        said.content = Some(String::new());
    }
    Ok(said)
}

/// A call may follow what the model thought.
fn behind_thoughts(text: &str) -> (&str, &str) {
    match text.trim_start().starts_with("<think>").then(|| text.find("</think>")).flatten() {
        Some(place) => text.split_at(place + "</think>".len()),
        None => ("", text),
    }
}
