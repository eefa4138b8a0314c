//! Cuts JSON Lines: a lot ends where a line does.

use std::mem;

use super::Refusal;
use super::limits::{LOT_BYTES, MAX_ROW_BYTES};
use super::lot::{At, Body};
use super::stream::{Cut, Input};

/// The lines of a file.
pub(super) struct Lines {
    input: Input,
    /// The beginning of a line that has not been given.
    carry: Vec<u8>,
    /// The line that `carry` is in.
    line: u64,
    any: bool,
}

impl Lines {
    pub(super) fn new(input: Input) -> Self {
        Self { input, carry: Vec::new(), line: 1, any: false }
    }

    /// Leaves out the rest of a line.
    fn skip_line(&mut self) -> Result<(), Refusal> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            if self.input.fill(&mut bytes, LOT_BYTES)? == 0 {
                return Ok(());
            }
            if let Some(end) = memchr::memchr(b'\n', &bytes) {
                self.carry = bytes.split_off(end + 1);
                return Ok(());
            }
        }
    }
}

impl Cut for Lines {
    fn cut(&mut self, _: &mut Vec<String>) -> Result<Option<Body>, Refusal> {
        let mut bytes = mem::take(&mut self.carry);
        let mut searched = 0;
        loop {
            let wanted = LOT_BYTES.saturating_sub(bytes.len()).max(LOT_BYTES / 4);
            let n_read = self.input.fill(&mut bytes, wanted)?;
            let end = match memchr::memrchr(b'\n', &bytes[searched..]) {
                Some(distance) => searched + distance + 1,
                None if n_read == 0 => bytes.len(),
                None if bytes.len() > MAX_ROW_BYTES => {
                    self.skip_line()?;
                    self.any = true;
                    self.line += 1;
                    return Ok(Some(Body::TooLarge(At { number: self.line - 1, line: None })));
                }
                None => {
                    searched = bytes.len();
                    continue;
                }
            };
            if end == 0 {
                return if self.any { Ok(None) } else { Err(Refusal::empty(self.input.path())) };
            }
            self.carry = bytes.split_off(end);
            let n_lines = memchr::memchr_iter(b'\n', &bytes).count() as u64;
            let n_lines = n_lines + u64::from(!bytes.ends_with(b"\n"));
            let first_line = self.line;
            self.line += n_lines;
            if bytes.trim_ascii().is_empty() {
                bytes = mem::take(&mut self.carry);
                searched = 0;
                continue;
            }
            self.any = true;
            return Ok(Some(Body::Lines { bytes, first_line, n_lines }));
        }
    }
}
