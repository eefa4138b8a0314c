//! Dataset files: whatever people keep rows in, as JSON values.
//!
//! What a file is follows from its content; its name only decides where that leaves it open (plain text, tables).
//!
//! ```text
//! source     compression, encoding        strangers  what is no data
//! recognise  what separates rows          keys       which key of an object holds them
//! lines, elements (scan), table (header, cells), text
//! parquet (schema)                        one thread cuts a file into lots …
//! lot        (json, explain)              … which any thread parses
//! ```
//!
//! Everything streams: memory does not grow with a file (`limits`). A bad row is a [`Fault`] and the next one follows; a
//! bad file is a [`Refusal`]. Knows rows as JSON values, not formats.

mod cells;
mod columnar;
mod decode;
mod elements;
mod expand;
mod explain;
mod gzip;
mod header;
mod json;
mod keys;
mod limits;
mod lines;
mod lot;
mod parquet;
mod place;
mod recognise;
mod rows;
mod scan;
mod schema;
mod source;
mod strangers;
mod stream;
mod table;
mod text;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ftl_core::dataset::{Code, Compression, Container, Encoding, Layout};

use super::fault::Fault;
pub use expand::expand;
pub use lot::Lot;
pub use place::{Place, Refusal, file_name};
pub use rows::{Row, Rows};

use elements::{Around, Elements};
use lines::Lines;
use parquet::Parquet;
use source::{Medium, Source};
use stream::{Cut, unread};
use table::Table;
use text::Text;

/// An open file: an iterator of its lots, in order. After an error it ends.
pub struct Opened {
    /// How rows lie in it.
    pub layout: Layout,
    /// What was done to read it, one sentence each. Some turn out only while it is read.
    pub notes: Vec<String>,
    path: Arc<Path>,
    /// `None`: it ended.
    cut: Option<Box<dyn Cut + Send>>,
}

/// Opens a data file.
///
/// # Errors
/// A file that is not there, is damaged, empty or no data.
pub fn open(path: &Path) -> Result<Opened, Refusal> {
    let file = File::open(path).map_err(|error| unread(path, &error))?;
    let metadata = file.metadata().map_err(|error| unread(path, &error))?;
    // Reading a pipe or a device may never end.
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "is a folder" } else { "is not a file" };
        return Err(Refusal::new(Code::UnreadableFile, path, what).hint("name a data file"));
    }
    open_medium(path, Medium::File(file))
}

/// As [`open`], of a file that is in memory; `path` is what it is called.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(path: &Path, bytes: Vec<u8>) -> Result<Opened, Refusal> {
    open_medium(path, Medium::Bytes(bytes.into()))
}

fn open_medium(path: &Path, mut medium: Medium) -> Result<Opened, Refusal> {
    let path: Arc<Path> = Arc::from(path);
    let said = |error: &std::io::Error| unread(&path, error);
    let head = medium.head().map_err(|error| said(&error))?;
    let n_bytes = medium.len().map_err(|error| said(&error))?;
    let mut notes = Vec::new();
    if Parquet::is(&head) {
        let layout = Layout { container: Container::Parquet, compression: None, encoding: Encoding::Utf8 };
        let cut = Box::new(Parquet::open(&path, medium, &mut notes)?);
        return Ok(Opened { layout, notes, path, cut: Some(cut) });
    }
    strangers::refuse_bytes(&path, &head)?;
    let Source { mut input, compression, encoding } = Source::new(&path, medium, &head)?;
    let found = recognise::recognise(&mut input)?;
    note_source(&path, (compression, encoding), &mut notes);
    if found != recognise::Rows::Text && recognise::is_text(&path) {
        notes.push(format!("`{}` holds JSON, which is read as rows and not as text", file_name(&path)));
    }
    let (container, cut): (Container, Box<dyn Cut + Send>) = match found {
        recognise::Rows::Lines => (Container::JsonLines, Box::new(Lines::new(input))),
        recognise::Rows::Text => (Container::Text, Box::new(Text::new(input, n_bytes))),
        recognise::Rows::Table(dialect) => {
            input.leave_out(dialect.n_before);
            let container = if dialect.separator == b'\t' { Container::Tsv } else { Container::Csv };
            if !matches!(dialect.separator, b',' | b'\t') {
                let name = file_name(&path);
                notes.push(format!(
                    "the cells of `{name}` are separated by `{}`",
                    char::from(dialect.separator)
                ));
            }
            (container, Box::new(Table::new(input, dialect, &mut notes)?))
        }
        recognise::Rows::Elements { around, wrapping, n_before, key } => {
            let line = 1 + memchr::memchr_iter(b'\n', &input.head()[..n_before]).count() as u64;
            input.leave_out(n_before);
            let name = file_name(&path);
            let container = match (around, key) {
                (Around::Nothing, _) => Container::JsonLines,
                (Around::Array, _) | (Around::Object, None) => Container::JsonArray,
                (Around::Object, Some((key, others))) => {
                    notes.push(format!("the rows of `{name}` are those of its key `{key}`"));
                    notes.extend(others.iter().map(|other| elements::not_read(&name, other)));
                    Container::JsonObject
                }
            };
            (container, Box::new(Elements::new(input, (around, wrapping), line)))
        }
    };
    let layout = Layout { container, compression, encoding };
    Ok(Opened { layout, notes, path, cut: Some(cut) })
}

fn note_source(
    path: &Path,
    (compression, encoding): (Option<Compression>, Encoding),
    notes: &mut Vec<String>,
) {
    let name = file_name(path);
    let converted = match encoding {
        Encoding::Utf8 | Encoding::Utf8Bom => None,
        Encoding::Utf16Le | Encoding::Utf16Be => Some("UTF-16"),
    };
    if let Some(encoding) = converted {
        notes.push(format!("`{name}` is {encoding} and was read as such"));
    }
    let is_named = |extensions: &[&str]| {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
    };
    let packed = match compression {
        Some(Compression::Gzip) if !is_named(&["gz", "gzip"]) => "gzip",
        Some(Compression::Zstd) if !is_named(&["zst", "zstd"]) => "zstd",
        Some(Compression::Gzip | Compression::Zstd) | None => return,
    };
    notes.push(format!("`{name}` is compressed with {packed}, whatever its name says, and was unpacked"));
}

impl Iterator for Opened {
    type Item = Result<Lot, Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.cut.as_mut()?.cut(&mut self.notes);
        match next {
            Ok(Some(body)) => Some(Ok(Lot { path: Arc::clone(&self.path), body })),
            Ok(None) => {
                self.cut = None;
                None
            }
            Err(refusal) => {
                self.cut = None;
                Some(Err(refusal))
            }
        }
    }
}
