//! What a template writes between the texts of messages, and where in it turns begin and end.
//!
//! A template writes the same words around every answer. Where a turn begins and ends in them follows from renderings of
//! parts of a conversation, which are costly; it is remembered for the next answer that has the same words around it, in
//! a like place.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

use super::trace::edges_of;
use super::{Scene, Trace};

/// Words that are longer hold something of the data.
const LONGEST_WORDS: usize = 2048;
/// Entries; a template with more than that does not repeat itself.
const MOST_ENTRIES: usize = 4096;

/// What is known of a template.
#[derive(Default)]
pub(super) struct Memory {
    entries: RwLock<HashMap<String, Entry>>,
}

/// Relative to the texts of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Bytes between the beginning of the turn and that of the text.
    before: usize,
    /// Bytes between the end of the text and that of the turn.
    after: usize,
    /// What the prompt goes on with where the text begins: a text that begins so has its beginning given.
    beyond: String,
}

/// The place of a message in a rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    index: usize,
    /// Its texts.
    bytes: Range<usize>,
    /// Where the text before it ends.
    from: usize,
    /// Where the text behind it begins.
    until: usize,
}

/// Where a turn was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Borders {
    /// Its bytes.
    pub bytes: Range<usize>,
    /// The prompt for it, as far as there is one.
    pub prompt: Option<String>,
}

impl Site {
    /// Of message `index` in `text`; `None`: it has no text there, or others stand in between.
    pub fn of(index: usize, trace: &Trace, text: &str) -> Option<Self> {
        let first = trace.found.iter().position(|piece| piece.message == index)?;
        let last = trace.found.iter().rposition(|piece| piece.message == index)?;
        if trace.found[first..=last].iter().any(|piece| piece.message != index) {
            return None;
        }
        let bytes = trace.found[first].bytes.start..trace.found[last].bytes.end;
        let from = first.checked_sub(1).map_or(0, |before| trace.found[before].bytes.end);
        let until = trace.found.get(last + 1).map_or(text.len(), |next| next.bytes.start);
        Some(Self { index, bytes, from, until })
    }
}

impl Scene<'_> {
    /// The turn at `site` of `text`, where one with the same words around it was found before.
    pub fn remembered(&self, site: &Site, text: &str) -> Option<Range<usize>> {
        let key = self.key(site, text)?;
        let entries = self.template.memory.entries.read().unwrap_or_else(PoisonError::into_inner);
        let Entry { before, after, beyond } = entries.get(&key)?;
        let Range { start, end } = site.bytes;
        let is_given = !beyond.is_empty() && text[start..].starts_with(beyond.as_str());
        (!is_given).then(|| start - before..end + after)
    }

    /// Remembers the turn that was found at `site` of `text`.
    pub fn remember(&self, site: &Site, text: &str, borders: Borders) {
        let Borders { bytes, prompt } = borders;
        let Some(key) = self.key(site, text) else { return };
        let (Some(before), Some(after)) =
            (site.bytes.start.checked_sub(bytes.start), bytes.end.checked_sub(site.bytes.end))
        else {
            return;
        };
        if bytes.start < site.from || site.until < bytes.end {
            return;
        }
        let given = prompt.as_ref().and_then(|prompt| prompt.strip_prefix(&text[..site.bytes.start]));
        let beyond = given.unwrap_or_default().to_owned();
        let mut entries = self.template.memory.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < MOST_ENTRIES {
            entries.insert(key, Entry { before, after, beyond });
        }
    }

    /// The words around a message, and what else may decide where its turn ends.
    fn key(&self, site: &Site, text: &str) -> Option<String> {
        let (before, after) = (&text[site.from..site.bytes.start], &text[site.bytes.end..site.until]);
        if before.len() + after.len() > LONGEST_WORDS {
            return None;
        }
        let messages = &self.conversation.messages;
        let message = &messages[site.index];
        // White space at the ends of a text belongs to it, but stands among the words around it. Where a neighbour says
        // nothing, the words would be those of more than one place.
        let neighbour = |index: Option<usize>| match index.and_then(|index| messages.get(index)) {
            None => Some(None),
            Some(message) if message.calls() && message.content().is_empty() => {
                Some(Some((message.role, ("", ""))))
            }
            Some(message) => Some(Some((message.role, edges_of(message.content())?))),
        };
        let place = (
            neighbour(site.index.checked_sub(1))?,
            neighbour(Some(site.index + 1))?,
            message.calls(),
            edges_of(message.content()),
            self.conversation.tools.is_some(),
        );
        let arguments = &self.arguments;
        Some(format!("{}:{place:?}:{arguments:?}:{before}{after}", before.len()))
    }
}
