//! What separates the rows of a text: found out from its beginning. A name only decides where content leaves it open.

use std::path::Path;

use serde::de::IgnoredAny;

use super::elements::Around;
use super::header::{self, Dialect};
use super::limits::{HEAD_BYTES, MAX_ROW_BYTES};
use super::lot::Wrapping;
use super::stream::{End, Input};
use super::{Refusal, keys, strangers};

/// What separates rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// Each line is one.
    Lines,
    /// They are the elements of an array, or values one after another.
    Elements {
        around: Around,
        wrapping: Wrapping,
        /// What comes before the first, its opening bracket included.
        n_before: usize,
        /// The key that holds them, and keys before it that hold some too.
        key: Option<(String, Vec<String>)>,
    },
    /// They are those of a table.
    Table(Dialect),
    /// There is only one.
    Text,
}

/// Looks at the beginning of `input`.
pub(super) fn recognise(input: &mut Input) -> Result<Rows, Refusal> {
    let end = input.look(HEAD_BYTES + 1)?;
    let (path, head) = (input.path(), input.head());
    let text = head.trim_ascii_start();
    let is_text = is_text(path);
    let is_table = has_extension(path, &["csv", "tsv", "tab"]);
    strangers::refuse_text(path, head)?;
    let table = || header::dialect(input).map(Rows::Table).ok_or_else(|| strangers::unknown(path, head));
    let found = match text.first() {
        None if end == End::InSight => return Err(Refusal::empty(path)),
        None if is_text => Rows::Text,
        None => Rows::Lines,
        Some(b'{' | b'[') if is_text && !begins_with_rows(text) => Rows::Text,
        Some(b'{' | b'[') if is_table && !begins_with_rows(text) => table()?,
        Some(b'{') => object(input, end)?,
        Some(b'[') => array(input, end)?,
        Some(_) if is_text => Rows::Text,
        Some(_) if is_table => table()?,
        Some(_) if lines(text, end).any(is_row) => Rows::Lines,
        Some(b'"') if lines(text, end).next().is_some_and(is_value) => Rows::Lines,
        Some(_) => table()?,
    };
    Ok(found)
}

/// Whether the file is named as plain text.
pub(super) fn is_text(path: &Path) -> bool {
    has_extension(path, &["txt", "text", "md"])
}

/// Whether the file's name ends in one of these, compressed or not.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let lower = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().to_lowercase());
    let stem = path.file_stem().map(Path::new);
    let extension = match (lower(path.extension()), stem) {
        (Some(last), Some(stem)) if ["gz", "gzip", "zst", "zstd"].contains(&last.as_str()) => {
            lower(stem.extension())
        }
        (last, _) => last,
    };
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

const VALUES: Rows =
    Rows::Elements { around: Around::Nothing, wrapping: Wrapping::Bare, n_before: 0, key: None };

/// How the first JSON value of a text goes on.
enum First {
    /// It ends before this byte.
    Whole(usize),
    /// What there is of it is valid.
    Open,
    /// It is not JSON.
    Broken,
}

fn first_value(text: &[u8]) -> First {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => First::Whole(values.byte_offset()),
        Some(Err(error)) if error.is_eof() => First::Open,
        Some(Err(_)) | None => First::Broken,
    }
}

fn object(input: &mut Input, end: End) -> Result<Rows, Refusal> {
    let head = input.head();
    let start = head.len() - head.trim_ascii_start().len();
    let text = &head[start..];
    let line_end = memchr::memchr(b'\n', text);
    let wrapper = || {
        keys::wrapper(text).map(|found| Rows::Elements {
            around: Around::Object,
            wrapping: wrapping(&text[found.n_before..]),
            n_before: start + found.n_before,
            key: Some((found.key, found.others)),
        })
    };
    match (first_value(text), line_end) {
        (First::Whole(n_bytes), line_end) => {
            let is_alone = end == End::InSight && text[n_bytes..].trim_ascii().is_empty();
            let is_in_line = line_end.is_none_or(|line_end| n_bytes <= line_end);
            Ok(match (is_alone, line_end) {
                (true, _) => wrapper().unwrap_or(VALUES),
                (false, Some(_)) if is_in_line => Rows::Lines,
                // Values one after another, over several lines each or without any line end.
                (false, Some(_) | None) => VALUES,
            })
        }
        (First::Open, Some(_)) => Ok(wrapper().unwrap_or(VALUES)),
        (First::Open, None) => match wrapper() {
            Some(found) => Ok(found),
            None if end == End::InSight => Ok(VALUES),
            None => long_line(input),
        },
        (First::Broken, _) if lines(text, end).any(is_row) => Ok(Rows::Lines),
        (First::Broken, _) if is_python(text) => Err(strangers::python(input.path())),
        (First::Broken, _) => {
            let first = lines(text, end).next().unwrap_or_default();
            let goes_on = first.ends_with(b"{")
                || first.ends_with(b"[")
                || first.ends_with(b",") && !first.ends_with(b"},");
            Ok(wrapper().unwrap_or(if goes_on { VALUES } else { Rows::Lines }))
        }
    }
}

