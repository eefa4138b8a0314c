//! What an example says, as numbers: equal for rows that say the same.
//!
//! XXH64 (Collet 2012), since it is specified: splits follow from it, and must not move with a version of a library.
//! It is not made against people who look for collisions; nobody gains from two rows of their own data that look the
//! same. By chance, 10 million different rows have two of the same `near` with a probability of 1 in 370,000
//! (n²/2⁶⁵), and `exact` is only compared where `near` is equal, which makes it a hash of 128 bits.

use std::hash::Hasher;

use serde_json::Value;
use twox_hash::XxHash64;

use crate::data::format::{Conversation, Example};
use crate::data::sample::Sample;

/// What an example says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// Equal for all that says the same but for white space and capitals.
    pub near: u64,
    /// Of those, equal for all that says exactly the same, whatever the order of its keys.
    pub exact: u64,
}

impl Content {
    /// Of an example.
    pub fn of(example: &Example) -> Self {
        let mut hashing = Hashing::new();
        hashing.example(example);
        hashing.finish()
    }
}

/// Of tokens, their labels and weights.
pub fn content_of_tokens(sample: &Sample) -> u64 {
    let mut hash = XxHash64::with_seed(TOKENS);
    tokens(sample, &mut hash);
    hash.finish()
}

/// Seeds, so that the same bytes as text and as tokens differ.
const EXACT: u64 = 1;
const NEAR: u64 = 2;
const TOKENS: u64 = 3;
/// Stands between texts. No UTF-8 has this byte.
const BORDER: u8 = 0xFF;

struct Hashing {
    exact: XxHash64,
    near: Folded,
}

impl Hashing {
    fn new() -> Self {
        Self { exact: XxHash64::with_seed(EXACT), near: Folded::new() }
    }

    fn finish(self) -> Content {
        Content { near: self.near.finish(), exact: self.exact.finish() }
    }

    fn tag(&mut self, tag: u8) {
        self.exact.write(&[tag]);
        self.near.raw(&[BORDER, tag]);
    }

    fn text(&mut self, text: &str) {
        self.exact.write(text.as_bytes());
        self.exact.write(&[BORDER]);
        self.near.text(text);
    }

    fn example(&mut self, example: &Example) {
        match example {
            Example::Conversation(conversation) => self.conversation(conversation),
            Example::PromptCompletion { prompt, completion } => {
                self.tag(b'p');
                self.text(prompt);
                self.text(completion);
            }
            Example::Instruction { instruction, input, output } => {
                self.tag(b'i');
                self.text(instruction);
                self.text(input);
                self.text(output);
            }
            Example::Text(text) => {
                self.tag(b't');
                self.text(text);
            }
            Example::Tokens(sample) => {
                self.tag(b'k');
                tokens(sample, &mut self.exact);
                tokens(sample, &mut self.near.hash);
            }
            Example::Pair { chosen, rejected } => {
                self.tag(b'c');
                self.example(chosen);
                self.tag(b'r');
                self.example(rejected);
            }
        }
    }

    fn conversation(&mut self, conversation: &Conversation) {
        self.tag(b'm');
        for message in &conversation.messages {
            self.object(message.fields());
        }
        if let Some(tools) = &conversation.tools {
            self.tag(b'f');
            self.value(tools);
        }
    }

    fn object(&mut self, fields: &serde_json::Map<String, Value>) {
        self.tag(b'{');
        // Without the order of the keys. What is null says nothing.
        let mut keys: Vec<&String> =
            fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect();
        keys.sort_unstable();
        for key in keys {
            self.exact.write(key.as_bytes());
            self.exact.write(&[BORDER]);
            self.near.raw(key.as_bytes());
            self.value(&fields[key]);
        }
        self.tag(b'}');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(b'n'),
            Value::Bool(false) => self.tag(b'0'),
            Value::Bool(true) => self.tag(b'1'),
            Value::Number(number) => {
                self.tag(b'#');
                let bits = bits_of(number).to_le_bytes();
                self.exact.write(&bits);
                self.near.raw(&bits);
            }
            Value::String(text) => {
                self.tag(b'"');
                self.text(text);
            }
            Value::Array(values) => {
                self.tag(b'[');
                values.iter().for_each(|value| self.value(value));
                self.tag(b']');
            }
            Value::Object(fields) => self.object(fields),
        }
    }
}

/// 1 and 1.0 are the same number.
fn bits_of(number: &serde_json::Number) -> u64 {
    let float = number.as_f64().unwrap_or(f64::NAN);
    match number.as_i64() {
        Some(whole) => whole as u64,
        // Beyond this, neighbours of whole numbers are no floats.
        None if float.fract() == 0.0 && float.abs() < (1_u64 << 53) as f64 => float as i64 as u64,
        None => float.to_bits(),
    }
}

