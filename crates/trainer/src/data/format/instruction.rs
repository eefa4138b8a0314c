//! Rows of what is asked and what is answered: Alpaca, Dolly, prompts, questions.
//!
//! A row with a system message, earlier turns or tools becomes a conversation, since only a chat template has places for
//! them.

use ftl_core::dataset::Code;
use ftl_core::spec::Field;
use serde_json::{Map, Value};

use super::Example;
use super::conversation::{Conversation, Message, joined};
use super::dialogue::{self, THOUGHTS};
use super::fields::{Fields, Found, kind_of, not_blank};
use super::speaker::Role;
use super::turn::Style;
use crate::data::fault::Fault;

/// `instruction`, `input`, `output`, with `history` and `system`.
pub(super) fn alpaca(fields: &Fields<'_>) -> Result<Example, Fault> {
    let expected = "`instruction`, `input` and `output`";
    let input = fields.optional_text(Field::Input)?.unwrap_or_default();
    let (instruction_key, instruction) = fields.text(Field::Instruction, expected)?;
    let (output_key, output) = fields.text(Field::Output, expected)?;
    not_blank(instruction_key, instruction)?;
    not_blank(output_key, output)?;
    dialogue::text_only(fields)?;
    fields.unused(&[Field::Messages]);
    fields.unused_keys(&THOUGHTS);
    let ask = joined(instruction, input);
    match turns_before(fields)? {
        Some(before) => in_conversation(fields, before, &ask, output),
        None => Ok(Example::Instruction {
            instruction: instruction.to_owned(),
            input: input.to_owned(),
            output: output.to_owned(),
        }),
    }
}

/// `question`, `answer`.
pub(super) fn question_answer(fields: &Fields<'_>) -> Result<Example, Fault> {
    let expected = "`question` and `answer`";
    let (question_key, question) = fields.text(Field::Question, expected)?;
    let (answer_key, answer) = fields.text(Field::Answer, expected)?;
    not_blank(question_key, question)?;
    not_blank(answer_key, answer)?;
    dialogue::text_only(fields)?;
    fields.unused_keys(&THOUGHTS);
    let context = match fields.filled(Field::Input) {
        Some(Found { value: Value::String(text), .. }) => text,
        Some(other) => {
            fields.notice_unused(other);
            ""
        }
        None => "",
    };
    let before = turns_before(fields)?.unwrap_or_default();
    in_conversation(fields, before, &joined(question, context), answer)
}

/// `prompt`, `completion`: texts, or lists of messages.
pub(super) fn prompt_completion(fields: &Fields<'_>) -> Result<Example, Fault> {
    let expected = "`prompt` and `completion`";
    let prompt = fields.needed(Field::Prompt, expected)?;
    let completion = fields.needed(Field::Completion, expected)?;
    dialogue::text_only(fields)?;
    fields.unused(&[Field::Input]);
    fields.unused_keys(&THOUGHTS);
    match (prompt.turns().as_ref(), completion.turns().as_ref()) {
        (Value::String(asked), Value::String(answered)) => {
            not_blank(completion.key, answered)?;
            match turns_before(fields)? {
                Some(before) => {
                    not_blank(prompt.key, asked)?;
                    in_conversation(fields, before, asked, answered)
                }
                None => Ok(Example::PromptCompletion { prompt: asked.clone(), completion: answered.clone() }),
            }
        }
        (given @ Value::Array(_), answers @ (Value::Array(_) | Value::Object(_))) => {
            fields.unused(&[Field::History]);
            let style = fields.layout.style();
            let mut messages = dialogue::with_system(fields, style.messages(prompt.key, given)?)?;
            // Only the completion is learned, also where the prompt has answers of the assistant.
            messages.iter_mut().for_each(|message| message.weight = 0.0);
            let answers = match answers {
                turn @ Value::Object(_) => vec![style.message(turn)?],
                turns => style.messages(completion.key, turns)?,
            };
            if !answers.iter().any(Message::is_trained) {
                let what = format!("has no assistant message in `{}`", completion.key);
                return Err(Fault::new(Code::NoAnswer, what));
            }
            messages.extend(answers);
            dialogue::whole(fields, messages).map(Example::Conversation)
        }
        (given @ Value::Array(_), Value::String(answered)) => {
            not_blank(completion.key, answered)?;
            let mut messages = fields.layout.style().messages(prompt.key, given)?;
            messages.iter_mut().for_each(|message| message.weight = 0.0);
            messages.push(Message::new(Role::Assistant, answered));
            dialogue::whole(fields, messages).map(Example::Conversation)
        }
        (Value::String(_), other) => Err(completion.wrong(other, "text")),
        (other, Value::String(_)) => Err(prompt.wrong(other, "text")),
        (_, _) => Err(Fault::new(
            Code::WrongType,
            "has a `prompt` and a `completion` that are neither texts nor lists of messages",
        )),
    }
}

