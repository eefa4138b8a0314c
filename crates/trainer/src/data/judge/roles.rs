//! In which order people, model and tools speak. Nothing here is refused: templates and models differ in what they can
//! take, but most of it comes from a conversion that went wrong.

use crate::data::format::{Message, Role};

/// The first thing that is unusual; the end of a sentence that begins with the row's name.
pub fn unusual_order(messages: &[Message]) -> Option<String> {
    let mut before: Option<&Message> = None;
    for (index, message) in messages.iter().enumerate() {
        let n = index + 1;
        let opens = match before {
            None => true,
            Some(before) => is_system(before.role),
        };
        let called = before.is_some_and(|before| before.calls());
        let is_result = |message: &Message| matches!(message.role, Role::Tool | Role::Ipython);
        let what = match message.role {
            Role::System | Role::Developer if !opens => {
                Some(format!("has a {} message behind others (message {n})", message.role))
            }
            Role::System | Role::Developer => None,
            Role::Assistant if opens => Some("begins with the assistant".to_owned()),
            Role::Tool | Role::Ipython if opens => Some("begins with the result of a tool".to_owned()),
            Role::Tool | Role::Ipython if !called && !before.is_some_and(is_result) => {
                Some(format!("has the result of a tool that was not called (message {n})"))
            }
            Role::Tool | Role::Ipython => None,
            Role::Assistant | Role::User if called => {
                Some(format!("has a call of a tool without its result (message {index})"))
            }
            Role::Assistant | Role::User if before.is_some_and(|before| before.role == message.role) => {
                Some(format!("has two {} messages in a row (messages {index} and {n})", message.role))
            }
            Role::Assistant | Role::User => None,
        };
        if what.is_some() {
            return what;
        }
        before = Some(message);
    }
    let last = before?;
    (last.role != Role::Assistant).then(|| format!("ends with a {} message, which nobody answers", last.role))
}

fn is_system(role: Role) -> bool {
    matches!(role, Role::System | Role::Developer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::Conversation;
    use serde_json::{Value, json};

    #[test]
    fn unusual_orders_are_named() {
        let call =
            || json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]});
        let say = |role: &str| json!({"role": role, "content": "a"});
        let cases: [(Vec<Value>, Option<&str>); 13] = [
            (vec![say("user"), say("assistant")], None),
            (vec![say("system"), say("developer"), say("user"), say("assistant")], None),
            (
                vec![
                    say("user"),
                    call(),
                    say("tool"),
                    say("tool"),
                    say("assistant"),
                    say("user"),
                    say("assistant"),
                ],
                None,
            ),
            (vec![say("user"), call()], None),
            (vec![say("user"), call(), say("ipython"), call(), say("ipython"), say("assistant")], None),
            (vec![say("system"), say("assistant")], Some("begins with the assistant")),
            (vec![say("tool"), say("assistant")], Some("begins with the result of a tool")),
            (
                vec![say("user"), say("user"), say("assistant")],
                Some("has two user messages in a row (messages 1 and 2)"),
            ),
            (
                vec![say("user"), say("assistant"), say("assistant")],
                Some("has two assistant messages in a row (messages 2 and 3)"),
            ),
            (
                vec![say("user"), say("system"), say("assistant")],
                Some("has a system message behind others (message 2)"),
            ),
            (
                vec![say("user"), say("tool"), say("assistant")],
                Some("has the result of a tool that was not called (message 2)"),
            ),
            (
                vec![say("user"), call(), say("user"), say("assistant")],
                Some("has a call of a tool without its result (message 2)"),
            ),
            (
                vec![say("user"), say("assistant"), say("user")],
                Some("ends with a user message, which nobody answers"),
            ),
        ];
        for (messages, expected) in cases {
            let messages = Value::Array(messages);
            let conversation = Conversation::from_parts(&messages, None).expect("a conversation");
            assert_eq!(unusual_order(&conversation.messages).as_deref(), expected, "{messages}");
        }
    }
}