fn array(input: &mut Input, end: End) -> Result<Rows, Refusal> {
    let head = input.head();
    let start = head.len() - head.trim_ascii_start().len();
    let text = &head[start..];
    let whole = Rows::Elements {
        around: Around::Array,
        wrapping: wrapping(&text[1..]),
        n_before: start + 1,
        key: None,
    };
    // Messages are no rows: a list of them is one.
    let is_row_itself = keys::is_message(&keys::of_first_element(&text[1..]));
    let line_end = memchr::memchr(b'\n', text);
    match (first_value(text), line_end) {
        (First::Whole(n_bytes), line_end) => {
            let is_alone = end == End::InSight && text[n_bytes..].trim_ascii().is_empty();
            let is_in_line = line_end.is_none_or(|line_end| n_bytes <= line_end);
            Ok(match is_alone {
                true if is_row_itself => VALUES,
                true => whole,
                false if is_in_line && line_end.is_some() => Rows::Lines,
                false if is_row_itself => VALUES,
                false => whole,
            })
        }
        (First::Open, None) if is_row_itself && end == End::Further => long_line(input),
        (First::Open, _) if is_row_itself => Ok(VALUES),
        (First::Open, _) => Ok(whole),
        (First::Broken, _) => {
            let n_rows = lines(text, end).filter(|line| is_row(line)).count();
            let first = lines(text, end).next().unwrap_or_default();
            Ok(match n_rows {
                0 if is_python(text) => return Err(strangers::python(input.path())),
                // The elements say what is wrong with them, or that there are no commas.
                _ if first == b"[" => whole,
                0 => whole,
                1.. => Rows::Lines,
            })
        }
    }
}

/// The first line is longer than what was looked at: goes on to its end.
fn long_line(input: &mut Input) -> Result<Rows, Refusal> {
    let mut wanted = HEAD_BYTES * 4;
    loop {
        let end = input.look(wanted)?;
        let searched = &input.head()[HEAD_BYTES / 2..];
        if memchr::memchr(b'\n', searched.trim_ascii_end()).is_some() {
            return Ok(Rows::Lines);
        }
        match end {
            End::InSight => return Ok(VALUES),
            // Not a row, whatever it is.
            End::Further if wanted > MAX_ROW_BYTES => return Ok(Rows::Lines),
            End::Further => wanted *= 2,
        }
    }
}

/// What is around the elements of an array that begins with `elements`.
fn wrapping(elements: &[u8]) -> Wrapping {
    let keys = keys::of_first_element(elements);
    let has = |name: &str| keys.iter().any(|key| key == name);
    if has("row_idx") && has("row") { Wrapping::Viewer } else { Wrapping::Bare }
}

/// Whether a text that is named as one holds rows all the same.
fn begins_with_rows(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let begins_object = |text: &[u8]| {
        let inner = text.trim_ascii_start().strip_prefix(b"{");
        inner.is_some_and(|inner| inner.trim_ascii_start().starts_with(b"\""))
    };
    match first_value(text) {
        First::Whole(_) | First::Open => begins_object(text) || begins_object(&text[1..]),
        First::Broken => first.starts_with(b"{\"") && is_row(first),
    }
}

/// The lines of `text` that are all there, without blanks around them and blank ones.
fn lines(text: &[u8], end: End) -> impl Iterator<Item = &[u8]> {
    let whole = match end {
        End::InSight => text,
        End::Further => &text[..memchr::memrchr(b'\n', text).unwrap_or(0)],
    };
    whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
}

fn is_row(line: &[u8]) -> bool {
    (line.starts_with(b"{") || line.starts_with(b"[")) && is_value(line)
}

fn is_value(line: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(line).is_ok()
}

/// Whether a text begins with an object whose first key has single quotes.
fn is_python(text: &[u8]) -> bool {
    let inner = text.strip_prefix(b"[").unwrap_or(text).trim_ascii_start();
    inner.strip_prefix(b"{").is_some_and(|inner| inner.trim_ascii_start().starts_with(b"'"))
}
