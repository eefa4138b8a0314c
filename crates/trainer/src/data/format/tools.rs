//! What the assistant may call, and its calls.

use std::borrow::Cow;

use ftl_core::dataset::Code;
use serde_json::{Map, Value, json};

use super::fields::kind_of;
use crate::data::fault::Fault;

/// What becomes of a tool that is no more than its name and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    /// It stays so: whoever wrote `messages` wrote what the template is to see.
    Kept,
    /// It becomes `{"type": "function", "function": …}`, as templates expect it. ShareGPT's tools are bare.
    Wrapped,
}

/// Tools are a list, or the text of one as JSON.
pub(super) fn read_tools(key: &str, tools: &Value, bare: Bare) -> Result<Option<Value>, Fault> {
    let bad = |what: String| Fault::new(Code::BadTools, what);
    let tools = match tools {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => Cow::Owned(
            serde_json::from_str(text)
                .map_err(|error| bad(format!("has `{key}` that are not JSON: {error}")))?,
        ),
        other => Cow::Borrowed(other),
    };
    let list = match tools.as_ref() {
        Value::Null => return Ok(None),
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Array(list) => list,
        other => return Err(bad(format!("has {} as `{key}`; expected a list", kind_of(other)))),
    };
    let mut read = Vec::with_capacity(list.len());
    for (index, tool) in list.iter().enumerate() {
        // A column of a table may hold each tool as text.
        let tool = match tool {
            Value::String(text) => match serde_json::from_str(text) {
                Ok(parsed @ Value::Object(_)) => parsed,
                Ok(_) | Err(_) => tool.clone(),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                tool.clone()
            }
        };
        let Value::Object(fields) = &tool else {
            return Err(bad(format!(
                "has {} as number {} of its `{key}`; expected an object",
                kind_of(&tool),
                index + 1
            )));
        };
        let is_bare = fields.contains_key("name") && !fields.contains_key("function");
        read.push(match bare {
            Bare::Wrapped if is_bare => json!({"type": "function", "function": tool}),
            Bare::Wrapped | Bare::Kept => tool,
        });
    }
    Ok(Some(Value::Array(read)))
}

/// A call as templates expect it.
///
/// # Errors
/// The end of a sentence.
pub(super) fn call(value: &Value) -> Result<Value, Fault> {
    let bad = |what: String| Fault::new(Code::BadMessage, what);
    let Value::Object(fields) = value else {
        return Err(bad(format!(
            "has a call that is {}; expected an object with `name` and `arguments`",
            kind_of(value)
        )));
    };
    match (fields.get("function"), fields.get("name")) {
        (Some(Value::Object(function)), _) if function.contains_key("name") => {
            Ok(Value::Object(without_nulls(fields)))
        }
        (_, Some(Value::String(_))) => {
            let mut function = without_nulls(fields);
            if let Some(parameters) = function.shift_remove("parameters") {
                function.entry("arguments").or_insert(parameters);
            }
            function.entry("arguments").or_insert_with(|| json!({}));
            let mut call = Map::new();
            for key in ["id", "type"] {
                if let Some(value) = function.shift_remove(key) {
                    call.insert(key.to_owned(), value);
                }
            }
            call.entry("type").or_insert_with(|| Value::from("function"));
            call.insert("function".to_owned(), Value::Object(function));
            Ok(Value::Object(call))
        }
        (_, _) => Err(bad("has a call without the name of a function".to_owned())),
    }
}

/// The calls of a text: one as JSON, or a list of them.
pub(super) fn calls_of_text(text: &str) -> Result<Vec<Value>, Fault> {
    match serde_json::from_str(text) {
        Ok(Value::Array(calls)) if !calls.is_empty() => calls.iter().map(call).collect(),
        Ok(one @ Value::Object(_)) => Ok(vec![call(&one)?]),
        Ok(other) => Err(Fault::new(
            Code::BadMessage,
            format!("has {} as its call; expected an object with `name` and `arguments`", kind_of(&other)),
        )),
        Err(error) => Err(Fault::new(Code::BadMessage, format!("has a call that is not JSON: {error}"))),
    }
}

/// Tables write null for a key that a row does not have; templates that ask for keys must not see it.
pub(super) fn without_nulls(fields: &Map<String, Value>) -> Map<String, Value> {
    let kept = fields.iter().filter(|(_, value)| !value.is_null());
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}
