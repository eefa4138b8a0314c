//! From a file's bytes to UTF-8: undoes compression and other encodings of text, by what the bytes are and not by the
//! file's name. All of it streams.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ftl_core::dataset::{Code, Compression, Encoding};

use super::decode::Utf16;
use super::gzip::Gzip;
use super::limits::HEAD_BYTES;
use super::stream::{Damage, Input, unread};
use super::{Refusal, strangers};

/// Where the bytes are.
pub(super) enum Medium {
    /// On disk.
    File(File),
    /// In memory.
    Bytes(Bytes),
}

/// A file's text, and what was undone to get at it.
pub(super) struct Source {
    pub input: Input,
    pub compression: Option<Compression>,
    pub encoding: Encoding,
}

impl Medium {
    /// How many bytes there are.
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// The first bytes; the next read begins with them again.
    pub(super) fn head(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(file) => {
                let mut head = Vec::new();
                file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
                file.seek(SeekFrom::Start(0))?;
                Ok(head)
            }
            Self::Bytes(bytes) => Ok(bytes[..bytes.len().min(HEAD_BYTES)].to_vec()),
        }
    }

    fn reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::File(file) => Box::new(file),
            Self::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        }
    }

    fn buffered(self) -> Box<dyn BufRead + Send> {
        match self {
            Self::File(file) => Box::new(BufReader::with_capacity(1 << 17, file)),
            Self::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        }
    }
}

impl Source {
    /// Finds out how `medium` is written. `head` is the beginning of it.
    pub(super) fn new(path: &Arc<Path>, medium: Medium, head: &[u8]) -> Result<Self, Refusal> {
        let compression = match head {
            [0x1F, 0x8B, ..] => Some(Compression::Gzip),
            // A frame, or a skippable one before it.
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Some(Compression::Zstd),
            _ => None,
        };
        let rest: Box<dyn Read + Send> = match compression {
            None => medium.reader(),
            Some(Compression::Gzip) => Box::new(Gzip::new(medium.buffered())),
            Some(Compression::Zstd) => {
                let decoder = zstd::Decoder::with_buffer(medium.buffered());
                Box::new(Zstd(decoder.map_err(|error| unread(path, &error))?))
            }
        };
        let mut input = Input::new(Arc::clone(path), rest);
        input.look(HEAD_BYTES)?;
        if compression.is_some() {
            if let [0x1F, 0x8B, ..] | [0x28, 0xB5, 0x2F, 0xFD, ..] = input.head() {
                let what = "is compressed twice";
                return Err(Refusal::new(Code::NotData, path, what).hint("unpack it once"));
            }
            strangers::refuse_bytes(path, input.head())?;
        }
        let encoding = encoding(input.head());
        let mut input = match encoding {
            Encoding::Utf8 => input,
            Encoding::Utf8Bom => {
                input.leave_out(3);
                input
            }
            Encoding::Utf16Le => {
                Input::new(Arc::clone(path), Box::new(Utf16::new(input, encoding_rs::UTF_16LE)))
            }
            Encoding::Utf16Be => {
                Input::new(Arc::clone(path), Box::new(Utf16::new(input, encoding_rs::UTF_16BE)))
            }
        };
        input.look(HEAD_BYTES)?;
        Ok(Self { input, compression, encoding })
    }
}

/// What zstd says is said as damage of the file.
struct Zstd<R: BufRead>(zstd::Decoder<'static, R>);

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let what = match error.kind() {
                _ if error.raw_os_error().is_some() => return error,
                io::ErrorKind::UnexpectedEof => "is cut off: its zstd stream ends in the middle".to_owned(),
                _ => format!("is damaged: zstd says `{error}`"),
            };
            io::Error::other(Damage(what))
        })
    }
}

/// How text is written that begins with `head`.
fn encoding(head: &[u8]) -> Encoding {
    match head {
        [0xEF, 0xBB, 0xBF, ..] => Encoding::Utf8Bom,
        [0xFF, 0xFE, ..] => Encoding::Utf16Le,
        [0xFE, 0xFF, ..] => Encoding::Utf16Be,
        _ => unmarked(head),
    }
}

/// Most letters, digits and brackets have a zero byte in UTF-16, and no text in UTF-8 has one.
fn unmarked(head: &[u8]) -> Encoding {
    let looked_at = &head[..head.len().min(512) & !1];
    let zeros = |side: usize| looked_at.iter().skip(side).step_by(2).filter(|byte| **byte == 0).count();
    let (high_first, low_first) = (zeros(0), zeros(1));
    let n_units = looked_at.len() / 2;
    match (high_first, low_first) {
        // Not UTF-32, which has zeros in both.
        (0, zeros) if n_units >= 2 && zeros * 2 >= n_units => Encoding::Utf16Le,
        (zeros, 0) if n_units >= 2 && zeros * 2 >= n_units => Encoding::Utf16Be,
        _ => Encoding::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_recognised_without_a_mark() {
        let units = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        for text in ["{}", "{\"text\": \"Größe\"}\r\n", "[{\"a\": \"日本語の文\"}]"] {
            let little: Vec<u8> = units(text).into_iter().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = units(text).into_iter().flat_map(u16::to_be_bytes).collect();
            assert_eq!(encoding(&little), Encoding::Utf16Le, "{text}");
            assert_eq!(encoding(&big), Encoding::Utf16Be, "{text}");
            assert_eq!(encoding(text.as_bytes()), Encoding::Utf8, "{text}");
        }
        for bytes in [&b""[..], b"{", b"{\0", b"\0\0\0{", b"{\0\0\0\"\0\0\0"] {
            assert_eq!(encoding(bytes), Encoding::Utf8, "{bytes:?}");
        }
    }
}
