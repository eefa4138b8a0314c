//! Dataset formats: what a row means. A new format is a line in [`detect`] and a function in [`example`].
//!
//! Knows JSON values; files are [`read`](super::read)'s business, tokens come later.

mod conversation;
mod preference;
mod tokens;

use ftl_core::spec::resolved::DataFormat;
use serde_json::{Map, Value};

use crate::data::sample::Sample;

pub use conversation::{Conversation, Message, Role};
pub use tokens::unpadded;

/// What a row of a dataset is.
#[derive(Clone, Debug, PartialEq)]
pub enum Example {
    /// Messages that a chat template turns into text.
    Conversation(Conversation),
    /// Text that is given, and text that is learned after it.
    PromptCompletion {
        /// Given.
        prompt: String,
        /// Learned.
        completion: String,
    },
    /// An instruction that becomes a conversation where there is a chat template, else Alpaca's own prompt.
    Instruction {
        /// What to do; never empty.
        instruction: String,
        /// What to do it with; may be empty.
        input: String,
        /// The answer.
        output: String,
    },
    /// Running text.
    Text(String),
    /// Tokens from elsewhere.
    Tokens(Sample),
    /// Two answers to one prompt; neither side is a pair.
    Pair {
        /// The prompt with the better answer.
        chosen: Box<Example>,
        /// The prompt with the worse answer.
        rejected: Box<Example>,
    },
}

impl Example {
    /// Both sides of a pair; anything else itself.
    pub fn sides(&self) -> Vec<&Self> {
        match self {
            Self::Pair { chosen, rejected } => vec![chosen, rejected],
            Self::Conversation(_)
            | Self::PromptCompletion { .. }
            | Self::Instruction { .. }
            | Self::Text(_)
            | Self::Tokens(_) => vec![self],
        }
    }
}

/// The formats by name, for messages.
const EXPECTED: &str = "messages, instruction + output, prompt + completion, question + answer, text, chosen + rejected, input_ids";

/// The format that `row` shows by its keys.
///
/// # Errors
/// The end of a sentence that begins with the row's name.
pub fn detect(row: &Value) -> Result<DataFormat, String> {
    let fields = match row {
        Value::Object(fields) => fields,
        Value::Array(_) => return Ok(DataFormat::Messages),
        other => return Err(format!("is {}; expected an object with one of: {EXPECTED}", kind_of(other))),
    };
    let has = |key: &str| fields.contains_key(key);
    if ["chosen", "rejected", "chosen_messages", "rejected_messages", "chosen_input_ids"].into_iter().any(has)
    {
        return Ok(DataFormat::Preference);
    }
    for key in ["messages", "conversations", "conversation"] {
        if let Some(turns) = fields.get(key) {
            let speaks_of_from = turns.get(0).is_some_and(|turn| turn.get("from").is_some());
            return Ok(if speaks_of_from || key == "conversation" {
                DataFormat::Sharegpt
            } else {
                DataFormat::Messages
            });
        }
    }
    match () {
        () if has("input_ids") => Ok(DataFormat::Tokens),
        () if has("instruction") && has("output") => Ok(DataFormat::Alpaca),
        () if has("prompt") && has("completion") => Ok(DataFormat::PromptCompletion),
        () if has("question") && has("answer") => Ok(DataFormat::QuestionAnswer),
        () if has("text") => Ok(DataFormat::Text),
        () => Err(format!("has {}; expected one of: {EXPECTED}", keys_of(fields))),
    }
}

/// Reads `row` as `format`, which is not `Auto`.
///
/// # Errors
/// The end of a sentence that begins with the row's name.
pub fn example(row: &Value, format: DataFormat) -> Result<Example, String> {
    if let (Value::Array(_), DataFormat::Messages) = (row, format) {
        return Conversation::from_parts(row, None).map(Example::Conversation);
    }
    let Value::Object(fields) = row else {
        return Err(format!("is {}; expected an object with {}", kind_of(row), keys_for(format)));
    };
    match format {
        DataFormat::Messages => messages(fields),
        DataFormat::Alpaca => alpaca(fields),
        DataFormat::PromptCompletion => prompt_completion(fields),
        DataFormat::QuestionAnswer => {
            let [question, answer] = [text(fields, "question", format)?, text(fields, "answer", format)?];
            not_blank("question", question)?;
            Ok(Example::Conversation(Conversation::question_answer(question, answer)))
        }
        DataFormat::Text => text(fields, "text", format).map(|text| Example::Text(text.to_owned())),
        DataFormat::Tokens if fields.contains_key("chosen_input_ids") => preference::pair(fields),
        DataFormat::Tokens => tokens::sample(fields, "").map(Example::Tokens),
        DataFormat::Sharegpt => Err(not_available("sharegpt")),
        DataFormat::Preference => preference::pair(fields),
        DataFormat::Auto => Err("has no format yet".to_owned()),
    }
}

