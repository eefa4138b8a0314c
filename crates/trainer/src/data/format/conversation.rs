//! Conversations: messages by role, as OpenAI and transformers write them.

use std::fmt;

use serde_json::{Map, Value, json};

use super::kind_of;

/// Messages by role.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// In order; at least one.
    pub messages: Vec<Message>,
    /// What the assistant may call: a list of JSON Schemas.
    pub tools: Option<Value>,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// How much its tokens count in the loss; 0: it is not learned. 1 where the assistant speaks, 0 for all others,
    /// unless the data say otherwise.
    pub weight: f32,
    /// What the data say of it, where they say something.
    pub given_weight: Option<f32>,
    /// The message as the template sees it: `role`, `content`, `tool_calls` and whatever else it has.
    fields: Map<String, Value>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sets the scene.
    System,
    /// OpenAI's newer word for system.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a call.
    Tool,
    /// Llama 3's word for tool.
    Ipython,
}

impl Role {
    const ALL: [Self; 6] =
        [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool, Self::Ipython];

    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Developer => "developer",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
            Self::Ipython => "ipython",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Conversation {
    /// Reads `{"messages": […], "tools": […]?}` or a bare list of messages.
    ///
    /// # Errors
    /// The end of a sentence that begins with the conversation's name.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(_) => Self::from_parts(value, None),
            Value::Object(fields) => match fields.get("messages") {
                Some(messages) => Self::from_parts(messages, fields.get("tools")),
                None => Err("has no `messages`".to_owned()),
            },
            other => Err(format!("is {}; expected an object with `messages`", kind_of(other))),
        }
    }

    /// Reads a list of messages, and of tools.
    ///
    /// # Errors
    /// The end of a sentence that begins with the row's name.
    pub fn from_parts(messages: &Value, tools: Option<&Value>) -> Result<Self, String> {
        let Value::Array(messages) = messages else {
            return Err(format!("has {} as `messages`; expected a list", kind_of(messages)));
        };
        if messages.is_empty() {
            return Err("has no messages".to_owned());
        }
        let messages = messages
            .iter()
            .enumerate()
            .map(|(index, message)| {
                Message::from_json(message).map_err(|what| format!("has a message {} that {what}", index + 1))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { messages, tools: tools.map_or(Ok(None), read_tools)? })
    }

    /// A question of the user and the assistant's answer.
    pub fn question_answer(question: &str, answer: &str) -> Self {
        Self {
            messages: vec![Message::new(Role::User, question), Message::new(Role::Assistant, answer)],
            tools: None,
        }
    }

    /// An instruction, what to do it with, and the answer.
    pub fn of_instruction(instruction: &str, input: &str, output: &str) -> Self {
        if input.is_empty() {
            return Self::question_answer(instruction, output);
        }
        Self::question_answer(&format!("{instruction}\n\n{input}"), output)
    }

    /// Messages that are learned.
    pub fn n_trained(&self) -> usize {
        self.messages.iter().filter(|message| message.is_trained()).count()
    }

    /// The first `n_messages`.
    pub fn head(&self, n_messages: usize) -> Self {
        Self { messages: self.messages[..n_messages].to_vec(), tools: self.tools.clone() }
    }

    /// The same with `content` in message `index`.
    pub fn with_content(&self, index: usize, content: &str) -> Self {
        let mut changed = self.clone();
        changed.messages[index].fields.insert("content".to_owned(), Value::from(content));
        changed
    }
}

impl Message {
    /// A message of text. The assistant's is learned.
    pub fn new(role: Role, content: &str) -> Self {
        let Value::Object(fields) = json!({"role": role.name(), "content": content}) else {
            unreachable!("an object was written");
        };
        Self { role, weight: default_weight(role), given_weight: None, fields }
    }

    /// Whether it is learned.
    pub fn is_trained(&self) -> bool {
        self.weight > 0.0
    }

    /// Whether the assistant calls a tool.
    pub fn calls(&self) -> bool {
        self.fields.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty())
    }

    /// What it calls, where the calls have names.
    pub fn call_names(&self) -> impl Iterator<Item = &str> {
        let calls = self.fields.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        calls.filter_map(|call| call.get("function").unwrap_or(call).get("name")?.as_str())
    }

    /// The text; empty where there is none.
    pub fn content(&self) -> &str {
        self.fields.get("content").and_then(Value::as_str).unwrap_or_default()
    }

    /// The message as the data have it: `role`, `content`, `tool_calls` and whatever else.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        let Value::Object(fields) = value else {
            return Err(format!("is {}; expected an object with `role` and `content`", kind_of(value)));
        };
        let role = match fields.get("role") {
            Some(Value::String(name)) => {
                Role::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| {
                    let known: Vec<&str> = Role::ALL.into_iter().map(Role::name).collect();
                    format!("has the role `{name}`; expected one of: {}", known.join(", "))
                })?
            }
            Some(other) => return Err(format!("has {} as `role`", kind_of(other))),
            None => return Err("has no `role`".to_owned()),
        };
        let mut fields = fields.clone();
        let calls = fields.get("tool_calls").and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
        let content = match fields.get("content") {
            Some(Value::String(_)) => None,
            Some(Value::Array(parts)) => Some(join(parts)?),
            Some(Value::Null) | None if calls => None,
            Some(other) => return Err(format!("has {} as `content`; expected text", kind_of(other))),
            None => return Err("has no `content`".to_owned()),
        };
        if let Some(content) = content {
            fields.insert("content".to_owned(), Value::from(content));
        }
        let given_weight = given_weight(role, &fields)?;
        let weight = given_weight.unwrap_or_else(|| default_weight(role));
        Ok(Self { role, weight, given_weight, fields })
    }
}

