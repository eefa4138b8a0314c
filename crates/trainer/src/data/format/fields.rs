//! A row seen by the names of its format: columns that the user named, else the names that files use for a field, exact
//! ones first, then in other capitals.

use std::borrow::Cow;
use std::cell::RefCell;

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use serde_json::{Map, Value};

use super::layout::RowLayout;
use crate::data::fault::Fault;

/// A row and what was noticed in reading it.
pub(super) struct Fields<'a> {
    row: &'a Map<String, Value>,
    pub(super) layout: &'a RowLayout,
    notices: RefCell<Vec<Fault>>,
}

/// A field of a row.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// Its key as the row has it.
    pub(super) key: &'a str,
    pub(super) value: &'a Value,
}

/// The names that files use for a field, the usual one first.
pub(super) fn names_of(field: Field) -> &'static [&'static str] {
    match field {
        Field::Messages => {
            &["messages", "conversations", "conversation", "chat", "dialogue", "dialog", "turns"]
        }
        Field::System => &["system", "system_prompt", "system_message"],
        Field::Tools => &["tools", "functions"],
        Field::Instruction => &["instruction"],
        Field::Input => &["input", "context"],
        Field::Output => &["output", "response", "answer", "completion"],
        Field::History => &["history"],
        Field::Prompt => &["prompt"],
        Field::Completion => &["completion", "response", "output", "answer"],
        Field::Question => &["question", "q", "query", "problem"],
        Field::Answer => &["answer", "a", "response", "solution"],
        Field::Text => &["text", "content"],
        Field::Chosen => &["chosen", "chosen_messages", "chosen_response"],
        Field::Rejected => &["rejected", "rejected_messages", "rejected_response"],
        Field::Label => &["label", "kto_tag"],
        Field::InputIds => &["input_ids"],
        Field::Labels => &["labels"],
        Field::AttentionMask => &["attention_mask"],
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(row: &'a Map<String, Value>, layout: &'a RowLayout) -> Self {
        Self { row, layout, notices: RefCell::new(Vec::new()) }
    }

    /// The field, if the row has it; its value may be null. Tables with columns for several formats exist, so the first
    /// name that is not null beats the others.
    pub(super) fn find(&self, field: Field) -> Option<Found<'a>> {
        if let Some(column) = self.layout.columns.get(field) {
            return self.column(column);
        }
        let own = || names_of(field).iter().filter_map(|name| self.own(name));
        own()
            .find(|found| !found.value.is_null())
            .or_else(|| own().next())
            .or_else(|| self.in_other_case(field))
    }

    /// The field, if the row has it and it says something: null and empty texts and lists say nothing.
    pub(super) fn filled(&self, field: Field) -> Option<Found<'a>> {
        self.find(field).filter(|found| !is_empty(found.value))
    }

    /// A key that no format speaks of, where it says something.
    pub(super) fn other(&self, key: &str) -> Option<Found<'a>> {
        self.own(key).filter(|found| !is_empty(found.value))
    }

    /// The field's text; null counts as a fault, as does anything else.
    pub(super) fn text(&self, field: Field, expected: &str) -> Result<(&'a str, &'a str), Fault> {
        let found = self.needed(field, expected)?;
        match found.value {
            Value::String(text) => Ok((found.key, text)),
            other => Err(found.wrong(other, "text")),
        }
    }

    /// The field's text where it has some.
    pub(super) fn optional_text(&self, field: Field) -> Result<Option<&'a str>, Fault> {
        match self.find(field) {
            None | Some(Found { value: Value::Null, .. }) => Ok(None),
            Some(Found { value: Value::String(text), .. }) if text.is_empty() => Ok(None),
            Some(Found { value: Value::String(text), .. }) => Ok(Some(text)),
            Some(found) => Err(found.wrong(found.value, "text")),
        }
    }

    /// The field, which has to be there.
    pub(super) fn needed(&self, field: Field, expected: &str) -> Result<Found<'a>, Fault> {
        self.find(field).ok_or_else(|| self.missing(field, expected))
    }

    pub(super) fn missing(&self, field: Field, expected: &str) -> Fault {
        let what = match self.layout.columns.get(field) {
            Some(column) => format!(
                "has no column `{column}`, where `{field}` was said to be; it has {}",
                keys_of(self.row)
            ),
            None if expected.is_empty() => format!("has no `{field}`; it has {}", keys_of(self.row)),
            None => format!("has no `{field}`; it has {}, expected {expected}", keys_of(self.row)),
        };
        Fault::new(Code::MissingField, what)
    }

    pub(super) fn notice(&self, code: Code, what: String) {
        self.notices.borrow_mut().push(Fault::new(code, what));
    }

    /// Notices fields that say something which the format has no place for.
    pub(super) fn unused(&self, fields: &[Field]) {
        for found in fields.iter().filter_map(|field| self.filled(*field)) {
            self.notice_unused(found);
        }
    }

    /// Notices further keys of that sort.
    pub(super) fn unused_keys(&self, keys: &[&str]) {
        for found in keys.iter().filter_map(|key| self.other(key)) {
            self.notice_unused(found);
        }
    }

    pub(super) fn notice_unused(&self, found: Found<'_>) {
        let format = self.layout.format.name();
        self.notice(
            Code::FieldIgnored,
            format!("has `{}`, which the format `{format}` does not use", found.key),
        );
    }

    pub(super) fn into_notices(self) -> Vec<Fault> {
        self.notices.into_inner()
    }

    /// A key, unless it is the column of a field.
    pub(super) fn own(&self, name: &str) -> Option<Found<'a>> {
        let (key, value) = self.row.get_key_value(name)?;
        (!self.is_taken(key)).then_some(Found { key, value })
    }

    fn in_other_case(&self, field: Field) -> Option<Found<'a>> {
        let is_name = |key: &str| names_of(field).iter().any(|name| name.eq_ignore_ascii_case(key));
        let (key, value) = self.row.iter().find(|(key, _)| is_name(key) && !self.is_taken(key))?;
        let notices = &mut *self.notices.borrow_mut();
        let what = format!("has `{key}` for `{}`", key.to_ascii_lowercase());
        if !notices.iter().any(|notice| notice.code == Code::KeyCase && notice.what == what) {
            notices.push(Fault::new(Code::KeyCase, what));
        }
        Some(Found { key, value })
    }

    /// Whether a column was given to a field, so that its own name says nothing any more.
    fn is_taken(&self, key: &str) -> bool {
        self.layout.columns.iter().any(|(_, column)| column == key)
    }

    fn column(&self, column: &str) -> Option<Found<'a>> {
        if let Some((key, value)) = self.row.get_key_value(column) {
            return Some(Found { key, value });
        }
        let (first, rest) = column.split_once('.')?;
        let (mut key, mut value) = self.row.get_key_value(first)?;
        for part in rest.split('.') {
            (key, value) = match value {
                Value::Object(fields) => fields.get_key_value(part)?,
                Value::Array(items) => (key, items.get(part.parse::<usize>().ok()?)?),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
            };
        }
        Some(Found { key, value })
    }
}

