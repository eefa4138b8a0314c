//! Where JSON values end, without parsing them: strings, escapes and depth are all that matters. Works across the
//! boundaries of buffers, so a value may be larger than any of them.

/// How far into a value a scan has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    depth: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the value's first byte.
    #[default]
    Start,
    /// Within an object or list, outside of strings.
    Structure,
    /// Within a string.
    Text,
    /// After a backslash within a string.
    Escape,
    /// Within a number or a word.
    Word,
}

impl Scan {
    /// Goes through further bytes of a value, the first of which is not blank; says how many of them belong to it, if it
    /// ends in them. Numbers and words end before what follows them.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.state {
                State::Text => match memchr::memchr2(b'"', b'\\', &bytes[at..]) {
                    None => return None,
                    Some(distance) => {
                        at += distance;
                        let is_escape = bytes[at] == b'\\';
                        self.state = if is_escape { State::Escape } else { State::Structure };
                        if !is_escape && self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                },
                State::Escape => self.state = State::Text,
                State::Word if matches!(byte, b',' | b'[' | b']' | b'{' | b'}' | b'"') => return Some(at),
                State::Word if byte.is_ascii_whitespace() => return Some(at),
                State::Word => {}
                State::Start | State::Structure => match byte {
                    b'"' => self.state = State::Text,
                    b'{' | b'[' => {
                        self.state = State::Structure;
                        self.depth += 1;
                    }
                    b'}' | b']' if self.depth > 0 => {
                        self.depth -= 1;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ if self.state == State::Start => self.state = State::Word,
                    _ => {}
                },
            }
            at += 1;
        }
        None
    }

    /// Whether the value is complete if nothing follows: a number or a word.
    pub(super) fn may_end(&self) -> bool {
        self.state == State::Word
    }
}

/// What a row takes in memory once it is parsed, about.
pub(super) fn bytes_in_memory(written: &[u8]) -> usize {
    /// A value in a list that has doubled its room.
    const VALUE_BYTES: usize = 64;
    /// An object's hash table and its first entries.
    const OBJECT_BYTES: usize = 320;
    let (mut n_bytes, mut at) = (written.len(), 0);
    while let Some(byte) = written.get(at) {
        at += 1;
        match byte {
            b',' | b'[' => n_bytes += VALUE_BYTES,
            b'{' => n_bytes += OBJECT_BYTES,
            b'"' => {
                while let Some(distance) = memchr::memchr2(b'"', b'\\', &written[at..]) {
                    at += distance + 1;
                    if written[at - 1] == b'"' {
                        break;
                    }
                    at = (at + 1).min(written.len());
                }
            }
            _ => {}
        }
    }
    n_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_they_end_whatever_the_buffers() {
        for (text, expected) in [
            (r#"{"a": "}"} {"#, Some(10)),
            (r#"["\"]", "\\"]]"#, Some(13)),
            (r#""a\"b" "#, Some(6)),
            ("[{}, [[]]],", Some(10)),
            ("12,", Some(2)),
            ("null]", Some(4)),
            ("}}", Some(1)),
            ("12", None),
            ("{\"a\": [1, 2]", None),
            ("\"open\\\"", None),
        ] {
            for cut in 0..=text.len() {
                let mut scan = Scan::default();
                let (head, tail) = text.as_bytes().split_at(cut);
                let end = scan.end(head).or_else(|| scan.end(tail).map(|end| end + cut));
                assert_eq!(end, expected, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn small_text_with_many_parts_counts_as_large() {
        let objects = "{\"a\":1},".repeat(1000);
        assert!(bytes_in_memory(objects.as_bytes()) > 300_000);
        let text = format!("\"{}\"", "a, [b], \\\" {c} ".repeat(1000));
        assert_eq!(bytes_in_memory(text.as_bytes()), text.len());
    }
}
