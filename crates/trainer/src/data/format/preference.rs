//! Pairs of a chosen and a rejected answer to one prompt, in the layouts that are found.
//!
//! | row | from |
//! |---|---|
//! | `prompt`, `chosen`, `rejected`: texts, or lists of messages | TRL |
//! | `chosen`, `rejected`: the prompt is what both begin with | TRL, Anthropic's hh-rlhf |
//! | `chosen_messages`, `rejected_messages`: conversations that begin alike | LLaMA-Factory 1 |
//! | `conversations` or `messages`, with `chosen` and `rejected` as one message each | LLaMA-Factory |
//! | `instruction`, `input`?, `chosen`, `rejected`: texts; `question` in place of `instruction` | LLaMA-Factory, orca |
//! | `chosen_input_ids`, `chosen_labels`, …, `rejected_input_ids`, … | tokens from elsewhere |

use serde_json::{Map, Value, json};

use super::conversation::{Conversation, Message};
use super::{Example, keys_of, kind_of, not_blank, tokens};

type Fields = Map<String, Value>;

/// Reads a row.
///
/// # Errors
/// The end of a sentence that begins with the row's name.
pub(super) fn pair(fields: &Fields) -> Result<Example, String> {
    if fields.contains_key("chosen_input_ids") {
        let [chosen, rejected] = ["chosen_", "rejected_"].map(|prefix| tokens::sample(fields, prefix));
        return both(Example::Tokens(chosen?), Example::Tokens(rejected?));
    }
    let [chosen, rejected] = ["chosen", "rejected"].map(|side| answer(fields, side));
    let (chosen, rejected) = (chosen?, rejected?);
    if let Some(turns) = ["conversations", "messages"].into_iter().find_map(|key| fields.get(key)) {
        let prompt = with_system(fields, messages(turns)?)?;
        return conversations(fields, prompt, [chosen, rejected]);
    }
    for (key, with_input) in [("instruction", true), ("question", false)] {
        if let Some(prompt) = fields.get(key) {
            return instruction(fields, (key, prompt, with_input), [chosen, rejected]);
        }
    }
    let has_system = !with_system(fields, Vec::new())?.is_empty();
    match (fields.get("prompt"), chosen, rejected) {
        (Some(Value::Array(prompt)), chosen, rejected) => {
            let prompt = with_system(fields, messages(&Value::Array(prompt.clone()))?)?;
            conversations(fields, prompt, [chosen, rejected])
        }
        (Some(prompt @ Value::String(_)), chosen, rejected) if has_system || chosen.is_reply() => {
            instruction(fields, ("prompt", prompt, false), [chosen, rejected])
        }
        (Some(Value::String(prompt)), Answer::Text(chosen), Answer::Text(rejected)) => {
            not_blank("prompt", prompt)?;
            let side = |completion| Example::PromptCompletion { prompt: prompt.clone(), completion };
            both(side(chosen), side(rejected))
        }
        (Some(Value::Null) | None, Answer::Text(_), Answer::Text(_)) if has_system => {
            Err("has a `system`, but no `prompt` behind it".to_owned())
        }
        (Some(Value::Null) | None, Answer::Text(chosen), Answer::Text(rejected)) => {
            let n_shared = shared_prompt(&chosen, &rejected)?;
            let side = |text: &str| Example::PromptCompletion {
                prompt: text[..n_shared].to_owned(),
                completion: text[n_shared..].to_owned(),
            };
            for (key, text) in [("chosen", &chosen), ("rejected", &rejected)] {
                not_blank(key, &text[n_shared..])?;
            }
            both(side(&chosen), side(&rejected))
        }
        // Whole conversations; a `prompt` beside them repeats their beginning.
        (Some(Value::String(_) | Value::Null) | None, Answer::Turns(chosen), Answer::Turns(rejected)) => {
            let n_shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
            if n_shared == chosen.len() && n_shared == rejected.len() {
                return Err(SAME.to_owned());
            }
            let (prompt, chosen) = chosen.split_at(n_shared);
            let sides = [chosen.to_vec(), rejected[n_shared..].to_vec()].map(Answer::Turns);
            conversations(fields, with_system(fields, prompt.to_vec())?, sides)
        }
        (Some(Value::String(_) | Value::Null) | None, Answer::Text(_), Answer::Turns(_))
        | (Some(Value::String(_) | Value::Null) | None, Answer::Turns(_), Answer::Text(_)) => {
            Err("has a text and a list of messages as its two answers; expected two of one kind".to_owned())
        }
        (Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))), _, _) => {
            Err(format!("has {} as `prompt`; expected text or a list of messages", kind_of(other)))
        }
    }
}

