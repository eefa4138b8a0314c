//! `{% generation %} … {% endgeneration %}`: what the assistant generates, said by the template itself.
//!
//! transformers adds the tag to Jinja; minijinja takes no new tags. The tag becomes a `filter` block around a
//! `with` block (a scope of its own, as transformers' has), and the filter wraps its text in two characters that
//! occur nowhere in the input. They are taken out again when the text is complete, which also works inside
//! macros and captured blocks. Nothing is put between the two new tags, so that whitespace control stays exact.

use serde_json::Value;

use super::Rendered;

/// The filter that wraps its text.
pub const FILTER: &str = "_generation";
/// The template variable with the mark before the text.
pub const START_VARIABLE: &str = "_generation_start";
/// The template variable with the mark behind the text.
pub const END_VARIABLE: &str = "_generation_end";

/// Code points that Unicode reserves for internal use ("noncharacters"), from U+FDD0.
pub const NONCHARACTERS: usize = 32;
const FIRST_NONCHARACTER: u32 = 0xFDD0;

/// Characters that stand for places.
pub struct Marks {
    pub start: char,
    pub end: char,
    /// Where the last message is to be continued.
    pub cut: char,
    /// Where a piece of the data begins; its number follows in `digits`.
    pub open: char,
    /// Where it ends.
    pub close: char,
    /// The digits of a number.
    pub digits: [char; 10],
}

impl Marks {
    /// Such that are not `taken`.
    pub fn outside(taken: &[bool; NONCHARACTERS]) -> Option<Self> {
        let mut free = unused(taken);
        let (start, end, cut) = (free.next()?, free.next()?, free.next()?);
        let (open, close) = (free.next()?, free.next()?);
        let mut digits = ['\0'; 10];
        for digit in &mut digits {
            *digit = free.next()?;
        }
        Some(Self { start, end, cut, open, close, digits })
    }
}

impl Marks {
    /// Writes `number` in marks.
    pub fn write_number(&self, number: usize, out: &mut String) {
        if number >= 10 {
            self.write_number(number / 10, out);
        }
        out.push(self.digits[number % 10]);
    }

    /// Takes the number off with which `text` begins.
    pub fn read_number(&self, text: &mut &str) -> Option<usize> {
        let mut number: Option<usize> = None;
        while let Some(c) = text.chars().next()
            && let Some(digit) = self.digits.iter().position(|digit| *digit == c)
        {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            *text = &text[c.len_utf8()..];
        }
        number
    }
}

/// The place of the first of the noncharacters in `text`.
pub fn next_noncharacter(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|byte| *byte == 0xEF) {
        let at = from + found;
        // U+FDD0 to U+FDEF are EF B7 90 to EF B7 AF.
        if bytes[at + 1] == 0xB7 && (0x90..=0xAF).contains(&bytes[at + 2]) {
            return Some(at);
        }
        from = at + 3;
    }
    None
}

/// The noncharacters that are not `taken`.
pub fn unused(taken: &[bool; NONCHARACTERS]) -> impl Iterator<Item = char> {
    (FIRST_NONCHARACTER..)
        .zip(taken)
        .filter(|(_, taken)| !**taken)
        .map(|(code, _)| char::from_u32(code).expect("U+FDD0 to U+FDEF are scalar values"))
}

/// Notes in `taken` which noncharacters `value` holds.
pub fn find_noncharacters(value: &Value, taken: &mut [bool; NONCHARACTERS]) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => find_in_text(text, taken),
        Value::Array(values) => values.iter().for_each(|value| find_noncharacters(value, taken)),
        Value::Object(fields) => {
            for (key, value) in fields {
                find_in_text(key, taken);
                find_noncharacters(value, taken);
            }
        }
    }
}

/// Notes in `taken` which noncharacters `text` holds.
pub fn find_in_text(text: &str, taken: &mut [bool; NONCHARACTERS]) {
    // All of them begin with these bytes in UTF-8, and hardly any text has them.
    let bytes = text.as_bytes();
    if !bytes.iter().zip(bytes.iter().skip(1)).any(|pair| pair == (&0xEF, &0xB7)) {
        return;
    }
    for code in text.chars().map(u32::from) {
        if let Some(taken) =
            code.checked_sub(FIRST_NONCHARACTER).and_then(|index| taken.get_mut(index as usize))
        {
            *taken = true;
        }
    }
}

