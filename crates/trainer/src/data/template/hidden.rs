//! A rendering in which words of the data are hidden: wherever a message or a tool spells one of them, a number in marks
//! stands for it, so that what the template itself writes can be told from what somebody said.

use std::ops::Range;

use ftl_core::Problem;
use minijinja::Value as Term;
use serde_json::{Map, Value};

use super::environment::value_from_json;
use super::generation::{Marks, next_noncharacter};
use super::{Ending, Scene};

/// A rendering with hidden words.
#[derive(Debug)]
pub struct Hidden {
    /// The text, with numbers in place of words.
    pub text: String,
    /// Where the numbers stand, and the word that each stands for, in order.
    pub words: Vec<(Range<usize>, usize)>,
}

impl Scene<'_> {
    /// Renders the conversation with `words` of the data hidden; none is empty.
    ///
    /// # Errors
    /// As [`Scene::render`].
    pub fn render_hiding(&self, words: &[&str], ending: Ending) -> Result<Hidden, Problem> {
        let hide = |text: &str| hide(text, words, &self.marks);
        let messages = self.conversation.messages.iter().map(|message| {
            let fields = self.template.fields(message);
            value_from_json(&Value::Object(map_fields(fields, &hide)))
        });
        let messages: Vec<Term> = messages.collect();
        let tools = self.conversation.tools.clone();
        let tools = tools.map_or_else(|| Term::from(()), |tools| value_from_json(&map_texts(tools, &hide)));
        let text = self.unmarked(&self.fill_in(messages, tools, ending)?)?.text;
        Ok(Hidden { words: numbers(&text, &self.marks), text })
    }
}

impl Hidden {
    /// The text with its words in place of the numbers, and what `places` of this text are there, in order.
    pub fn shown(
        &self,
        words: &[&str],
        places: impl Iterator<Item = Range<usize>>,
    ) -> (String, Vec<Range<usize>>) {
        let mut shown = String::with_capacity(self.text.len());
        let mut moved = Vec::new();
        let mut places = places.peekable();
        let mut done = 0;
        for (number, word) in self
            .words
            .iter()
            .map(|(number, word)| (number.clone(), words.get(*word)))
            .chain([(self.text.len()..self.text.len(), None)])
        {
            while let Some(place) = places.next_if(|place| place.end <= number.start) {
                let start = shown.len() + (place.start - done);
                moved.push(start..start + place.len());
            }
            shown.push_str(&self.text[done..number.start]);
            shown.push_str(word.copied().unwrap_or_default());
            done = number.end;
        }
        (shown, moved)
    }
}

fn hide(text: &str, words: &[&str], marks: &Marks) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        // The first, and of those that begin there the longest, as tokenizers take them.
        let places = words.iter().enumerate().filter_map(|(index, word)| Some((rest.find(word)?, index)));
        let first = places.min_by_key(|(place, index)| (*place, usize::MAX - words[*index].len()));
        let Some((place, index)) = first else { break };
        out.push_str(&rest[..place]);
        out.push(marks.open);
        marks.write_number(index, &mut out);
        out.push(marks.close);
        rest = &rest[place + words[index].len()..];
    }
    out.push_str(rest);
    out
}

fn map_texts(value: Value, map: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        Value::String(text) => Value::String(map(&text)),
        Value::Array(values) => values.into_iter().map(|value| map_texts(value, map)).collect(),
        Value::Object(fields) => Value::Object(map_fields(fields, map)),
    }
}

fn map_fields(fields: Map<String, Value>, map: &dyn Fn(&str) -> String) -> Map<String, Value> {
    fields.into_iter().map(|(key, value)| (map(&key), map_texts(value, map))).collect()
}

fn numbers(text: &str, marks: &Marks) -> Vec<(Range<usize>, usize)> {
    let mut numbers = Vec::new();
    let mut from = 0;
    while let Some(found) = next_noncharacter(&text[from..]) {
        let start = from + found;
        let mut rest = &text[start..];
        let is_whole = take(&mut rest, marks.open);
        let number = marks.read_number(&mut rest);
        match number {
            Some(number) if is_whole && take(&mut rest, marks.close) => {
                let end = text.len() - rest.len();
                numbers.push((start..end, number));
                from = end;
            }
            Some(_) | None => from = start + marks.open.len_utf8(),
        }
    }
    numbers
}

fn take(text: &mut &str, mark: char) -> bool {
    match text.strip_prefix(mark) {
        Some(rest) => {
            *text = rest;
            true
        }
        None => false,
    }
}