/// An answer as it stands in the row.
enum Answer {
    Text(String),
    Turns(Vec<Value>),
}

impl Answer {
    /// Whether it is messages that begin with the assistant's.
    fn is_reply(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::Turns(turns) => turns.first().is_some_and(|turn| turn["role"] == "assistant"),
        }
    }
}

fn answer(fields: &Fields, side: &str) -> Result<Answer, String> {
    let key = [side.to_owned(), format!("{side}_messages")].into_iter().find(|key| fields.contains_key(key));
    let Some(key) = key else {
        return Err(format!("has no `{side}`; it has {}, expected `chosen` and `rejected`", keys_of(fields)));
    };
    match &fields[&key] {
        Value::String(text) => {
            not_blank(&key, text)?;
            Ok(Answer::Text(text.clone()))
        }
        Value::Array(turns) if turns.is_empty() => Err(format!("has an empty `{key}`")),
        turns @ Value::Array(_) => Ok(Answer::Turns(messages(turns)?)),
        turn @ Value::Object(_) => Ok(Answer::Turns(messages(&Value::Array(vec![turn.clone()]))?)),
        other => Err(format!("has {} as `{key}`; expected text, a message or messages", kind_of(other))),
    }
}

/// Turns with `role` and `content`; those with `from` and `value` are rewritten.
fn messages(turns: &Value) -> Result<Vec<Value>, String> {
    let Value::Array(turns) = turns else {
        return Err(format!("has {} as its messages; expected a list", kind_of(turns)));
    };
    turns.iter().map(message).collect()
}

fn message(turn: &Value) -> Result<Value, String> {
    let Some(from) = turn.get("from") else { return Ok(turn.clone()) };
    let role = match from.as_str() {
        Some("system") => "system",
        Some("human" | "user") => "user",
        Some("gpt" | "assistant" | "chatgpt" | "model") => "assistant",
        Some("observation" | "tool") => "tool",
        Some(_) | None => {
            return Err(format!("has a turn from {from}; expected one of: system, human, gpt, observation"));
        }
    };
    Ok(json!({"role": role, "content": turn.get("value").cloned().unwrap_or(Value::Null)}))
}

/// A system message of its own key goes first.
fn with_system(fields: &Fields, mut prompt: Vec<Value>) -> Result<Vec<Value>, String> {
    match fields.get("system") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => prompt.insert(0, json!({"role": "system", "content": text})),
        Some(other) => return Err(format!("has {} as `system`; expected text", kind_of(other))),
    }
    Ok(prompt)
}

fn instruction(
    fields: &Fields,
    (key, prompt, with_input): (&str, &Value, bool),
    answers: [Answer; 2],
) -> Result<Example, String> {
    let text = |key: &str, value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("has {} as `{key}`; expected text", kind_of(other))),
    };
    let instruction = text(key, prompt)?;
    not_blank(key, &instruction)?;
    let input = match fields.get("input") {
        Some(input) if with_input && !input.is_null() => text("input", input)?,
        Some(_) | None => String::new(),
    };
    if fields.get("history").is_some_and(|turns| turns.as_array().is_none_or(|turns| !turns.is_empty())) {
        return Err("has `history`, which instructions can't hold; write it as `messages`".to_owned());
    }
    let system = with_system(fields, Vec::new())?;
    match answers {
        [Answer::Text(chosen), Answer::Text(rejected)] if system.is_empty() => {
            let side = |output| Example::Instruction {
                instruction: instruction.clone(),
                input: input.clone(),
                output,
            };
            both(side(chosen), side(rejected))
        }
        answers => {
            let ask = if input.is_empty() { instruction } else { format!("{instruction}\n\n{input}") };
            let user = json!({"role": "user", "content": ask});
            conversations(fields, system.into_iter().chain([user]).collect(), answers)
        }
    }
}