/// Whether this version reads `format`, and its name.
pub fn availability(format: DataFormat) -> Result<(), &'static str> {
    match format {
        DataFormat::Auto
        | DataFormat::Messages
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer
        | DataFormat::Text
        | DataFormat::Preference
        | DataFormat::Tokens => Ok(()),
        DataFormat::Sharegpt => Err("sharegpt"),
    }
}

fn not_available(name: &str) -> String {
    format!("is in the format `{name}`, which this version does not read yet")
}

fn messages(fields: &Map<String, Value>) -> Result<Example, String> {
    let found = ["messages", "conversations"].into_iter().find_map(|key| fields.get(key));
    let Some(messages) = found else {
        return Err(format!("has no `messages`; it has {}", keys_of(fields)));
    };
    Conversation::from_parts(messages, fields.get("tools")).map(Example::Conversation)
}

fn alpaca(fields: &Map<String, Value>) -> Result<Example, String> {
    let format = DataFormat::Alpaca;
    for key in ["history", "system"] {
        let is_empty = match fields.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(turns)) => turns.is_empty(),
            Some(_) => false,
        };
        if !is_empty {
            return Err(format!("has `{key}`, which the alpaca format can't hold; write it as `messages`"));
        }
    }
    let input = match fields.get("input") {
        None | Some(Value::Null) => "",
        Some(_) => text(fields, "input", format)?,
    };
    let instruction = text(fields, "instruction", format)?;
    let output = text(fields, "output", format)?;
    not_blank("instruction", instruction)?;
    not_blank("output", output)?;
    Ok(Example::Instruction {
        instruction: instruction.to_owned(),
        input: input.to_owned(),
        output: output.to_owned(),
    })
}

fn prompt_completion(fields: &Map<String, Value>) -> Result<Example, String> {
    let format = DataFormat::PromptCompletion;
    match (fields.get("prompt"), fields.get("completion")) {
        (Some(Value::Array(prompt)), Some(Value::Array(completion))) => {
            let turns: Vec<Value> = prompt.iter().chain(completion).cloned().collect();
            let mut conversation = Conversation::from_parts(&Value::Array(turns), fields.get("tools"))?;
            // Only the completion is learned, also where the prompt has answers of the assistant.
            conversation.messages.iter_mut().take(prompt.len()).for_each(|message| message.weight = 0.0);
            if conversation.n_trained() == 0 {
                return Err("has no assistant message in `completion`".to_owned());
            }
            Ok(Example::Conversation(conversation))
        }
        (Some(Value::String(_)) | None, _) | (_, Some(Value::String(_)) | None) => {
            let prompt = text(fields, "prompt", format)?.to_owned();
            let completion = text(fields, "completion", format)?.to_owned();
            not_blank("completion", &completion)?;
            Ok(Example::PromptCompletion { prompt, completion })
        }
        (Some(_), Some(_)) => {
            Err("has a `prompt` and a `completion` that are neither texts nor lists of messages".to_owned())
        }
    }
}

fn text<'a>(fields: &'a Map<String, Value>, key: &str, format: DataFormat) -> Result<&'a str, String> {
    match fields.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("has {} as `{key}`; expected text", kind_of(other))),
        None => Err(format!("has no `{key}`; it has {}, expected {}", keys_of(fields), keys_for(format))),
    }
}

fn not_blank(key: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() { Err(format!("has an empty `{key}`")) } else { Ok(()) }
}

fn keys_for(format: DataFormat) -> &'static str {
    match format {
        DataFormat::Auto => EXPECTED,
        DataFormat::Messages => "`messages`",
        DataFormat::Sharegpt => "`conversations`",
        DataFormat::Alpaca => "`instruction`, `input` and `output`",
        DataFormat::PromptCompletion => "`prompt` and `completion`",
        DataFormat::QuestionAnswer => "`question` and `answer`",
        DataFormat::Text => "`text`",
        DataFormat::Preference => "`chosen` and `rejected`",
        DataFormat::Tokens => "`input_ids`",
    }
}

fn keys_of(fields: &Map<String, Value>) -> String {
    match fields.len() {
        0 => "no keys at all".to_owned(),
        1 => format!("the key {}", name_keys(fields)),
        _ => format!("the keys {}", name_keys(fields)),
    }
}