fn tokens(sample: &Sample, hash: &mut XxHash64) {
    for Sample { ids, labels, weights, rejected: _ } in sample.segments() {
        hash.write_u64(ids.len() as u64);
        ids.iter().for_each(|id| hash.write(&id.to_le_bytes()));
        labels.iter().for_each(|label| hash.write(&label.to_le_bytes()));
        weights.iter().flatten().for_each(|weight| hash.write(&weight.to_le_bytes()));
    }
}

/// Hashes text without its capitals, with one space for any white space between words and none around them.
struct Folded {
    hash: XxHash64,
    /// Hashing byte by byte would cost more than folding does.
    buffer: [u8; 256],
    n_buffered: usize,
}

impl Folded {
    fn new() -> Self {
        Self { hash: XxHash64::with_seed(NEAR), buffer: [0; 256], n_buffered: 0 }
    }

    fn text(&mut self, text: &str) {
        let mut is_begun = false;
        let mut has_gap = false;
        for c in text.chars() {
            if c.is_whitespace() {
                has_gap = is_begun;
                continue;
            }
            if has_gap {
                self.push(b' ');
                has_gap = false;
            }
            is_begun = true;
            if c.is_ascii() {
                self.push(c.to_ascii_lowercase() as u8);
            } else {
                for c in c.to_lowercase() {
                    self.raw(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        self.push(BORDER);
    }

    fn raw(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.push(*byte));
    }

    fn push(&mut self, byte: u8) {
        self.buffer[self.n_buffered] = byte;
        self.n_buffered += 1;
        if self.n_buffered == self.buffer.len() {
            self.hash.write(&self.buffer);
            self.n_buffered = 0;
        }
    }

    fn finish(mut self) -> u64 {
        self.hash.write(&self.buffer[..self.n_buffered]);
        self.hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::format::{RowLayout, example};
    use ftl_core::spec::resolved::DataFormat;
    use serde_json::json;

    fn of(row: &Value, format: DataFormat) -> Content {
        let read = example(row, &RowLayout::of(format));
        Content::of(&read.unwrap_or_else(|fault| panic!("{row}: {fault}")).0)
    }

    #[test]
    fn order_of_keys_and_other_columns_say_nothing() {
        let first = of(&json!({"question": "a b", "answer": "c"}), DataFormat::QuestionAnswer);
        let other = of(&json!({"id": 7, "answer": "c", "question": "a b"}), DataFormat::QuestionAnswer);
        assert_eq!(first, other);
        let call = |arguments: Value| {
            of(
                &json!([
                    {"role": "user", "content": "a"},
                    {"content": null, "role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
                ]),
                DataFormat::Messages,
            )
        };
        assert_eq!(call(json!({"x": 1, "y": [2.0]})), call(json!({"y": [2], "x": 1})));
        assert_ne!(call(json!({"x": 1})).near, call(json!({"x": 2})).near);
    }

    #[test]
    fn spaces_and_capitals_are_near() {
        let first = of(&json!({"text": "Ein Wört, zwei"}), DataFormat::Text);
        for (text, is_near) in [
            ("  ein\n\twört,  ZWEI ", true),
            ("ein\u{a0}WÖRT, zwei", true),
            ("ein wört , zwei", false),
            ("einwört, zwei", false),
            ("ein wort, zwei", false),
        ] {
            let other = of(&json!({ "text": text }), DataFormat::Text);
            assert_eq!((first.near == other.near, first.exact == other.exact), (is_near, false), "{text}");
        }
    }

    #[test]
    fn borders_between_fields_count() {
        let of = |prompt, completion| {
            of(&json!({"prompt": prompt, "completion": completion}), DataFormat::PromptCompletion)
        };
        assert_ne!(of("ab", "c").near, of("a", "bc").near);
        assert_ne!(of("ab", "c").exact, of("a", "bc").exact);
        assert_ne!(of("a b", "c").near, of("a", "b c").near);
    }

    #[test]
    fn hashes_stay_as_they_are() {
        // Splits follow from them, so a change moves rows that users have trained on to the other side.
        let content = of(&json!({"question": "Wie, bitte?", "answer": "So."}), DataFormat::QuestionAnswer);
        assert_eq!(content, Content { near: 24_990_553_569_550_036, exact: 4_858_015_975_557_079_772 });
        assert_eq!(content_of_tokens(&Sample::new(vec![1, 2], vec![-100, 2])), 4_427_920_226_253_830_987);
    }
}
