//! Conversations: messages by role, as OpenAI and transformers write them.

use ftl_core::dataset::Code;
use serde_json::{Map, Value, json};

use super::fields::kind_of;
use super::layout::Tags;
use super::speaker::{Role, Spelling};
use super::tools::{Bare, read_tools};
use super::turn::Style;
use crate::data::fault::Fault;

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
    pub(super) fields: Map<String, Value>,
}

impl Conversation {
    /// Reads `{"messages": […], "tools": […]?}` or a bare list of messages.
    ///
    /// # Errors
    /// What the conversation can't be read for.
    pub fn from_json(value: &Value) -> Result<Self, Fault> {
        match value {
            Value::Array(_) => Self::from_parts(value, None),
            Value::Object(fields) => match fields.get("messages") {
                Some(messages) => Self::from_parts(messages, fields.get("tools")),
                None => Err(Fault::new(Code::MissingField, "has no `messages`")),
            },
            other => Err(Fault::new(
                Code::NotAnObject,
                format!("is {}; expected an object with `messages`", kind_of(other)),
            )),
        }
    }

    /// Reads a list of messages, and of tools.
    ///
    /// # Errors
    /// What they can't be read for.
    pub fn from_parts(messages: &Value, tools: Option<&Value>) -> Result<Self, Fault> {
        let style = Style { spelling: Spelling::OpenAi, tags: &Tags::default() };
        let messages = style.messages("messages", messages)?;
        if messages.is_empty() {
            return Err(no_messages());
        }
        Ok(Self { messages, tools: tools.map_or(Ok(None), |tools| read_tools("tools", tools, Bare::Kept))? })
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
        Self::question_answer(&joined(instruction, input), output)
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
        Self { role, weight: usual_weight(role), given_weight: None, fields }
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

    /// Whether there is anything in it: text, a call, or thoughts.
    pub fn says_something(&self) -> bool {
        let thinks = THOUGHTS.iter().filter_map(|key| self.fields.get(*key)).filter_map(Value::as_str);
        let mut texts = thinks.chain([self.content()]);
        self.calls() || texts.any(|text| !text.trim().is_empty())
    }

    /// The message as the template sees it.
    pub fn json(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// The message as the data have it: `role`, `content`, `tool_calls` and whatever else.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

/// Where templates look for what a model thought before it answered.
pub const THOUGHTS: [&str; 3] = ["reasoning_content", "reasoning", "thinking"];

/// What a message counts where the data do not say it.
pub(super) fn usual_weight(role: Role) -> f32 {
    match role {
        Role::Assistant => 1.0,
        Role::System | Role::Developer | Role::User | Role::Tool | Role::Ipython => 0.0,
    }
}

/// An instruction and what it is about, as one message.
pub(super) fn joined(instruction: &str, input: &str) -> String {
    if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") }
}

pub(super) fn no_messages() -> Fault {
    Fault::new(Code::NoMessages, "has no messages")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(messages: &Value, tools: Option<&Value>) -> String {
        Conversation::from_parts(messages, tools).expect_err("a fault").what
    }

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
            assert_eq!(refused(&messages, None), expected);
        }
        let one = json!([{"role": "user", "content": "x"}]);
        assert_eq!(refused(&one, Some(&json!({}))), "has an object as `tools`; expected a list");
        assert!(refused(&one, Some(&json!("{"))).starts_with("has `tools` that are not JSON"));
        for (whole, expected) in
            [(json!({}), "has no `messages`"), (json!(1), "is a number; expected an object with `messages`")]
        {
            assert_eq!(Conversation::from_json(&whole).expect_err("a fault").what, expected);
        }
    }
}