fn name_keys(fields: &Map<String, Value>) -> String {
    let names: Vec<String> = fields.keys().take(8).map(|key| format!("`{key}`")).collect();
    names.join(", ")
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn formats_are_told_by_their_keys() {
        for (row, expected) in [
            (json!({"messages": []}), DataFormat::Messages),
            (json!([{"role": "user", "content": "a"}]), DataFormat::Messages),
            (json!({"conversations": [{"role": "user", "content": "a"}]}), DataFormat::Messages),
            (json!({"conversations": [{"from": "human", "value": "a"}]}), DataFormat::Sharegpt),
            (json!({"instruction": "a", "output": "b"}), DataFormat::Alpaca),
            (json!({"instruction": "a", "output": "b", "text": "c"}), DataFormat::Alpaca),
            (json!({"prompt": "a", "completion": "b"}), DataFormat::PromptCompletion),
            (json!({"question": "a", "answer": "b"}), DataFormat::QuestionAnswer),
            (json!({"text": "a"}), DataFormat::Text),
            (json!({"prompt": "a", "chosen": "b", "rejected": "c"}), DataFormat::Preference),
            (json!({"input_ids": [1]}), DataFormat::Tokens),
            (json!({"chosen_input_ids": [1]}), DataFormat::Preference),
        ] {
            assert_eq!(detect(&row), Ok(expected), "{row}");
        }
    }

    #[test]
    fn rows_that_can_not_be_read_say_why() {
        let tokens = DataFormat::Tokens;
        for (row, format, expected) in [
            (json!({"a": 1, "b": 2}), DataFormat::Messages, "has no `messages`; it has the keys `a`, `b`"),
            (json!({}), DataFormat::Text, "has no `text`; it has no keys at all, expected `text`"),
            (json!("a"), DataFormat::Text, "is a string; expected an object with `text`"),
            (json!({"text": 5}), DataFormat::Text, "has a number as `text`; expected text"),
            (
                json!({"instruction": "a"}),
                DataFormat::Alpaca,
                "has no `output`; it has the key `instruction`, expected `instruction`, `input` and `output`",
            ),
            (json!({"instruction": " ", "output": "b"}), DataFormat::Alpaca, "has an empty `instruction`"),
            (json!({"instruction": "a", "output": ""}), DataFormat::Alpaca, "has an empty `output`"),
            (
                json!({"instruction": "a", "output": null}),
                DataFormat::Alpaca,
                "has null as `output`; expected text",
            ),
            (
                json!({"instruction": "a", "output": "b", "history": [["c", "d"]]}),
                DataFormat::Alpaca,
                "has `history`, which the alpaca format can't hold; write it as `messages`",
            ),
            (
                json!({"prompt": "a", "completion": ""}),
                DataFormat::PromptCompletion,
                "has an empty `completion`",
            ),
            (
                json!({"prompt": [{"role": "user", "content": "a"}], "completion": []}),
                DataFormat::PromptCompletion,
                "has no assistant message in `completion`",
            ),
            (
                json!({"prompt": 1, "completion": []}),
                DataFormat::PromptCompletion,
                "has a `prompt` and a `completion` that are neither texts nor lists of messages",
            ),
            (
                json!({"conversations": []}),
                DataFormat::Sharegpt,
                "is in the format `sharegpt`, which this version does not read yet",
            ),
            (json!({"input_ids": []}), tokens, "has no tokens in `input_ids`"),
            (json!({"input_ids": [1, -2]}), tokens, "has -2 at place 1 of `input_ids`; expected token ids"),
            (json!({"input_ids": [1, 2], "labels": [1]}), tokens, "has 1 `labels` for 2 tokens"),
            (
                json!({"input_ids": [1], "labels": [-1]}),
                tokens,
                "has -1 at place 0 of `labels`; expected token ids, or -100 for what is not learned",
            ),
            (
                json!({"input_ids": [1, 2, 3], "attention_mask": [1, 0, 1]}),
                tokens,
                "has an `attention_mask` with a hole at place 1; only padding at the start or the end may be 0",
            ),
            (
                json!({"input_ids": [1], "attention_mask": [0]}),
                tokens,
                "has only padding: `attention_mask` is 0 throughout",
            ),
        ] {
            assert_eq!(example(&row, format), Err(expected.to_owned()), "{row}");
        }
        assert_eq!(detect(&json!({"a": 1})), Err(format!("has the key `a`; expected one of: {EXPECTED}")));
        assert_eq!(
            detect(&json!(3)),
            Err(format!("is a number; expected an object with one of: {EXPECTED}"))
        );
    }

    #[test]
    fn padding_of_token_rows_is_left_out() {
        let row = json!({"input_ids": [0, 5, 6, 0], "attention_mask": [0, 1, 1, 0], "labels": [-100, -100, 6, -100]});
        assert_eq!(
            example(&row, DataFormat::Tokens),
            Ok(Example::Tokens(Sample::new(vec![5, 6], vec![-100, 6])))
        );
    }

    #[test]
    fn a_prompt_of_messages_is_not_trained() {
        let turn = |role: &str| json!({"role": role, "content": "x"});
        let row = json!({
            "prompt": [turn("user"), turn("assistant"), turn("user")],
            "completion": [turn("assistant")],
        });
        let Ok(Example::Conversation(conversation)) = example(&row, DataFormat::PromptCompletion) else {
            panic!("a conversation");
        };
        let trained: Vec<bool> = conversation.messages.iter().map(Message::is_trained).collect();
        assert_eq!(trained, [false, false, false, true]);
    }
}
