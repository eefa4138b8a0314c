//! The keys of objects that are not there in full, and which of them hold rows.

use super::scan::Scan;

/// Keys that hold the rows of a file.
const WRAPPERS: &[&str] = &[
    "data",
    "rows",
    "train",
    "training",
    "examples",
    "instances",
    "items",
    "records",
    "samples",
    "dataset",
    "entries",
    "conversations",
    "results",
    "documents",
    "dialogs",
    "dialogues",
    "chats",
    "pairs",
    "questions",
];

/// Keys of rows. An object that has one is a row, unless a key of [`WRAPPERS`] holds others.
const OF_ROWS: &[&str] = &[
    "messages",
    "conversation",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "response",
    "question",
    "answer",
    "text",
    "content",
    "chosen",
    "rejected",
    "chosen_messages",
    "rejected_messages",
    "input_ids",
    "label",
    "tools",
    "functions",
];

/// The array of rows within an object.
pub(super) struct Wrapper {
    /// The key that holds it.
    pub key: String,
    /// What comes before its first element.
    pub n_before: usize,
    /// Keys before it that hold rows too.
    pub others: Vec<String>,
}

/// Whether this is a key that rows have.
pub(super) fn is_of_rows(key: &str) -> bool {
    OF_ROWS.contains(&key)
}

/// The keys of the entries at the end of an object that hold rows; `rest` begins after an entry.
pub(super) fn of_more_rows(rest: &[u8]) -> Vec<String> {
    let text = [b"{", rest].concat();
    let entries: Vec<Entry> = entries(&text).collect();
    entries.into_iter().filter(|entry| holds_rows(&text, entry)).map(|entry| entry.key).collect()
}

/// The array that holds the rows of the object that `text` begins with.
pub(super) fn wrapper(text: &[u8]) -> Option<Wrapper> {
    let entries: Vec<Entry> = entries(text).collect();
    let is_row = entries.iter().any(|entry| is_of_rows(&entry.key));
    let holders: Vec<&Entry> = entries.iter().filter(|entry| holds_rows(text, entry)).collect();
    let is_named = |entry: &&&Entry, names: &[&str]| names.contains(&entry.key.to_lowercase().as_str());
    // Under a name that says nothing it takes rows that look like some.
    let looks_like_rows = |entry: &&Entry| {
        let keys = of_first_element(&text[entry.value + 1..]);
        keys.iter().any(|key| is_of_rows(key) || key == "conversations")
    };
    let first = || entries.first().filter(|entry| !is_row && holds_rows(text, entry)).filter(looks_like_rows);
    let found = holders.iter().find(|entry| is_named(entry, &["train", "training"])).copied();
    let found =
        found.or_else(|| holders.iter().find(|entry| is_named(entry, WRAPPERS)).copied()).or_else(first)?;
    let before = holders.iter().filter(|entry| entry.value < found.value).map(|entry| entry.key.clone());
    Some(Wrapper { key: found.key.clone(), n_before: found.value + 1, others: before.collect() })
}

/// Whether the value of an entry is a list of rows: of objects that are no messages, or of lists of messages.
fn holds_rows(text: &[u8], entry: &Entry) -> bool {
    let Some(elements) = text[entry.value..].strip_prefix(b"[") else { return false };
    match elements.trim_ascii_start() {
        [b'{', ..] => !is_message(&of_first_element(elements)),
        [b'[', inner @ ..] => inner.trim_ascii_start().starts_with(b"{"),
        _ => false,
    }
}

/// The keys of the object that a list begins with, as far as they are there; `elements` begins after the bracket.
pub(super) fn of_first_element(elements: &[u8]) -> Vec<String> {
    entries(elements.trim_ascii_start()).map(|entry| entry.key).collect()
}

/// Whether an object with these keys is a message of a conversation.
pub(super) fn is_message(keys: &[String]) -> bool {
    let has = |name: &str| keys.iter().any(|key| key == name);
    let is_turn = has("role") || has("from") && has("value");
    is_turn && !has("messages") && !has("conversations")
}

struct Entry {
    key: String,
    /// Where its value begins.
    value: usize,
}

/// The entries of an object, as far as they are there.
fn entries(text: &[u8]) -> impl Iterator<Item = Entry> {
    let mut at = usize::from(text.first() == Some(&b'{'));
    let is_object = at == 1;
    std::iter::from_fn(move || {
        at += blanks(text.get(at..)?, b",");
        if !is_object || text.get(at) != Some(&b'"') {
            return None;
        }
        let key_end = at + Scan::default().end(&text[at..])?;
        let key = serde_json::from_slice(&text[at..key_end]).ok()?;
        let value = key_end + blanks(&text[key_end..], b":");
        text.get(value)?;
        at = Scan::default().end(&text[value..]).map_or(text.len(), |n_bytes| value + n_bytes);
        Some(Entry { key, value })
    })
}

/// How many of the first bytes are blank or one of `others`.
fn blanks(text: &[u8], others: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_whitespace() || others.contains(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_within_objects() {
        for (text, expected) in [
            (r#"{"data": [{"text": "a"}"#, Some("data")),
            (r#"{"version": {"a": [1]}, "Data": [ {"text"#, Some("Data")),
            (r#"{"squad": [{"text": "a"}]}"#, Some("squad")),
            (r#"{"conversations": [{"id": 1, "messages": [{"role": "user"}]}]}"#, Some("conversations")),
            (r#"{"data": [[{"role": "user"}]]}"#, Some("data")),
            (r#"{"conversations": [{"from": "human", "value": "a"}]}"#, None),
            (r#"{"messages": [{"role": "user", "content": "a"}]}"#, None),
            (r#"{"tools": [{"type": "function"}], "messages": []}"#, None),
            (r#"{"answers": [{"text": "a"}], "question": "b"}"#, None),
            (r#"{"test": [{"text": "a"}], "train": [{"text": "b"}]}"#, Some("train")),
            (r#"{"data": ["a"]}"#, None),
            (r#"{"data": "#, None),
            ("{", None),
            ("[", None),
        ] {
            let found = wrapper(text.as_bytes());
            assert_eq!(found.as_ref().map(|found| found.key.as_str()), expected, "{text}");
            if let Some(found) = found {
                assert_eq!(text.as_bytes()[found.n_before - 1], b'[', "{text}");
            }
        }
    }
}
