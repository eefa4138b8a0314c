//! `events.jsonl`: every event with its number and time, across all attempts of a run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ftl_core::{Event, EventRecord};

use crate::error::TrainError;

/// Numbers events and writes them. Until [`open`](Self::open) they wait in memory, so that a refused run leaves
/// nothing behind.
#[derive(Debug, Default)]
pub struct EventLog {
    seq: u64,
    waiting: Vec<EventRecord>,
    file: Option<(File, PathBuf)>,
}

impl EventLog {
    /// Begins to write to `path`, after what earlier attempts wrote there.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses, or if the file holds something else than events.
    pub fn open(&mut self, path: &Path) -> Result<(), TrainError> {
        let (last_seq, good_bytes) = read_end(path)?;
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)
            .map_err(TrainError::file("open", path))?;
        // A process that was killed may have left half a line.
        file.set_len(good_bytes).map_err(TrainError::file("write", path))?;
        file.seek(SeekFrom::End(0)).map_err(TrainError::file("write", path))?;
        self.seq += last_seq;
        self.file = Some((file, path.to_owned()));
        for record in std::mem::take(&mut self.waiting) {
            self.write(&EventRecord { seq: record.seq + last_seq, ..record })?;
        }
        Ok(())
    }

    /// Whether [`open`](Self::open) could begin to write to `path`, without writing.
    ///
    /// # Errors
    /// As `open`, as far as it can be told before.
    pub fn check(path: &Path) -> Result<(), TrainError> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            fs::metadata(parent).map_err(TrainError::file("open", parent))?;
        }
        read_end(path).map(|_| ())
    }

    /// Takes note of an event.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn record(&mut self, event: &Event) -> Result<(), TrainError> {
        self.seq += 1;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record =
            EventRecord { seq: self.seq, time_unix_ms: since.as_millis() as u64, event: event.clone() };
        if self.file.is_none() {
            self.waiting.push(record);
            return Ok(());
        }
        self.write(&record)
    }

    fn write(&mut self, record: &EventRecord) -> Result<(), TrainError> {
        let Some((file, path)) = &mut self.file else { return Ok(()) };
        let mut line = serde_json::to_vec(record).expect("an event is plain data");
        line.push(b'\n');
        // In one call, so that a reader who follows the file sees whole lines.
        file.write_all(&line).map_err(TrainError::file("write", path))
    }
}

/// The highest number of an event in the file, and where the last whole event ends.
fn read_end(path: &Path) -> Result<(u64, u64), TrainError> {
    if !fs::exists(path).map_err(TrainError::file("open", path))? {
        return Ok((0, 0));
    }
    let file = File::open(path).map_err(TrainError::file("open", path))?;
    let mut reader = BufReader::new(file);
    let (mut last_seq, mut good_bytes, mut read_bytes, mut line) = (0, 0, 0, Vec::new());
    loop {
        line.clear();
        let n = reader.read_until(b'\n', &mut line).map_err(TrainError::file("read", path))?;
        if n == 0 {
            return Ok((last_seq, good_bytes));
        }
        read_bytes += n as u64;
        match serde_json::from_slice::<EventRecord>(&line) {
            Ok(record) if line.ends_with(b"\n") => {
                last_seq = record.seq.max(last_seq);
                good_bytes = read_bytes;
            }
            // A person's file, named by mistake: cutting it down would lose what is in it.
            Err(_) if good_bytes == 0 && !is_beginning(&line) => {
                return Err(TrainError::file("write", path)(io::Error::other("it holds no events")));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether a line may be what was written of an event before the process was killed.
fn is_beginning(line: &[u8]) -> bool {
    const START: &[u8] = b"{\"seq\":";
    line.starts_with(START) || START.starts_with(line)
}