/// Conversations that begin with `prompt`. Only the answers are learned, also where the prompt has some.
fn conversations(fields: &Fields, prompt: Vec<Value>, answers: [Answer; 2]) -> Result<Example, String> {
    if prompt.is_empty() {
        return Err("has no prompt: its answers have no message before them".to_owned());
    }
    let [chosen, rejected] = answers.map(|answer| match answer {
        Answer::Text(text) => vec![json!({"role": "assistant", "content": text})],
        Answer::Turns(turns) => turns,
    });
    let side = |key: &str, turns: Vec<Value>| {
        let all: Vec<Value> = prompt.iter().cloned().chain(turns).collect();
        let mut conversation = Conversation::from_parts(&Value::Array(all), fields.get("tools"))?;
        conversation.messages[..prompt.len()].iter_mut().for_each(|message| message.weight = 0.0);
        let answers = &conversation.messages[prompt.len()..];
        if !answers.iter().any(Message::is_trained) {
            return Err(format!("has no assistant message in `{key}` behind the prompt"));
        }
        if let Some(message) = answers.iter().find(|message| message.is_trained() && message.weight != 1.0) {
            return Err(format!(
                "has a message with the weight {} in `{key}`; answers of a pair count in full",
                message.weight
            ));
        }
        if answers.iter().all(|message| message.content().trim().is_empty() && !message.calls()) {
            return Err(format!("has an empty `{key}`"));
        }
        Ok(Example::Conversation(conversation))
    };
    both(side("chosen", chosen)?, side("rejected", rejected)?)
}

/// The bytes of the prompt that two texts have in common. White space before the answers belongs to them, as in TRL.
fn shared_prompt(chosen: &str, rejected: &str) -> Result<usize, String> {
    let shared = chosen.chars().zip(rejected.chars()).take_while(|(a, b)| a == b);
    let n_bytes: usize = shared.map(|(a, _)| a.len_utf8()).sum();
    if chosen.trim() == rejected.trim() {
        return Err(SAME.to_owned());
    }
    let prompt = &chosen[..n_bytes];
    let prompt = prompt.strip_suffix(' ').unwrap_or(prompt);
    if prompt.trim().is_empty() {
        return Err("has no prompt: `chosen` and `rejected` have no beginning in common".to_owned());
    }
    Ok(prompt.len())
}

const SAME: &str = "has the same text as `chosen` and `rejected`";

