//! What is wrong with a row that is not JSON: the usual causes by name, with the column.

use ftl_core::dataset::Code;

use super::Fault;

/// What serde_json nests at most; one more is refused, so that no stack overflows.
const MAX_DEPTH: usize = 127;

/// The fault that `error` shows in `text`. `first_line`: the line of the file that the row begins in, where it may
/// extend over several.
pub(super) fn fault(text: &str, error: &serde_json::Error, first_line: Option<u64>) -> Fault {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or_default();
    if said.contains("recursion limit") {
        return Fault::new(Code::TooDeep, format!("is nested more than {MAX_DEPTH} levels deep"));
    }
    let spot = Spot::of(text, error);
    let place = spot.place(first_line);
    if let Some(half) = spot.half_of_a_pair(said) {
        return Fault::new(
            Code::LoneSurrogate,
            format!("has half of a surrogate pair, `{half}`, {place}; both halves make one character"),
        );
    }
    let what = if error.is_eof() { spot.early_end().to_owned() } else { spot.cause(said) };
    Fault::new(Code::NotJson, format!("is not valid JSON: {what} {place}"))
}

/// Where an error is.
struct Spot<'a> {
    /// From the beginning of the row to the error.
    before: &'a str,
    /// The error and what follows.
    after: &'a str,
}

impl<'a> Spot<'a> {
    fn of(text: &'a str, error: &serde_json::Error) -> Self {
        let start = match error.line().saturating_sub(2) {
            _ if error.line() < 2 => 0,
            nth => memchr::memchr_iter(b'\n', text.as_bytes()).nth(nth).map_or(0, |end| end + 1),
        };
        // Columns count bytes from 1 and may name the line end.
        let at = text.floor_char_boundary(start + error.column().saturating_sub(1));
        let (before, after) = text.split_at(at);
        Self { before, after }
    }

    /// `at column 5`, or `in line 7 at column 5`.
    fn place(&self, first_line: Option<u64>) -> String {
        let (line_start, n_before) = match self.before.rfind('\n') {
            Some(end) => (end + 1, memchr::memchr_iter(b'\n', self.before.as_bytes()).count() as u64),
            None => (0, 0),
        };
        let column = self.before[line_start..].chars().count() + 1;
        match first_line {
            Some(line) => format!("in line {} at column {column}", line + n_before),
            None => format!("at column {column}"),
        }
    }

    /// The escape sequence around the error, if that is its fault.
    fn half_of_a_pair(&self, said: &str) -> Option<String> {
        if !said.contains("surrogate") && !said.contains("hex escape") {
            return None;
        }
        // Far enough back for a pair of which the second half is wrong.
        let start = self.before.floor_char_boundary(self.before.len().saturating_sub(14));
        let end = self.after.floor_char_boundary(6);
        let around = [&self.before[start..], &self.after[..end]].concat();
        let is_half = |escape: &&str| {
            let digits = escape[2..].to_ascii_lowercase();
            matches!(digits.as_bytes(), [b'd', b'8' | b'9' | b'a'..=b'f', third, fourth]
                if third.is_ascii_hexdigit() && fourth.is_ascii_hexdigit())
        };
        let escapes = around.match_indices("\\u").filter_map(|(at, _)| around.get(at..at + 6));
        escapes.filter(is_half).map(str::to_owned).next()
    }

    fn early_end(&self) -> &'static str {
        let text = self.before.trim_ascii_end();
        if is_within_string(text) {
            "it ends within a string (was it cut off, or does the text hold a line break that should be `\\n`?)"
        } else {
            "it ends before it is complete (was it cut off, or written over several lines?)"
        }
    }

    fn cause(&self, said: &str) -> String {
        let after = self.after;
        let begins = |words: &[&'static str]| words.iter().find(|word| after.starts_with(**word)).copied();
        if self.before.ends_with('-') && after.starts_with("Infinity") {
            return "`-Infinity` is no number in JSON; write null, or leave the key out,".to_owned();
        }
        if let Some(word) = begins(&["NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"]) {
            return format!("`{word}` is no number in JSON; write null, or leave the key out,");
        }
        if let Some(word) = begins(&["True", "False", "None"]) {
            return format!("`{word}` is Python; JSON has true, false and null:");
        }
        if let Some(word) = begins(&["undefined"]) {
            return format!("`{word}` is JavaScript; JSON has null:");
        }
        if let Some(word) = begins(&["//", "/*", "#"]) {
            return format!("a comment (`{word}`), which JSON does not have,");
        }
        if after.starts_with('\'') {
            return "single quotes, where JSON has double quotes,".to_owned();
        }
        if after.starts_with(['“', '”', '„', '‘', '’', '«', '»']) {
            return "typographic quotes, where JSON has `\"`,".to_owned();
        }
        match said {
            "trailing comma" => return "a comma after the last entry".to_owned(),
            "trailing characters" => return trailing(after),
            "key must be a string"
                if after.starts_with(|first: char| first.is_alphanumeric() || first == '_') =>
            {
                return "a key without quotes".to_owned();
            }
            "control character (\\u0000-\\u001F) found while parsing a string" => return control(after),
            "number out of range" => return "a number too large for a 64-bit float".to_owned(),
            "invalid escape" => {
                return "a backslash before a character that can't be escaped; write `\\\\` for a backslash:"
                    .to_owned();
            }
            "expected value" | "expected ident" if !self.before.contains(['{', '[', '"']) => {
                let shown: String = self.before.chars().chain(after.chars()).take(20).collect();
                return format!("it begins with `{shown}`, as if it were the rest of the row before,");
            }
            _ => {}
        }
        said.to_owned()
    }
}