impl<'a> Found<'a> {
    /// The value; the text of a list or an object in JSON becomes what it says, as tables have nothing but text.
    pub(super) fn parsed(self) -> Cow<'a, Value> {
        if let Value::String(text) = self.value
            && text.trim_start().starts_with(['[', '{'])
            && let Ok(parsed) = serde_json::from_str(text)
        {
            return Cow::Owned(parsed);
        }
        Cow::Borrowed(self.value)
    }

    /// The value; the text of a list of messages in JSON becomes that list, any other text stays text.
    pub(super) fn turns(self) -> Cow<'a, Value> {
        let parsed = self.parsed();
        let is_turn =
            |turn: &Value| ["role", "from", "content", "value"].iter().any(|key| turn.get(key).is_some());
        let are_turns = match parsed.as_ref() {
            Value::Array(turns) => turns.first().is_some_and(is_turn),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
        };
        if are_turns { parsed } else { Cow::Borrowed(self.value) }
    }

    pub(super) fn wrong(&self, value: &Value, expected: &str) -> Fault {
        let what = format!("has {} as `{}`; expected {expected}", kind_of(value), self.key);
        Fault::new(Code::WrongType, what)
    }
}

/// Refuses a text of nothing but white space.
pub(super) fn not_blank(key: &str, text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new(Code::EmptyField, format!("has an empty `{key}`")));
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The keys of a row, for messages.
pub(super) fn keys_of(fields: &Map<String, Value>) -> String {
    match fields.len() {
        0 => "no keys at all".to_owned(),
        1 => format!("the key {}", name_keys(fields)),
        _ => format!("the keys {}", name_keys(fields)),
    }
}

fn name_keys(fields: &Map<String, Value>) -> String {
    let names: Vec<String> = fields.keys().take(8).map(|key| format!("`{key}`")).collect();
    let more = if fields.len() > names.len() { ", …" } else { "" };
    names.join(", ") + more
}

/// What a value is, for messages.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
