//! Gzip (RFC 1952): members one after another, as `cat a.gz b.gz` makes them, and zeros after the last, as on tapes.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::stream::Damage;

/// Undoes gzip.
pub(super) struct Gzip<R> {
    state: State<R>,
}

enum State<R> {
    Member(Box<GzDecoder<R>>),
    Ended,
}

impl<R: BufRead> Gzip<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { state: State::Member(Box::new(GzDecoder::new(inner))) }
    }
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let State::Member(member) = &mut self.state else { return Ok(0) };
            let n_bytes = member.read(buffer).map_err(damaged)?;
            if n_bytes > 0 {
                return Ok(n_bytes);
            }
            let State::Member(member) = std::mem::replace(&mut self.state, State::Ended) else {
                return Ok(0);
            };
            let mut inner = member.into_inner();
            match next_byte(&mut inner)? {
                None => {}
                Some(0x1F) => self.state = State::Member(Box::new(GzDecoder::new(inner))),
                Some(_) => {
                    let what = "is damaged: after its gzip stream comes something else".to_owned();
                    return Err(io::Error::other(Damage(what)));
                }
            }
        }
    }
}

/// The next byte that is not zero, left where it is.
fn next_byte(inner: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let bytes = inner.fill_buf()?;
        let n_bytes = bytes.len();
        if n_bytes == 0 {
            return Ok(None);
        }
        let n_zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let found = bytes.get(n_zeros).copied();
        inner.consume(n_zeros);
        if found.is_some() {
            return Ok(found);
        }
    }
}

fn damaged(error: io::Error) -> io::Error {
    let what = match error.kind() {
        _ if error.raw_os_error().is_some() => return error,
        io::ErrorKind::UnexpectedEof => "is cut off: its gzip stream ends in the middle".to_owned(),
        _ => format!("is damaged: its gzip stream has `{error}`"),
    };
    io::Error::other(Damage(what))
}
