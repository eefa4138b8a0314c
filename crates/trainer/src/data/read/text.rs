//! Plain text: the whole file is one row, `{"text": …}`. Held in memory once.

use ftl_core::dataset::Code;
use serde_json::{Map, Value};

use super::limits::{LOT_BYTES, MAX_TEXT_BYTES};
use super::lot::{At, Body};
use super::stream::{Cut, Input};
use super::{Refusal, json};

/// A file of text.
pub(super) struct Text {
    /// `None`: it was given.
    input: Option<Input>,
    /// Its size on disk.
    expected_bytes: usize,
}

impl Text {
    pub(super) fn new(input: Input, expected_bytes: u64) -> Self {
        let expected_bytes = usize::try_from(expected_bytes).unwrap_or(usize::MAX);
        Self { input: Some(input), expected_bytes }
    }
}

impl Cut for Text {
    fn cut(&mut self, _: &mut Vec<String>) -> Result<Option<Body>, Refusal> {
        let Some(mut input) = self.input.take() else { return Ok(None) };
        // Growing by doubling would take three times the text for a moment.
        let mut bytes = Vec::with_capacity(self.expected_bytes.min(MAX_TEXT_BYTES) + LOT_BYTES);
        while input.fill(&mut bytes, LOT_BYTES)? > 0 {
            if bytes.len() > MAX_TEXT_BYTES {
                let limit = MAX_TEXT_BYTES >> 20;
                let what = format!("has more than {limit} MiB of text, which would be a single sample");
                return Err(
                    Refusal::new(Code::TooLarge, input.path(), what).hint("split it into several files")
                );
            }
        }
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..valid];
            let line = memchr::memchr_iter(b'\n', before).count() as u64 + 1;
            let line_start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
            let fault = json::not_utf8(&error.as_bytes()[line_start..], valid - line_start);
            let path = input.path();
            Refusal::new(fault.code, path, format!("{fault} of line {line}"))
                .in_line(path, line)
                .hint("save it as UTF-8")
        })?;
        if text.trim().is_empty() {
            return Err(Refusal::empty(input.path()));
        }
        unix_lines(&mut text);
        let row = Map::from_iter([("text".to_owned(), Value::String(text))]);
        Ok(Some(Body::Values(vec![(At { number: 1, line: None }, Value::Object(row))])))
    }
}

/// Turns CR LF into LF in place.
fn unix_lines(text: &mut String) {
    if !text.contains("\r\n") {
        return;
    }
    let mut bytes = std::mem::take(text).into_bytes();
    let mut kept = 0;
    for at in 0..bytes.len() {
        if bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n') {
            continue;
        }
        bytes[kept] = bytes[at];
        kept += 1;
    }
    bytes.truncate(kept);
    *text = String::from_utf8(bytes).expect("whole characters were left out");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_carriage_returns_before_line_feeds_go() {
        for (text, expected) in
            [("a\r\nb\r\n", "a\nb\n"), ("a\rb\r\r\n", "a\rb\r\n"), ("\r", "\r"), ("ü\n", "ü\n")]
        {
            let mut text = text.to_owned();
            unix_lines(&mut text);
            assert_eq!(text, expected);
        }
    }
}