/// What follows a complete value.
fn trailing(after: &str) -> String {
    match after.chars().next() {
        Some('{' | '[') => "a second value in the row, where each needs a line of its own,".to_owned(),
        Some(',') => "a comma after the value, as between the rows of an array,".to_owned(),
        Some('}' | ']') => "a closing bracket too many".to_owned(),
        Some(_) | None => "it goes on after its value".to_owned(),
    }
}

fn control(after: &str) -> String {
    match after.chars().next() {
        Some('\t') => "a raw tab within a string; write `\\t`:".to_owned(),
        Some('\n' | '\r') => "a raw line break within a string; write `\\n`:".to_owned(),
        Some(other) => format!("the control character U+{:04X} within a string", u32::from(other)),
        None => "a control character within a string".to_owned(),
    }
}

/// Whether a string is open at the end.
fn is_within_string(text: &str) -> bool {
    let (mut is_open, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_open => is_escaped = true,
            b'"' => is_open = !is_open,
            _ => {}
        }
    }
    is_open
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    fn said(text: &str) -> String {
        parse(text.as_bytes(), None).expect_err("not JSON").what
    }

    #[test]
    fn each_usual_cause_is_named_with_its_column() {
        for (text, expected) in [
            (
                "{\"a\": \"b",
                "it ends within a string (was it cut off, or does the text hold a line break that should be `\\n`?) at column 8",
            ),
            (
                "{\"a\": [1,",
                "it ends before it is complete (was it cut off, or written over several lines?) at column 9",
            ),
            ("{\"a\": 1,}", "a comma after the last entry at column 9"),
            ("{'a': 1}", "single quotes, where JSON has double quotes, at column 2"),
            ("{\"a\": 'b'}", "single quotes, where JSON has double quotes, at column 7"),
            ("{\"ä\": “b”}", "typographic quotes, where JSON has `\"`, at column 7"),
            (
                "{\"a\": 1} {\"a\": 2}",
                "a second value in the row, where each needs a line of its own, at column 10",
            ),
            ("{\"a\": 1},", "a comma after the value, as between the rows of an array, at column 9"),
            ("{\"a\": 1}}", "a closing bracket too many at column 9"),
            ("{\"a\": 1} // b", "a comment (`//`), which JSON does not have, at column 10"),
            ("{\"a\": NaN}", "`NaN` is no number in JSON; write null, or leave the key out, at column 7"),
            (
                "{\"a\": -Infinity}",
                "`-Infinity` is no number in JSON; write null, or leave the key out, at column 8",
            ),
            ("{\"a\": True}", "`True` is Python; JSON has true, false and null: at column 7"),
            ("{a: 1}", "a key without quotes at column 2"),
            ("{\"a\": \"\t\"}", "a raw tab within a string; write `\\t`: at column 8"),
            ("{\"a\": \"\u{1}\"}", "the control character U+0001 within a string at column 8"),
            (
                "{\"a\": \"\\x\"}",
                "a backslash before a character that can't be escaped; write `\\\\` for a backslash: at column 9",
            ),
            (
                "the rest\"}",
                "it begins with `the rest\"}`, as if it were the rest of the row before, at column 2",
            ),
            ("{\"a\": 1e999}", "a number too large for a 64-bit float at column 11"),
        ] {
            assert_eq!(said(text), format!("is not valid JSON: {expected}"), "{text}");
        }
    }

    #[test]
    fn lines_of_a_row_over_several_are_counted_from_its_first() {
        let fault = parse(b"{\n  \"a\": 1,\n  \"b\": oops\n}", Some(10)).expect_err("not JSON");
        assert_eq!(fault.what, "is not valid JSON: expected value in line 12 at column 8");
    }

    #[test]
    fn halves_of_surrogate_pairs_and_depth_have_their_own_codes() {
        for (text, half) in [
            ("{\"a\": \"\\ud83d\"}", "\\ud83d"),
            ("{\"a\": \"\\ud83d x\"}", "\\ud83d"),
            ("{\"a\": \"\\uDE00\"}", "\\uDE00"),
            ("{\"a\": \"\\ud83d\\u0041\"}", "\\ud83d"),
        ] {
            let fault = parse(text.as_bytes(), None).expect_err("no text");
            assert_eq!(fault.code, Code::LoneSurrogate, "{text}: {fault}");
            assert!(fault.what.contains(&format!("`{half}`")), "{fault}");
        }
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(nested(MAX_DEPTH).as_bytes(), None).is_ok());
        let fault = parse(nested(MAX_DEPTH + 1).as_bytes(), None).expect_err("too deep");
        assert_eq!((fault.code, fault.what.as_str()), (Code::TooDeep, "is nested more than 127 levels deep"));
        assert_eq!(parse(nested(100_000).as_bytes(), None).expect_err("too deep").code, Code::TooDeep);
    }

    #[test]
    fn bytes_that_are_no_text_say_what_they_may_be() {
        for (bytes, code, expected) in [
            (&b"{\"a\": \"\x93\"}"[..], Code::NotUtf8, "is not UTF-8 at byte 8 (0x93, in Windows-1252 `“`)"),
            (b"{\"a\": \"\xE2\x82\"}", Code::NotUtf8, "is not UTF-8 at byte 8 (0xE2)"),
            (
                b"\xED\xA0\x80",
                Code::LoneSurrogate,
                "has half of a surrogate pair at byte 1, which is no character",
            ),
        ] {
            let fault = parse(bytes, None).expect_err("no text");
            assert_eq!((fault.code, fault.what.as_str()), (code, expected));
        }
    }
}