/// Replaces the tags in a template's source; says whether there was one.
pub fn rewrite(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let length = match rest.as_bytes().get(1) {
            Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
            Some(b'{') => tag_length(rest, "}}"),
            Some(b'%') => {
                let length = tag_length(rest, "%}");
                let tag = &rest[..length];
                match tag_name(tag) {
                    "generation" => {
                        let (before, after) = controls(tag);
                        out.push_str(&format!(
                            "{{%{before} filter {FILTER}({START_VARIABLE}, {END_VARIABLE}) %}}{{% with {after}%}}"
                        ));
                        found = true;
                        rest = &rest[length..];
                        continue;
                    }
                    "endgeneration" => {
                        let (before, after) = controls(tag);
                        out.push_str(&format!("{{%{before} endwith %}}{{% endfilter {after}%}}"));
                        rest = &rest[length..];
                        continue;
                    }
                    "raw" => length + raw_length(&rest[length..]),
                    _ => length,
                }
            }
            _ => 1,
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    (out, found)
}

/// Takes the marks out of `text`.
///
/// # Errors
/// What is wrong with them, when they don't come in pairs.
pub fn take_marks(text: &str, marks: &Marks) -> Result<Rendered, String> {
    let mut rendered = Rendered { text: String::with_capacity(text.len()), generated: Vec::new() };
    let mut open: Option<usize> = None;
    for part in text.split_inclusive([marks.start, marks.end]) {
        let plain = part.strip_suffix([marks.start, marks.end]).unwrap_or(part);
        rendered.text.push_str(plain);
        let here = rendered.text.len();
        if part.ends_with(marks.start) {
            if open.replace(here).is_some() {
                return Err("the chat template has a `generation` block inside another".to_owned());
            }
        } else if part.ends_with(marks.end) {
            let start = open.take().ok_or("the chat template cuts a `generation` block in two")?;
            if start < here {
                rendered.generated.push(start..here);
            }
        }
    }
    match open {
        None => Ok(rendered),
        Some(_) => Err("the chat template cuts a `generation` block in two".to_owned()),
    }
}

/// The length of the tag that `text` begins with; strings in it may hold anything.
fn tag_length(text: &str, end: &str) -> usize {
    let bytes = text.as_bytes();
    let mut index = 2;
    while index < bytes.len() {
        match bytes[index] {
            quote @ (b'"' | b'\'') => {
                index += 1;
                while index < bytes.len() && bytes[index] != quote {
                    index += if bytes[index] == b'\\' { 2 } else { 1 };
                }
                index += 1;
            }
            _ if bytes[index..].starts_with(end.as_bytes()) => return index + end.len(),
            _ => index += 1,
        }
    }
    text.len()
}

fn raw_length(text: &str) -> usize {
    let mut from = 0;
    while let Some(open) = text[from..].find("{%") {
        let start = from + open;
        let length = tag_length(&text[start..], "%}");
        if tag_name(&text[start..start + length]) == "endraw" {
            return start + length;
        }
        from = start + 2;
    }
    text.len()
}

fn tag_name(tag: &str) -> &str {
    let inside = tag.trim_start_matches("{%").trim_start_matches(['-', '+']).trim_start();
    inside.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")
}

/// The whitespace controls (`-`, `+`) at both ends of a tag.
fn controls(tag: &str) -> (&str, &str) {
    let sign = |byte: Option<&u8>, at: usize| match byte {
        Some(b'-' | b'+') => &tag[at..=at],
        _ => "",
    };
    let last = tag.len().saturating_sub(3);
    (sign(tag.as_bytes().get(2), 2), sign(tag.as_bytes().get(last), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_keep_their_whitespace_controls() {
        let (source, found) = rewrite("a {%- generation -%} b {%+ endgeneration %} c");
        assert!(found);
        assert_eq!(
            source,
            "a {%- filter _generation(_generation_start, _generation_end) %}{% with -%} b \
             {%+ endwith %}{% endfilter %} c"
        );
    }

    #[test]
    fn generation_tags_in_comments_strings_and_raw_blocks_stay() {
        for source in [
            "{# {% generation %} #}",
            "{{ '{% generation %}' }}",
            "{% set a = \"\\\"{% generation %}\" %}",
            "{% raw %}{% generation %}{% endraw %}",
            "{ % generation % } {",
        ] {
            assert_eq!(rewrite(source), (source.to_owned(), false));
        }
    }

    #[test]
    fn marks_become_spans() {
        let marks = Marks { start: '<', end: '>', cut: '|', open: '(', close: ')', digits: ['0'; 10] };
        let rendered = take_marks("é<ab>c<>d", &marks).expect("in pairs");
        assert_eq!(rendered.text, "éabcd");
        assert_eq!(rendered.generated, std::slice::from_ref(&(2..4)));
        assert!(take_marks("a>", &marks).is_err());
        assert!(take_marks("<a", &marks).is_err());
        assert!(take_marks("<a<b>", &marks).is_err());
    }
}