/// Joins the parts of a message; only text can be trained on.
fn join(parts: &[Value]) -> Result<String, String> {
    let mut joined = String::new();
    for part in parts {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
        let text = part.get("text").or_else(|| part.get("value")).and_then(Value::as_str).or(part.as_str());
        match (kind, text) {
            ("text", Some(text)) => joined.push_str(text),
            ("text", None) => return Err("has a part without `text`".to_owned()),
            (kind, _) => return Err(format!("has a part of type `{kind}`; only `text` can be trained on")),
        }
    }
    Ok(joined)
}

fn default_weight(role: Role) -> f32 {
    if role == Role::Assistant { 1.0 } else { 0.0 }
}

/// Follows `train` (true, false), OpenAI's `weight` and LLaMA-Factory's `loss_weight` (from 0 on; 1 counts in full).
fn given_weight(role: Role, fields: &Map<String, Value>) -> Result<Option<f32>, String> {
    let wish = |key: &str| match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(wish)) => Ok(Some(f32::from(u8::from(*wish)))),
        Some(other) => match other.as_f64().map(|weight| weight as f32) {
            Some(weight) if weight >= 0.0 && weight.is_finite() => Ok(Some(weight)),
            Some(_) | None => Err(format!(
                "has {other} as `{key}`; expected how much it counts: 0 (not learned), 1, or another number from 0 on"
            )),
        },
    };
    let weight = match (wish("weight")?, wish("loss_weight")?) {
        (Some(one), Some(other)) if one != other => {
            return Err(format!("has {one} as `weight` and {other} as `loss_weight`; expected one of them"));
        }
        (one, other) => one.or(other),
    };
    // `train` says whether, a weight says how much.
    let asked = match (wish("train")?, weight) {
        (Some(train), Some(weight)) if (train > 0.0) != (weight > 0.0) => {
            return Err("says both that it is learned and that it is not".to_owned());
        }
        (train, weight) => weight.or(train),
    };
    match (role, asked) {
        (Role::Assistant, wish) => Ok(wish),
        (_, Some(wish)) if wish > 0.0 => {
            Err(format!("is to be learned but has the role `{role}`; only the assistant's can be"))
        }
        (_, wish) => Ok(wish),
    }
}

/// Tools are a list, or the text of one as JSON.
fn read_tools(tools: &Value) -> Result<Option<Value>, String> {
    let parsed;
    let tools = match tools {
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => {
            parsed = serde_json::from_str(text)
                .map_err(|error| format!("has `tools` that are not JSON: {error}"))?;
            &parsed
        }
        other => other,
    };
    match tools {
        Value::Null => Ok(None),
        Value::Array(list) if list.is_empty() => Ok(None),
        Value::Array(_) => Ok(Some(tools.clone())),
        other => Err(format!("has {} as `tools`; expected a list", kind_of(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_and_tool_messages_kept() {
        let conversation = Conversation::from_json(&json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            {"role": "tool", "content": "18"},
            {"role": "assistant", "content": "c", "weight": 0},
        ], "tools": "[{\"name\": \"f\"}]"}))
        .expect("valid");
        assert_eq!(conversation.messages[0].content(), "ab");
        assert_eq!(conversation.messages[2].role, Role::Tool);
        assert_eq!(conversation.tools, Some(json!([{"name": "f"}])));
        let trained: Vec<bool> = conversation.messages.iter().map(Message::is_trained).collect();
        assert_eq!(trained, [false, true, false, false]);
    }

    #[test]
    fn bad_messages_are_refused_by_number() {
        for (messages, expected) in [
            (json!([]), "has no messages"),
            (json!("x"), "has a string as `messages`; expected a list"),
            (json!([{"role": "user"}]), "has a message 1 that has no `content`"),
            (json!([{"content": "x"}]), "has a message 1 that has no `role`"),
            (json!([{"role": 1, "content": "x"}]), "has a message 1 that has a number as `role`"),
            (json!(["x"]), "has a message 1 that is a string; expected an object with `role` and `content`"),
            (
                json!([{"role": "human", "content": "x"}]),
                "has a message 1 that has the role `human`; expected one of: system, developer, user, assistant, \
                 tool, ipython",
            ),
            (
                json!([{"role": "user", "content": [{"type": "image_url"}]}]),
                "has a message 1 that has a part of type `image_url`; only `text` can be trained on",
            ),
            (
                json!([{"role": "user", "content": [{"type": "text"}]}]),
                "has a message 1 that has a part without `text`",
            ),
            (
                json!([{"role": "user", "content": "x", "train": true}]),
                "has a message 1 that is to be learned but has the role `user`; only the assistant's can be",
            ),
            (
                json!([{"role": "assistant", "content": "x", "weight": -0.5}]),
                "has a message 1 that has -0.5 as `weight`; expected how much it counts: 0 (not learned), 1, or another \
                 number from 0 on",
            ),
            (
                json!([{"role": "assistant", "content": "x", "weight": 0, "train": true}]),
                "has a message 1 that says both that it is learned and that it is not",
            ),
        ] {
            assert_eq!(Conversation::from_parts(&messages, None), Err(expected.to_owned()));
        }
        let one = json!([{"role": "user", "content": "x"}]);
        assert_eq!(
            Conversation::from_parts(&one, Some(&json!({}))),
            Err("has an object as `tools`; expected a list".to_owned())
        );
        assert!(
            Conversation::from_parts(&one, Some(&json!("{")))
                .expect_err("not JSON")
                .starts_with("has `tools` that are not JSON")
        );
        assert_eq!(Conversation::from_json(&json!({})), Err("has no `messages`".to_owned()));
        assert_eq!(
            Conversation::from_json(&json!(1)),
            Err("is a number; expected an object with `messages`".to_owned())
        );
    }
}
