//! Frames between server and worker: a length (u32, little-endian), then that many bytes of JSON.
//!
//! A frame that is too long, cut off or unknown is an error: the other side is broken, and nothing more is read from
//! it.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest frame. The longest that are meant to be sent are prompts and lots of events.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// Why a frame could not be sent or read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Beyond [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes exceeds the limit of {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Torn,
    /// No JSON, or a message that this version does not know.
    #[error("a frame can't be understood: {0}")]
    Unknown(#[source] serde_json::Error),
    /// A value that JSON can't hold: a path that is not UTF-8.
    #[error("a frame can't be written: {0}")]
    Unwritable(#[source] serde_json::Error),
    /// The operating system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes of a frame.
///
/// # Errors
/// [`FrameError::TooLong`] and [`FrameError::Unwritable`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(FrameError::Unwritable)?;
    let length = bytes.len() - 4;
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME_BYTES);
    let prefix = prefix.ok_or(FrameError::TooLong(length))?;
    bytes[..4].copy_from_slice(&prefix.to_le_bytes());
    Ok(bytes)
}

/// Sends a frame in one call.
///
/// # Errors
/// Any [`FrameError`] but [`FrameError::Torn`].
pub fn write(writer: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    Ok(writer.write_all(&encode(message)?)?)
}

/// Reads the next frame; `None`: the stream ended between two.
///
/// # Errors
/// Any [`FrameError`].
pub fn read<T: DeserializeOwned>(reader: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; 4];
    match fill(reader, &mut prefix)? {
        0 => return Ok(None),
        4 => {}
        _ => return Err(FrameError::Torn),
    }
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    if fill(reader, &mut bytes)? < length {
        return Err(FrameError::Torn);
    }
    serde_json::from_slice(&bytes).map(Some).map_err(FrameError::Unknown)
}

/// Reads until `buffer` is full or the stream ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n_read = 0;
    while n_read < buffer.len() {
        match reader.read(&mut buffer[n_read..]) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A peer that died with frames of ours unread resets the connection; it is gone all the same.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    Ok(n_read)
}
