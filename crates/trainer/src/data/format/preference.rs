//! Pairs of a chosen and a rejected answer to one prompt, in the layouts that are found.
//!
//! | row | from |
//! |---|---|
//! | `prompt`, `chosen`, `rejected`: texts, or lists of messages | TRL |
//! | `chosen`, `rejected`: the prompt is what both begin with | TRL, Anthropic's hh-rlhf |
//! | `chosen`, `rejected`: conversations, with `prompt` and `messages` beside them that repeat a part | ultrafeedback |
//! | `chosen_messages`, `rejected_messages`: conversations that begin alike | LLaMA-Factory 1 |
//! | `conversations` or `messages`, with `chosen` and `rejected` as one message each | LLaMA-Factory |
//! | `instruction`, `input`?, `chosen`, `rejected`: texts; `question` in place of `instruction` | LLaMA-Factory, orca |
//! | `chosen_input_ids`, `chosen_labels`, …, `rejected_input_ids`, … | tokens from elsewhere |

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use serde_json::Value;

use super::Example;
use super::conversation::{Conversation, Message, joined};
use super::dialogue;
use super::fields::{Fields, Found, not_blank};
use super::instruction::turns_before;
use super::speaker::Role;
use super::tokens;
use crate::data::fault::Fault;

/// Reads a row.
pub(super) fn pair(fields: &Fields<'_>) -> Result<Example, Fault> {
    if fields.own("chosen_input_ids").is_some() {
        let [chosen, rejected] = ["chosen_", "rejected_"].map(|prefix| tokens::side(fields, prefix));
        return both(Example::Tokens(chosen?), Example::Tokens(rejected?));
    }
    let [chosen, rejected] = [Field::Chosen, Field::Rejected].map(|side| answer(fields, side));
    let (chosen, rejected) = (chosen?, rejected?);
    dialogue::text_only(fields)?;
    // Whole conversations say all there is; what stands beside them repeats their beginning, or one of them.
    if let (Answer::Turns(chosen), Answer::Turns(rejected)) = (&chosen, &rejected)
        && is_whole(chosen)
        && is_whole(rejected)
    {
        return conversations_alike(fields, chosen, rejected);
    }
    if let Some(turns) = fields.find(Field::Messages).filter(|found| !found.value.is_null()) {
        let prompt = fields.layout.style().messages(turns.key, &turns.parsed())?;
        return conversations(fields, dialogue::with_system(fields, prompt)?, [chosen, rejected]);
    }
    for (field, input) in [(Field::Instruction, Some(Field::Input)), (Field::Question, None)] {
        if let Some(prompt) = fields.filled(field) {
            return instruction(fields, prompt, input, [chosen, rejected]);
        }
    }
    prompted(fields, [chosen, rejected])
}

/// A pair with a `prompt`, or with none.
fn prompted(fields: &Fields<'_>, answers: [Answer; 2]) -> Result<Example, Fault> {
    let prompt = fields.find(Field::Prompt).filter(|found| !found.value.is_null());
    let Some(prompt) = prompt else {
        return match answers {
            [Answer::Text(_), Answer::Text(_)] if fields.filled(Field::System).is_some() => {
                Err(missing("has a `system`, but no `prompt` behind it"))
            }
            [Answer::Text(chosen), Answer::Text(rejected)] => texts_alike(&chosen, &rejected),
            [Answer::Turns(chosen), Answer::Turns(rejected)] => {
                conversations_alike(fields, &chosen, &rejected)
            }
            [Answer::Text(_), Answer::Turns(_)] | [Answer::Turns(_), Answer::Text(_)] => Err(unlike()),
        };
    };
    match (prompt.turns().as_ref(), answers) {
        (turns @ Value::Array(_), answers) => {
            let turns = fields.layout.style().messages(prompt.key, turns)?;
            conversations(fields, dialogue::with_system(fields, turns)?, answers)
        }
        (Value::String(text), [Answer::Text(chosen), Answer::Text(rejected)])
            if turns_before(fields)?.is_none() =>
        {
            not_blank(prompt.key, text)?;
            let side = |completion| Example::PromptCompletion { prompt: text.clone(), completion };
            both(side(chosen), side(rejected))
        }
        (Value::String(_), [Answer::Text(_), Answer::Turns(_)] | [Answer::Turns(_), Answer::Text(_)]) => {
            Err(unlike())
        }
        (Value::String(_), answers) => instruction(fields, prompt, None, answers),
        (other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)), _) => {
            Err(prompt.wrong(other, "text or a list of messages"))
        }
    }
}

