//! What separates the cells of a table, found out from its first line.

use super::recognise::has_extension;
use super::stream::Input;

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Between cells.
    pub separator: u8,
    /// What comes before the header: a line `sep=;`, as Excel reads it.
    pub n_before: usize,
}

/// Names of columns that tell a table from prose.
const NAMES: &[&str] = &[
    "text",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "response",
    "question",
    "answer",
    "context",
    "messages",
    "conversations",
    "conversation",
    "chosen",
    "rejected",
    "system",
    "label",
    "category",
    "id",
];

/// Tried in this order; of those that are as frequent the first wins.
const SEPARATORS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// How the table is written that `input` begins with; `None`: it is none. Names of files decide for `.csv` and `.tsv`;
/// others are tables if their first line names columns that datasets have.
pub(super) fn dialect(input: &Input) -> Option<Dialect> {
    let text = input.head();
    let (separator, n_before) = match separator_line(text) {
        Some((separator, n_before)) => (Some(separator), n_before),
        None => (None, 0),
    };
    let header = first_line(&text[n_before..]);
    let count = |separator: u8| outside_quotes(header).filter(|byte| *byte == separator).count();
    let found = separator.or_else(|| {
        let (n, _, separator) =
            (0..).zip(SEPARATORS).map(|(nth, one): (i32, u8)| (count(one), -nth, one)).max()?;
        (n > 0).then_some(separator)
    });
    let is_named = has_extension(input.path(), &["csv", "tsv", "tab"]);
    match found {
        Some(separator) if is_named || names_columns(header, separator) => {
            Some(Dialect { separator, n_before })
        }
        None if is_named => Some(Dialect { separator: b',', n_before }),
        Some(_) | None => None,
    }
}

/// The separator of a line `sep=;` that `text` begins with, and where the next line begins.
fn separator_line(text: &[u8]) -> Option<(u8, usize)> {
    let line = first_line(text);
    match line.trim_ascii_end() {
        [b's', b'e', b'p', b'=', separator] if SEPARATORS.contains(separator) => {
            Some((*separator, text.len().min(line.len() + 1)))
        }
        _ => None,
    }
}

fn first_line(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())]
}

fn outside_quotes(line: &[u8]) -> impl Iterator<Item = u8> {
    let mut is_quoted = false;
    line.iter().copied().filter(move |byte| {
        is_quoted ^= *byte == b'"';
        !is_quoted
    })
}

fn names_columns(header: &[u8], separator: u8) -> bool {
    let names = header.split(|byte| *byte == separator);
    let names = names.map(|name| {
        let name = name.trim_ascii();
        String::from_utf8_lossy(
            name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")).unwrap_or(name),
        )
        .to_lowercase()
    });
    names.filter(|name| NAMES.contains(&name.as_str())).count() >= 2
}