fn both(chosen: Example, rejected: Example) -> Result<Example, String> {
    if chosen == rejected {
        return Err(SAME.to_owned());
    }
    Ok(Example::Pair { chosen: Box::new(chosen), rejected: Box::new(rejected) })
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    fn read(row: &Value) -> Result<Example, String> {
        pair(row.as_object().expect("a row"))
    }

    /// Both sides as `role: content` for conversations, with `*` where it is learned, else as their texts.
    fn shown(row: &Value) -> [String; 2] {
        let Ok(Example::Pair { chosen, rejected }) = read(row) else { panic!("{row}: {:?}", read(row)) };
        [chosen, rejected].map(|side| match *side {
            Example::Conversation(Conversation { messages, .. }) => {
                let turn = |message: &Message| {
                    let learned = if message.is_trained() { "*" } else { "" };
                    format!("{learned}{}: {}", message.role, message.content())
                };
                messages.iter().map(turn).collect::<Vec<_>>().join(" | ")
            }
            Example::PromptCompletion { prompt, completion } => format!("{prompt}>{completion}"),
            Example::Instruction { instruction, input, output } => format!("{instruction}+{input}>{output}"),
            Example::Text(_) | Example::Tokens(_) | Example::Pair { .. } => panic!("no such side"),
        })
    }

    #[test]
    fn every_layout_is_read() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let said = |from: &str, value: &str| json!({"from": from, "value": value});
        let chat = ["user: q | *assistant: a", "user: q | *assistant: b"];
        let cases = [
            (json!({"prompt": "q", "chosen": "a", "rejected": "b"}), ["q>a", "q>b"]),
            (json!({"chosen": "q: one", "rejected": "q: two"}), ["q:> one", "q:> two"]),
            (
                json!({"prompt": [turn("user", "q")], "chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "b")]}),
                chat,
            ),
            (json!({"prompt": [turn("user", "q")], "chosen": "a", "rejected": "b"}), chat),
            (
                json!({"chosen": [turn("user", "q"), turn("assistant", "a")], "rejected": [turn("user", "q"), turn("assistant", "b")]}),
                chat,
            ),
            // As ultrafeedback_binarized: the prompt is repeated.
            (
                json!({"prompt": "q", "chosen": [turn("user", "q"), turn("assistant", "a")], "rejected": [turn("user", "q"), turn("assistant", "b")]}),
                chat,
            ),
            (
                json!({"prompt": "q", "chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "b")]}),
                chat,
            ),
            (
                json!({"chosen_messages": [turn("user", "q"), turn("assistant", "a")], "rejected_messages": [turn("user", "q"), turn("assistant", "b")]}),
                chat,
            ),
            (
                json!({"conversations": [said("human", "q")], "chosen": said("gpt", "a"), "rejected": said("gpt", "b")}),
                chat,
            ),
            (
                json!({"messages": [turn("user", "q")], "chosen": turn("assistant", "a"), "rejected": turn("assistant", "b")}),
                chat,
            ),
            (
                json!({"conversations": [said("human", "q"), said("gpt", "r"), said("human", "s")], "system": "t",
                       "chosen": said("gpt", "a"), "rejected": said("gpt", "b")}),
                [
                    "system: t | user: q | assistant: r | user: s | *assistant: a",
                    "system: t | user: q | assistant: r | user: s | *assistant: b",
                ],
            ),
            (json!({"instruction": "q", "input": "i", "chosen": "a", "rejected": "b"}), ["q+i>a", "q+i>b"]),
            (
                json!({"system": "t", "question": "q", "chosen": "a", "rejected": "b"}),
                ["system: t | user: q | *assistant: a", "system: t | user: q | *assistant: b"],
            ),
        ];
        for (row, expected) in cases {
            assert_eq!(shown(&row), expected, "{row}");
        }
        let tokens = read(
            &json!({"chosen_input_ids": [1, 2], "chosen_labels": [-100, 2], "rejected_input_ids": [1, 3]}),
        );
        let Ok(Example::Pair { chosen, .. }) = tokens else { panic!("{tokens:?}") };
        assert!(matches!(*chosen, Example::Tokens(_)));
    }

    #[test]
    fn what_is_no_pair_says_why() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let gpt = |value: &str| json!({"from": "gpt", "value": value});
        let human = json!([{"from": "human", "value": "q"}]);
        for (row, expected) in [
            (
                json!({"chosen": "a"}),
                "has no `rejected`; it has the key `chosen`, expected `chosen` and `rejected`",
            ),
            (json!({"prompt": "q", "chosen": "", "rejected": "b"}), "has an empty `chosen`"),
            (json!({"prompt": "q", "chosen": [], "rejected": "b"}), "has an empty `chosen`"),
            (
                json!({"prompt": "q", "chosen": 1, "rejected": "b"}),
                "has a number as `chosen`; expected text, a message or messages",
            ),
            (
                json!({"prompt": 1, "chosen": "a", "rejected": "b"}),
                "has a number as `prompt`; expected text or a list of messages",
            ),
            (json!({"prompt": "q", "chosen": "a", "rejected": "a"}), SAME),
            (json!({"chosen": [turn("user", "q")], "rejected": [turn("user", "q")]}), SAME),
            (json!({"conversations": human, "chosen": gpt("a"), "rejected": gpt("a")}), SAME),
            (
                json!({"conversations": human, "chosen": gpt(""), "rejected": gpt("a")}),
                "has an empty `chosen`",
            ),
            (
                json!({"conversations": [], "chosen": gpt("a"), "rejected": gpt("b")}),
                "has no prompt: its answers have no message before them",
            ),
            (
                json!({"conversations": [{"from": "function", "value": "q"}], "chosen": gpt("a"), "rejected": gpt("b")}),
                "has a turn from \"function\"; expected one of: system, human, gpt, observation",
            ),
            (
                json!({"prompt": "q", "chosen": "a", "rejected": [turn("assistant", "b")]}),
                "has a text and a list of messages as its two answers; expected two of one kind",
            ),
            (
                json!({"prompt": [turn("user", "q")], "chosen": [turn("user", "a")], "rejected": "b"}),
                "has no assistant message in `chosen` behind the prompt",
            ),
            (
                json!({"prompt": [turn("user", "q")], "chosen": [{"role": "assistant", "content": "a", "weight": 0.5}], "rejected": "b"}),
                "has a message with the weight 0.5 in `chosen`; answers of a pair count in full",
            ),
            (
                json!({"chosen": "one", "rejected": "two"}),
                "has no prompt: `chosen` and `rejected` have no beginning in common",
            ),
            (
                json!({"system": "s", "chosen": "q: a", "rejected": "q: b"}),
                "has a `system`, but no `prompt` behind it",
            ),
            (
                json!({"instruction": "q", "history": [["a", "b"]], "chosen": "a", "rejected": "b"}),
                "has `history`, which instructions can't hold; write it as `messages`",
            ),
        ] {
            assert_eq!(read(&row), Err(expected.to_owned()), "{row}");
        }
    }

    #[test]
    fn roles_of_turns_are_translated() {
        for (from, role) in [
            ("system", Role::System),
            ("human", Role::User),
            ("gpt", Role::Assistant),
            ("observation", Role::Tool),
        ] {
            let turn = message(&json!({"from": from, "value": "x"})).expect("a message");
            assert_eq!(turn["role"], role.to_string());
        }
    }
}
