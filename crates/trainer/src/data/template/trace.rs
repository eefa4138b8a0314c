//! Which text of a rendering comes from which message.
//!
//! The conversation is rendered a second time with marks around what its messages say, characters that occur nowhere
//! else. Where that is the same text but for the marks, they show where each piece stands. Where it is not, since the
//! template looks at what it prints, there is no trace, and who asks has to find out in another way.
//!
//! White space around a text stays outside of the marks, for templates trim; the parts before, inside and behind
//! `<think>` have marks of their own, for templates take them apart.

use std::ops::Range;

use minijinja::Value as Term;
use serde_json::{Map, Value};

use super::environment::value_from_json;
use super::generation::Marks;
use super::{Ending, Rendered, Scene};
use crate::data::format::{Message, THOUGHTS};

/// Where the pieces of a conversation stand in its rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// In the order of the text.
    pub found: Vec<Piece>,
    /// What the template leaves out: of which message, and what.
    pub lost: Vec<(usize, Part)>,
}

/// A piece of a message, in a rendering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which message.
    pub message: usize,
    /// What of it.
    pub part: Part,
    /// Where it stands.
    pub bytes: Range<usize>,
}

/// What of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its content.
    Content,
    /// What was thought before, in a field of its own.
    Thought,
    /// A call of a tool: its name, or a text of its arguments.
    Call,
}

/// What parts thoughts from answers in a content.
const THINK: [&str; 2] = ["<think>", "</think>"];

impl Trace {
    /// The bytes from the first to the last piece of message `index`.
    pub fn bytes_of(&self, index: usize) -> Option<Range<usize>> {
        let mut of_message = self.found.iter().filter(|piece| piece.message == index);
        let first = of_message.next()?;
        let last = of_message.next_back().unwrap_or(first);
        Some(first.bytes.start..last.bytes.end)
    }
}

impl Scene<'_> {
    /// Finds what the messages say in `rendered`, which is the whole conversation. `None`: the template writes another
    /// text when it is marked.
    pub fn trace(&self, rendered: &Rendered) -> Option<Trace> {
        let mut marker = Marker { marks: &self.marks, pieces: Vec::new() };
        let messages = self.conversation.messages.iter().enumerate();
        let marked: Vec<Term> =
            messages.map(|(index, message)| marker.message(index, message, self)).collect();
        let text = self.fill_in(marked, self.tools.clone(), Ending::Complete).ok()?;
        read_marks(&text, rendered, &self.marks, &marker.pieces)
    }
}

/// The parts of a content that templates take apart.
pub fn parts_of(content: &str) -> impl Iterator<Item = &str> {
    content
        .split(THINK[0])
        .flat_map(|part| part.split(THINK[1]))
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// What of `content` stands outside of the marks, before and behind all it says; `None`: it says nothing.
pub(super) fn edges_of(content: &str) -> Option<(&str, &str)> {
    let place = |part: &str| part.as_ptr() as usize - content.as_ptr() as usize;
    let first = parts_of(content).next()?;
    let last = parts_of(content).last()?;
    Some((&content[..place(first)], &content[place(last) + last.len()..]))
}

/// Puts marks around texts and remembers whose they are.
struct Marker<'a> {
    marks: &'a Marks,
    pieces: Vec<(usize, Part)>,
}

impl Marker<'_> {
    fn message(&mut self, index: usize, message: &Message, scene: &Scene<'_>) -> Term {
        let parsed: Map<String, Value>;
        let fields = if message.calls() {
            parsed = scene.template.fields(message);
            &parsed
        } else {
            message.fields()
        };
        Term::from_pairs(fields.iter().map(|(key, value)| {
            let marked = match (key.as_str(), value) {
                ("content", Value::String(text)) => self.content(text, index).into(),
                (key, Value::String(text)) if THOUGHTS.contains(&key) => {
                    let mut out = String::new();
                    self.piece(text, (index, Part::Thought), &mut out);
                    out.into()
                }
                ("tool_calls", calls) => value_from_json(&self.calls(calls, index)),
                (_, value) => value_from_json(value),
            };
            (key.as_str(), marked)
        }))
    }

    fn content(&mut self, text: &str, index: usize) -> String {
        let mut out = String::with_capacity(text.len() + 32);
        let mut rest = text;
        loop {
            let next = THINK.iter().filter_map(|tag| Some((rest.find(tag)?, *tag))).min();
            let end = next.map_or(rest.len(), |(place, _)| place);
            self.piece(&rest[..end], (index, Part::Content), &mut out);
            let Some((_, tag)) = next else { return out };
            out.push_str(tag);
            rest = &rest[end + tag.len()..];
        }
    }

    /// Names and arguments of calls; their types and ids are words that templates compare.
    fn calls(&mut self, calls: &Value, index: usize) -> Value {
        let mut calls = calls.clone();
        for call in calls.as_array_mut().into_iter().flatten() {
            let call = if call.get("function").is_some() { &mut call["function"] } else { call };
            for key in ["name", "arguments"] {
                if let Some(value) = call.get_mut(key) {
                    self.texts(value, index);
                }
            }
        }
        calls
    }

    fn texts(&mut self, value: &mut Value, index: usize) {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => {
                let mut out = String::with_capacity(text.len() + 32);
                self.piece(text, (index, Part::Call), &mut out);
                *text = out;
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.texts(value, index)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.texts(value, index)),
        }
    }

    fn piece(&mut self, text: &str, whose: (usize, Part), out: &mut String) {
        let core = text.trim();
        if core.is_empty() {
            out.push_str(text);
            return;
        }
        let start = text.len() - text.trim_start().len();
        out.push_str(&text[..start]);
        out.push(self.marks.open);
        self.marks.write_number(self.pieces.len(), out);
        out.push_str(core);
        out.push(self.marks.close);
        out.push_str(&text[start + core.len()..]);
        self.pieces.push(whose);
    }
}

fn read_marks(text: &str, rendered: &Rendered, marks: &Marks, pieces: &[(usize, Part)]) -> Option<Trace> {
    let mut at = 0; // in the rendering
    let mut open: Option<(usize, usize)> = None;
    let mut found: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut is_found = vec![false; pieces.len()];
    let mut rest = text;
    loop {
        let next = super::generation::next_noncharacter(rest);
        let plain = &rest[..next.unwrap_or(rest.len())];
        if !rendered.text.as_bytes()[at..].starts_with(plain.as_bytes()) {
            return None;
        }
        at += plain.len();
        rest = &rest[plain.len()..];
        let Some(mark) = rest.chars().next() else { break };
        rest = &rest[mark.len_utf8()..];
        if mark == marks.open {
            let number = marks.read_number(&mut rest).filter(|number| *number < pieces.len())?;
            if open.replace((number, at)).is_some() {
                return None;
            }
        } else if mark == marks.close {
            let (number, start) = open.take()?;
            let (message, part) = pieces[number];
            // One that is said twice has no place of its own.
            if std::mem::replace(&mut is_found[number], true) {
                return None;
            }
            found.push(Piece { message, part, bytes: start..at });
        } else if mark != marks.start && mark != marks.end {
            // The text has this character itself.
            let mut bytes = [0; 4];
            let own = mark.encode_utf8(&mut bytes);
            if !rendered.text[at..].starts_with(&*own) {
                return None;
            }
            at += own.len();
        }
    }
    if at != rendered.text.len() || open.is_some() {
        return None;
    }
    let lost =
        pieces.iter().zip(is_found).filter(|(_, is_found)| !is_found).map(|(whose, _)| *whose).collect();
    Some(Trace { found, lost })
}