/// An answer as it stands in the row.
enum Answer {
    Text(String),
    Turns(Vec<Message>),
}

/// Whether messages are a conversation from its beginning, and not an answer alone.
fn is_whole(turns: &[Message]) -> bool {
    turns.len() > 1 && turns.first().is_some_and(|turn| turn.role != Role::Assistant)
}

fn answer(fields: &Fields<'_>, side: Field) -> Result<Answer, Fault> {
    let found = fields.needed(side, "`chosen` and `rejected`")?;
    let style = fields.layout.style();
    match found.turns().as_ref() {
        Value::Array(turns) if turns.is_empty() => Err(empty(found.key)),
        turns @ Value::Array(_) => Ok(Answer::Turns(style.messages(found.key, turns)?)),
        turn @ Value::Object(_) => {
            let message = style.message(turn);
            message
                .map(|message| Answer::Turns(vec![message]))
                .map_err(|fault| fault.within(format_args!("has a message in `{}` that", found.key)))
        }
        Value::String(text) => {
            not_blank(found.key, text)?;
            Ok(Answer::Text(text.clone()))
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => {
            Err(found.wrong(other, "text, a message or messages"))
        }
    }
}

/// A pair whose prompt is a text.
fn instruction(
    fields: &Fields<'_>,
    prompt: Found<'_>,
    input: Option<Field>,
    answers: [Answer; 2],
) -> Result<Example, Fault> {
    let Value::String(instruction) = prompt.value else { return Err(prompt.wrong(prompt.value, "text")) };
    not_blank(prompt.key, instruction)?;
    let input = input.map_or(Ok(None), |input| fields.optional_text(input))?.unwrap_or_default();
    match (turns_before(fields)?, answers) {
        (None, [Answer::Text(chosen), Answer::Text(rejected)]) => {
            let side = |output| Example::Instruction {
                instruction: instruction.clone(),
                input: input.to_owned(),
                output,
            };
            both(side(chosen), side(rejected))
        }
        (before, answers) => {
            let user = Message::new(Role::User, &joined(instruction, input));
            let prompt = before.into_iter().flatten().chain([user]).collect();
            conversations(fields, prompt, answers)
        }
    }
}

/// Conversations whose prompt is what both begin with.
fn conversations_alike(
    fields: &Fields<'_>,
    chosen: &[Message],
    rejected: &[Message],
) -> Result<Example, Fault> {
    let n_shared = chosen.iter().zip(rejected).take_while(|(a, b)| a == b).count();
    if n_shared == chosen.len() && n_shared == rejected.len() {
        return Err(same());
    }
    let (prompt, chosen) = chosen.split_at(n_shared);
    let sides = [chosen, &rejected[n_shared..]].map(|turns| Answer::Turns(turns.to_vec()));
    conversations(fields, dialogue::with_system(fields, prompt.to_vec())?, sides)
}

/// Conversations that begin with `prompt`. Only the answers are learned, also where the prompt has some.
fn conversations(
    fields: &Fields<'_>,
    mut prompt: Vec<Message>,
    answers: [Answer; 2],
) -> Result<Example, Fault> {
    if prompt.is_empty() {
        return Err(missing("has no prompt: its answers have no message before them"));
    }
    prompt.iter_mut().for_each(|message| message.weight = 0.0);
    let tools = dialogue::tools(fields)?;
    let [chosen, rejected] = answers.map(|answer| match answer {
        Answer::Text(text) => vec![Message::new(Role::Assistant, &text)],
        Answer::Turns(turns) => turns,
    });
    let side = |key: &str, answers: Vec<Message>| {
        if !answers.iter().any(Message::is_trained) {
            let what = format!("has no assistant message in `{key}` behind the prompt");
            return Err(Fault::new(Code::NoAnswer, what));
        }
        if let Some(message) = answers.iter().find(|message| message.is_trained() && message.weight != 1.0) {
            let what = format!(
                "has a message with the weight {} in `{key}`; answers of a pair count in full",
                message.weight
            );
            return Err(Fault::new(Code::BadWeight, what));
        }
        if !answers.iter().any(Message::says_something) {
            return Err(empty(key));
        }
        let messages = prompt.iter().cloned().chain(answers).collect();
        Ok(Example::Conversation(Conversation { messages, tools: tools.clone() }))
    };
    both(side("chosen", chosen)?, side("rejected", rejected)?)
}

/// Texts whose prompt is what both begin with. White space before the answers belongs to them, as in TRL.
fn texts_alike(chosen: &str, rejected: &str) -> Result<Example, Fault> {
    if chosen.trim() == rejected.trim() {
        return Err(same());
    }
    let shared = chosen.chars().zip(rejected.chars()).take_while(|(a, b)| a == b);
    let n_bytes: usize = shared.map(|(a, _)| a.len_utf8()).sum();
    let prompt = &chosen[..n_bytes];
    let prompt = prompt.strip_suffix(' ').unwrap_or(prompt);
    if prompt.trim().is_empty() {
        return Err(missing("has no prompt: `chosen` and `rejected` have no beginning in common"));
    }
    for (key, text) in [("chosen", chosen), ("rejected", rejected)] {
        not_blank(key, &text[prompt.len()..])?;
    }
    let side = |text: &str| Example::PromptCompletion {
        prompt: prompt.to_owned(),
        completion: text[prompt.len()..].to_owned(),
    };
    both(side(chosen), side(rejected))
}

fn both(chosen: Example, rejected: Example) -> Result<Example, Fault> {
    if chosen == rejected {
        return Err(same());
    }
    Ok(Example::Pair { chosen: Box::new(chosen), rejected: Box::new(rejected) })
}

fn same() -> Fault {
    Fault::new(Code::SamePair, "has the same text as `chosen` and `rejected`")
}

fn missing(what: &str) -> Fault {
    Fault::new(Code::MissingField, what)
}

fn empty(key: &str) -> Fault {
    Fault::new(Code::EmptyField, format!("has an empty `{key}`"))
}

fn unlike() -> Fault {
    let what = "has a text and a list of messages as its two answers; expected two of one kind";
    Fault::new(Code::WrongType, what)
}

#[cfg(test)]
mod tests {
    use ftl_core::spec::resolved::DataFormat;
    use serde_json::json;

    use super::super::layout::RowLayout;
    use super::*;

    fn read(row: &Value) -> Result<Example, String> {
        let layout = RowLayout::of(DataFormat::Preference);
        pair(&Fields::new(row.as_object().expect("a row"), &layout)).map_err(|fault| fault.what)
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
            (
                json!({"prompt": "q", "chosen": "a", "rejected": "a"}),
                "has the same text as `chosen` and `rejected`",
            ),
            (
                json!({"chosen": [turn("user", "q")], "rejected": [turn("user", "q")]}),
                "has the same text as `chosen` and `rejected`",
            ),
            (
                json!({"conversations": human, "chosen": gpt("a"), "rejected": gpt("a")}),
                "has the same text as `chosen` and `rejected`",
            ),
            (
                json!({"conversations": human, "chosen": gpt(""), "rejected": gpt("a")}),
                "has an empty `chosen`",
            ),
            (
                json!({"conversations": [], "chosen": gpt("a"), "rejected": gpt("b")}),
                "has no prompt: its answers have no message before them",
            ),
            (
                json!({"conversations": [{"from": "narrator", "value": "q"}], "chosen": gpt("a"), "rejected": gpt("b")}),
                "has a message 1 that has the role `narrator`; expected one of: system, human, gpt, function_call, observation, or \
                 one of their other names",
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
}
