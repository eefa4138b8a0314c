//! Control tokens that data spell out. In a conversation the template alone says where a turn begins and ends: what a
//! message holds is text, whatever it looks like.

use serde_json::Value;

use super::format::{Conversation, Message};
use super::literal::Control;
use super::template::{Ending, Rendered, Scene};
use super::tokenize::{Around, Tokenized, Tokenizer};
use ftl_core::Problem;

/// Which control tokens data spell, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spelled {
    /// None.
    Nothing,
    /// These; they are ordinary text.
    AsText(Vec<String>),
    /// These; they act as control tokens.
    AsControls(Vec<String>),
}

/// The tokens of a rendered conversation. Text of the data that spells a control token is ordinary text.
///
/// # Errors
/// The tokenizer has no token for a part of the text.
pub fn encode_rendered(
    tokenizer: &Tokenizer,
    scene: &Scene<'_>,
    rendered: &Rendered,
    ending: Ending,
) -> Result<(Tokenized, Spelled), Problem> {
    let encoded = tokenizer.encode_with_offsets(&rendered.text, Around::Nothing)?;
    let conversation = scene.conversation();
    let words = spelled_by(tokenizer, &encoded.ids, conversation);
    if words.is_empty() {
        return Ok((encoded, Spelled::Nothing));
    }
    // A word that is hidden may have been the end of another one.
    let all = tokenizer.spellings();
    let Some(meant) = meant(tokenizer, (scene, rendered), &all, ending) else {
        return Ok((encoded, Spelled::AsControls(words)));
    };
    let encoded = tokenizer.encode_meant(&rendered.text, &meant, Around::Nothing)?;
    Ok((encoded, Spelled::AsText(words)))
}

/// The control tokens among `ids` that a conversation spells.
pub(super) fn spelled_by(tokenizer: &Tokenizer, ids: &[u32], conversation: &Conversation) -> Vec<String> {
    let found = spellings(tokenizer, ids).into_iter();
    found.filter(|word| spells(conversation, word)).map(str::to_owned).collect()
}

/// The tokens of text in which no control token is meant, and of which none acts as one.
///
/// # Errors
/// The tokenizer has no token for a part of the text.
pub(super) fn encode_text(
    tokenizer: &Tokenizer,
    text: &str,
    around: Around,
) -> Result<(Vec<u32>, Spelled), Problem> {
    let ids = tokenizer.encode(text, around)?;
    match spelled_in(tokenizer, &ids, text) {
        words if words.is_empty() => Ok((ids, Spelled::Nothing)),
        words => Ok((tokenizer.encode_meant(text, &[], around)?.ids, Spelled::AsText(words))),
    }
}

/// The control tokens among `ids` that `text` spells.
pub(super) fn spelled_in(tokenizer: &Tokenizer, ids: &[u32], text: &str) -> Vec<String> {
    spellings(tokenizer, ids).into_iter().filter(|word| text.contains(word)).map(str::to_owned).collect()
}

/// The different control tokens among `ids`, as they are spelled.
fn spellings<'a>(tokenizer: &'a Tokenizer, ids: &[u32]) -> Vec<&'a str> {
    let mut found: Vec<u32> = Vec::new();
    for id in ids.iter().filter(|id| tokenizer.is_special(**id)) {
        if !found.contains(id) {
            found.push(*id);
        }
    }
    found.into_iter().filter_map(|id| tokenizer.spelling(id)).collect()
}

fn spells(conversation: &Conversation, word: &str) -> bool {
    let in_messages = conversation
        .messages
        .iter()
        .flat_map(Message::fields)
        .any(|(key, value)| key == word || says(value, word));
    in_messages || conversation.tools.as_ref().is_some_and(|tools| says(tools, word))
}

fn says(value: &Value, word: &str) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains(word),
        Value::Array(values) => values.iter().any(|value| says(value, word)),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains(word) || says(value, word)),
    }
}

/// The control tokens that the template writes; `None`: they can't be told from those of the data, since the template
/// takes the text of messages apart.
fn meant(
    tokenizer: &Tokenizer,
    (scene, rendered): (&Scene<'_>, &Rendered),
    words: &[&str],
    ending: Ending,
) -> Option<Vec<Control>> {
    let hidden = scene.render_hiding(words, ending).ok()?;
    let controls = tokenizer.controls_in(&hidden.text);
    let (text, places) = hidden.shown(words, controls.iter().map(|control| control.bytes.clone()));
    // A last message that is to be continued is all there, and its end cut off.
    let is_same = match ending {
        Ending::Complete | Ending::GenerationPrompt => text == rendered.text,
        Ending::ContinueFinalMessage => text.starts_with(&rendered.text),
    };
    if !is_same || places.len() != controls.len() {
        return None;
    }
    let controls = controls.into_iter().zip(places).map(|(control, bytes)| Control { bytes, ..control });
    Some(controls.filter(|control| control.bytes.end <= rendered.text.len()).collect())
}
