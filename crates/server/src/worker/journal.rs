//! What an attempt reported, on disk before anyone is told: a server that died finds out from here what it missed.
//!
//! One event in a line, numbered from 1 within the attempt. The worker writes a line in one call, so only the last one
//! can be torn.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use ftl_core::EventRecord;

/// The directory of an attempt.
pub fn attempt_directory(directory: &Path, attempt: u32) -> PathBuf {
    directory.join("attempts").join(attempt.to_string())
}

/// The journal of an attempt.
pub fn journal_path(directory: &Path, attempt: u32) -> PathBuf {
    attempt_directory(directory, attempt).join("events.jsonl")
}

/// What the worker of an attempt printed.
pub fn log_path(directory: &Path, attempt: u32) -> PathBuf {
    attempt_directory(directory, attempt).join("log.txt")
}

/// The events of an attempt after the one with number `after_seq`. An attempt that reported nothing has no journal,
/// and no events.
///
/// # Errors
/// A journal that can't be opened. Errors of reading follow in their place.
pub fn read_journal(directory: &Path, attempt: u32, after_seq: u64) -> io::Result<Journal> {
    let source = match File::open(journal_path(directory, attempt)) {
        Ok(file) => Some(BufReader::with_capacity(1 << 16, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(Journal { source, after_seq, line: Vec::new(), n_bytes: 0 })
}

/// The events of a journal, one by one.
#[derive(Debug)]
pub struct Journal {
    source: Option<BufReader<File>>,
    after_seq: u64,
    /// The line that is being read; a torn one stays and may grow.
    line: Vec<u8>,
    n_bytes: u64,
}

impl Journal {
    /// How far it was read.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    fn read(&mut self) -> io::Result<Option<EventRecord>> {
        let Some(source) = &mut self.source else { return Ok(None) };
        loop {
            self.n_bytes += source.read_until(b'\n', &mut self.line)? as u64;
            if !self.line.ends_with(b"\n") {
                return Ok(None);
            }
            let record = serde_json::from_slice::<EventRecord>(&self.line);
            self.line.clear();
            match record {
                Ok(record) if record.seq > self.after_seq => return Ok(Some(record)),
                Ok(_) => {}
                Err(error) => {
                    let message = format!("a line of the journal is not an event: {error}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
            }
        }
    }
}

/// `None` is the end of what is there; more may follow while the worker lives.
impl Iterator for Journal {
    type Item = io::Result<EventRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read();
        if next.is_err() {
            self.source = None;
        }
        next.transpose()
    }
}
