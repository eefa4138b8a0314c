//! Writing samples one by one: on the heap while they are few, then into a file.
//!
//! A place that can't be written to, or is full, is left for the next one, and the heap is the last: samples that were
//! made are not lost because of a disk.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::bytes::Bytes;
use super::digest::Hasher;
use super::draft::Draft;
use super::layout::{self, Entry, Header, Key, Sections};
use super::{Chosen, Origin, Samples, Store, record};
use crate::data::sample::Sample;

/// Bytes that are kept on the heap: a few million tokens.
const HEAP_BYTES: usize = 16 << 20;

/// Takes samples.
pub struct Writer {
    sink: Sink,
    /// Directories for a file, the best first.
    places: VecDeque<PathBuf>,
    body: Hasher,
    index: Vec<u8>,
    n_samples: u64,
    records_bytes: u64,
    /// The record that is being written.
    record: Vec<u8>,
    notes: Vec<String>,
    /// Why bytes could not be read back.
    lost: Option<io::Error>,
}

/// Where bytes go.
enum Sink {
    Heap(Vec<u8>),
    File(Draft),
}

/// Samples that were written.
pub struct Written {
    /// All of them.
    pub samples: Samples,
    /// Their file, which has no name yet; without one it is gone when the samples are.
    pub draft: Option<Draft>,
    /// Which places could not be written to, and why.
    pub notes: Vec<String>,
}

impl Writer {
    /// Writes on the heap, however many there are.
    pub fn on_heap() -> Self {
        Self::at([])
    }

    /// Writes into a file in the first of `places` that can take it, once the samples are many.
    pub fn at(places: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            sink: Sink::Heap(vec![0; layout::HEADER_BYTES]),
            places: places.into_iter().collect(),
            body: Hasher::default(),
            index: Vec::new(),
            n_samples: 0,
            records_bytes: 0,
            record: Vec::new(),
            notes: Vec::new(),
            lost: None,
        }
    }

    /// How many it has taken.
    pub fn n_samples(&self) -> u64 {
        self.n_samples
    }

    /// Takes the next one.
    ///
    /// # Panics
    /// If a sample has 2³² tokens, or not as many labels as tokens.
    pub fn push(&mut self, sample: &Sample, origin: Origin) {
        let mut bytes = std::mem::take(&mut self.record);
        bytes.clear();
        let shape = record::write(sample, &mut bytes);
        let count = |segment: &Sample| u32::try_from(segment.ids.len()).expect("fewer tokens than that");
        let n_rejected = sample.rejected.as_deref().map_or(0, count);
        let (start, n_tokens) = (self.records_bytes, count(sample));
        Entry { start, n_tokens, n_rejected, shape, origin }.write(&mut self.index);
        self.n_samples += 1;
        self.records_bytes += bytes.len() as u64;
        self.append(&bytes);
        self.record = bytes;
    }

    /// Ends the file: its samples follow from `key`, and `about` is what else is to be known.
    ///
    /// # Errors
    /// A disk that does not give back what was written to it.
    pub fn finish(mut self, key: &Key, about: &[u8]) -> io::Result<Written> {
        let index = std::mem::take(&mut self.index);
        self.append(&index);
        self.append(about);
        let header = Header {
            key: *key,
            n_samples: self.n_samples,
            records_bytes: self.records_bytes,
            about_bytes: about.len() as u64,
            body: std::mem::take(&mut self.body).finish(),
        };
        let first = header.to_bytes();
        let bytes = loop {
            match &mut self.sink {
                Sink::Heap(bytes) => {
                    bytes[..first.len()].copy_from_slice(&first);
                    break Bytes::Heap(std::mem::take(bytes));
                }
                Sink::File(draft) => match draft.complete(&first) {
                    Ok(bytes) => break bytes,
                    Err(error) => self.leave(&error),
                },
            }
        };
        if let Some(error) = self.lost {
            return Err(error);
        }
        let sections = Sections::of(&header).expect("what is in memory or in a file has a length");
        let chosen = Chosen::Range(0..sections.n_samples);
        let draft = match self.sink {
            Sink::Heap(_) => None,
            Sink::File(draft) => Some(draft),
        };
        let samples = Samples { store: Arc::new(Store { bytes, sections }), chosen };
        Ok(Written { samples, draft, notes: self.notes })
    }

    fn append(&mut self, bytes: &[u8]) {
        self.body.update(bytes);
        match &mut self.sink {
            Sink::Heap(all) => {
                all.extend_from_slice(bytes);
                if all.len() > HEAP_BYTES && !self.places.is_empty() {
                    self.move_on();
                }
            }
            Sink::File(draft) => {
                if let Err(error) = draft.write(bytes) {
                    self.leave(&error);
                }
            }
        }
    }

    /// Says why the file that is written to is no good, and writes to the next place.
    fn leave(&mut self, error: &io::Error) {
        if let Sink::File(draft) = &self.sink {
            self.notes.push(not_written(draft.dir(), error));
        }
        self.move_on();
    }

    fn move_on(&mut self) {
        while let Some(dir) = self.places.pop_front() {
            match Draft::create(&dir).and_then(|draft| self.copied_to(draft)) {
                Ok(draft) => {
                    self.sink = Sink::File(draft);
                    return;
                }
                Err(error) => self.notes.push(not_written(&dir, &error)),
            }
        }
        if let Sink::File(draft) = &mut self.sink {
            let mut all = Vec::new();
            let read = draft.read_all(|bytes| {
                all.extend_from_slice(bytes);
                Ok(())
            });
            self.lost = read.err();
            // Places of what is lost are still counted, so that there is something to end.
            all.resize(all.len().max(layout::HEADER_BYTES), 0);
            self.sink = Sink::Heap(all);
        }
    }

    fn copied_to(&mut self, mut draft: Draft) -> io::Result<Draft> {
        match &mut self.sink {
            Sink::Heap(all) => draft.write(all)?,
            Sink::File(old) => old.read_all(|bytes| draft.write(bytes))?,
        }
        Ok(draft)
    }
}

fn not_written(dir: &std::path::Path, error: &io::Error) -> String {
    format!("tokens can't be written to `{}`: {error}", dir.display())
}
