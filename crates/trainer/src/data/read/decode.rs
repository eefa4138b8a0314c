//! UTF-16 to UTF-8, as a stream.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding};

use super::stream::Input;

/// How much is decoded at once.
const CHUNK_BYTES: usize = 1 << 16;

/// The text of a file in UTF-16.
pub(super) struct Utf16 {
    input: Input,
    decoder: Decoder,
    /// In UTF-16; those up to `used` are decoded.
    units: Vec<u8>,
    used: usize,
    /// In UTF-8; those up to `given` were read.
    text: Vec<u8>,
    given: usize,
    is_last: Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// More bytes follow `units`.
    NotYet,
    /// None do.
    Reached,
    /// All is decoded.
    Decoded,
}

impl Utf16 {
    pub(super) fn new(input: Input, encoding: &'static Encoding) -> Self {
        Self {
            input,
            decoder: encoding.new_decoder_with_bom_removal(),
            units: Vec::new(),
            used: 0,
            text: Vec::new(),
            given: 0,
            is_last: Last::NotYet,
        }
    }

    /// Decodes some more into `text`, which was read.
    fn decode(&mut self) -> io::Result<()> {
        if self.used == self.units.len() && self.is_last == Last::NotYet {
            self.units.clear();
            self.used = 0;
            let n_read = self.input.fill(&mut self.units, CHUNK_BYTES).map_err(io::Error::other)?;
            if n_read == 0 {
                self.is_last = Last::Reached;
            }
        }
        self.given = 0;
        // A unit takes at most 3 bytes; some more for what the decoder held back.
        self.text.resize((self.units.len() - self.used) * 2 + 16, 0);
        let (result, n_used, n_written) = self.decoder.decode_to_utf8_without_replacement(
            &self.units[self.used..],
            &mut self.text,
            self.is_last == Last::Reached,
        );
        self.used += n_used;
        self.text.truncate(n_written);
        match result {
            DecoderResult::InputEmpty if self.is_last == Last::Reached => self.is_last = Last::Decoded,
            DecoderResult::InputEmpty | DecoderResult::OutputFull => {}
            // Half of a surrogate pair, or half of a unit at the end. Written so that it is no UTF-8 either: the row
            // that holds it is bad, and no other.
            DecoderResult::Malformed(..) => self.text.extend(b"\xED\xA0\x80"),
        }
        Ok(())
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            if self.is_last == Last::Decoded || buffer.is_empty() {
                return Ok(0);
            }
            self.decode()?;
        }
        let ready = &self.text[self.given..];
        let n_bytes = ready.len().min(buffer.len());
        buffer[..n_bytes].copy_from_slice(&ready[..n_bytes]);
        self.given += n_bytes;
        Ok(n_bytes)
    }
}