/// What makes a conversation of an instruction: `system`, `history`, `tools`; `None`: there is nothing of it.
pub(super) fn turns_before(fields: &Fields<'_>) -> Result<Option<Vec<Message>>, Fault> {
    let turns = history(fields)?;
    let turns = dialogue::with_system(fields, turns)?;
    Ok((!turns.is_empty() || fields.filled(Field::Tools).is_some()).then_some(turns))
}

fn in_conversation(
    fields: &Fields<'_>,
    before: Vec<Message>,
    ask: &str,
    answer: &str,
) -> Result<Example, Fault> {
    let Conversation { messages, tools: _ } = Conversation::question_answer(ask, answer);
    let messages = before.into_iter().chain(messages).collect();
    dialogue::whole(fields, messages).map(Example::Conversation)
}

/// `history`: pairs of what was asked and answered, or messages. Their answers are learned, as in LLaMA-Factory.
fn history(fields: &Fields<'_>) -> Result<Vec<Message>, Fault> {
    let Some(found) = fields.filled(Field::History) else { return Ok(Vec::new()) };
    let parsed = found.parsed();
    let Value::Array(turns) = parsed.as_ref() else {
        return Err(found.wrong(&parsed, "a list of turns"));
    };
    let style = fields.layout.style();
    let mut messages = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        let read = exchange(turn, style).map_err(|fault| {
            fault.within(format_args!("has a turn {} in its `{}` that", index + 1, found.key))
        })?;
        messages.extend(read);
    }
    Ok(messages)
}

fn exchange(turn: &Value, style: Style<'_>) -> Result<Vec<Message>, Fault> {
    match turn {
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(asked), Value::String(answered)] => {
                Ok(vec![Message::new(Role::User, asked), Message::new(Role::Assistant, answered)])
            }
            _ => Err(Fault::new(Code::BadMessage, "is not a pair of two texts")),
        },
        Value::Object(fields) if !fields.contains_key("role") && !fields.contains_key("from") => {
            match sides(fields) {
                Some([asked, answered]) => {
                    Ok(vec![Message::new(Role::User, asked), Message::new(Role::Assistant, answered)])
                }
                None => Err(Fault::new(
                    Code::BadMessage,
                    "has neither a role nor two texts, one of the user and one of the assistant",
                )),
            }
        }
        Value::Object(_) => Ok(vec![style.message(turn)?]),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Err(Fault::new(
            Code::BadMessage,
            format!("is {}; expected a pair of what was asked and answered", kind_of(other)),
        )),
    }
}

/// An exchange as an object: `{"user": …, "assistant": …}` and the like.
fn sides(fields: &Map<String, Value>) -> Option<[&str; 2]> {
    const PAIRS: [[&str; 2]; 7] = [
        ["user", "assistant"],
        ["human", "assistant"],
        ["human", "gpt"],
        ["instruction", "output"],
        ["prompt", "response"],
        ["question", "answer"],
        ["input", "output"],
    ];
    PAIRS
        .into_iter()
        .find_map(|[asked, answered]| Some([fields.get(asked)?.as_str()?, fields.get(answered)?.as_str()?]))
}
