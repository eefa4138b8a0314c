//! The file: records one after the other, of which the last for a key counts.
//!
//! A record is `kind, origin, three lengths (namespace, key, value), checksum` and the three texts. The index of where each
//! entry lies is made by reading the file once; what other processes append is read before each statement.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::Path;

use crate::Error;

/// The namespace of what CubeCL keeps about the file itself.
pub const META: &str = "\u{1}meta";

/// How a file begins.
const MAGIC: &[u8; 8] = b"ftlkeep1";
/// Kind, origin, three lengths and the checksum.
const HEADER: usize = 1 + 1 + 4 + 4 + 4 + 8;
/// Beyond it everything is thrown away: kernels of many versions have gathered.
const MOST_BYTES: u64 = 1 << 30;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const PURGE: u8 = 3;
const CLEAR: u8 = 4;

/// An entry's value, and whether it came from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// 0: made here.
    pub origin: u8,
}

/// A change.
#[derive(Debug)]
pub enum Write {
    /// Whatever is there.
    Put { namespace: String, key: Vec<u8>, entry: Entry },
    /// Only where nothing is, or something from elsewhere while this was made here.
    PutNew { namespace: String, key: Vec<u8>, entry: Entry },
    /// One entry.
    Remove { namespace: String, key: Vec<u8> },
    /// All of a namespace.
    Purge { namespace: String },
    /// All.
    Clear,
}

/// An open file.
#[derive(Debug)]
pub struct Log {
    file: File,
    is_read_only: bool,
    /// Up to here the index knows the file.
    n_read: u64,
    index: BTreeMap<String, BTreeMap<Vec<u8>, Place>>,
}

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    n_bytes: usize,
    origin: u8,
}

impl Log {
    /// Opens a file, or makes it.
    pub fn open(path: &Path, is_read_only: bool) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(!is_read_only).create(!is_read_only);
        let file = options.open(path).map_err(|error| failed(&error, "opening the cache"))?;
        let mut log = Self { file, is_read_only, n_read: 0, index: BTreeMap::new() };
        if !is_read_only {
            log.locked(|log| {
                let length = log.length()?;
                // Of another kind, or too long: a cache may begin anew.
                if length == 0 || length > MOST_BYTES || !log.has_magic()? {
                    log.file.set_len(0).map_err(|error| failed(&error, "emptying the cache"))?;
                    log.append(MAGIC)?;
                }
                Ok(())
            })?;
        }
        log.n_read = MAGIC.len() as u64;
        log.catch_up()?;
        Ok(log)
    }

    /// Reads what others have written.
    pub fn catch_up(&mut self) -> Result<(), Error> {
        let length = self.length()?;
        if length < self.n_read {
            // Somebody emptied it.
            self.index.clear();
            self.n_read = MAGIC.len() as u64;
        }
        if length <= self.n_read {
            return Ok(());
        }
        let mut bytes = vec![0; (length - self.n_read) as usize];
        self.read_at(self.n_read, &mut bytes)?;
        let mut rest = bytes.as_slice();
        while let Some((record, after)) = Record::parse(rest) {
            let value_at = self.n_read + (HEADER + record.namespace.len() + record.key.len()) as u64;
            self.n_read += (rest.len() - after.len()) as u64;
            rest = after;
            let namespace = String::from_utf8_lossy(record.namespace).into_owned();
            match record.kind {
                PUT => {
                    let place = Place { offset: value_at, n_bytes: record.value.len(), origin: record.origin };
                    self.index.entry(namespace).or_default().insert(record.key.to_vec(), place);
                }
                REMOVE => _ = self.index.get_mut(&namespace).and_then(|entries| entries.remove(record.key)),
                PURGE => _ = self.index.remove(&namespace),
                CLEAR => self.index.retain(|namespace, _| namespace == META),
                _ => {}
            }
        }
        Ok(())
    }

    /// An entry.
    pub fn read(&mut self, namespace: &str, key: &[u8]) -> Result<Option<Entry>, Error> {
        let place = self.index.get(namespace).and_then(|entries| entries.get(key)).copied();
        place.map(|place| self.value(place)).transpose()
    }

    /// All of a namespace.
    pub fn scan(&mut self, namespace: &str) -> Result<Vec<(Vec<u8>, Entry)>, Error> {
        let places: Vec<_> = self.index.get(namespace).into_iter().flatten().map(|(k, p)| (k.clone(), *p)).collect();
        places.into_iter().map(|(key, place)| Ok((key, self.value(place)?))).collect()
    }

    /// Namespaces with the number of entries and their bytes.
    pub fn summary(&self) -> Vec<(String, u64, u64)> {
        let of = |entries: &BTreeMap<Vec<u8>, Place>| {
            entries.iter().map(|(key, place)| (key.len() + place.n_bytes) as u64).sum()
        };
        let named = self.index.iter().filter(|(name, entries)| *name != META && !entries.is_empty());
        named.map(|(name, entries)| (name.clone(), entries.len() as u64, of(entries))).collect()
    }

    /// Makes a change, and says how many entries it changed.
    pub fn write(&mut self, write: Write) -> Result<u64, Error> {
        if self.is_read_only {
            return Err(Error::Error("the cache was opened to be read only".to_owned()));
        }
        self.locked(|log| {
            log.catch_up()?;
            // What lies behind the last whole record was torn off while it was written.
            if log.length()? > log.n_read {
                log.file.set_len(log.n_read).map_err(|error| failed(&error, "mending the cache"))?;
            }
            let n_changed = log.n_changed(&write);
            if n_changed > 0 {
                log.append(&write.bytes())?;
                log.catch_up()?;
            }
            Ok(n_changed)
        })
    }

    fn n_changed(&self, write: &Write) -> u64 {
        let here = |namespace: &str, key: &[u8]| self.index.get(namespace).and_then(|entries| entries.get(key));
        match write {
            Write::Put { .. } => 1,
            Write::PutNew { namespace, key, entry } => match here(namespace, key) {
                Some(place) => u64::from(place.origin != 0 && entry.origin == 0),
                None => 1,
            },
            Write::Remove { namespace, key } => u64::from(here(namespace, key).is_some()),
            Write::Purge { namespace } => self.index.get(namespace).map_or(0, |entries| entries.len() as u64),
            Write::Clear => self.summary().iter().map(|(_, n, _)| n).sum(),
        }
    }

    fn value(&mut self, place: Place) -> Result<Entry, Error> {
        let mut value = vec![0; place.n_bytes];
        self.read_at(place.offset, &mut value)?;
        Ok(Entry { value, origin: place.origin })
    }

    fn has_magic(&mut self) -> Result<bool, Error> {
        let mut bytes = [0; MAGIC.len()];
        Ok(self.length()? >= MAGIC.len() as u64 && self.read_at(0, &mut bytes).is_ok() && bytes == *MAGIC)
    }

    fn length(&self) -> Result<u64, Error> {
        Ok(self.file.metadata().map_err(|error| failed(&error, "looking at the cache"))?.len())
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let read = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(bytes));
        read.map_err(|error| failed(&error, "reading the cache"))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.seek(SeekFrom::End(0)).and_then(|_| self.file.write_all(bytes));
        written.map_err(|error| failed(&error, "writing the cache"))
    }

    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.file.lock().map_err(|error| failed(&error, "locking the cache"))?;
        let done = work(self);
        let unlocked = self.file.unlock().map_err(|error| failed(&error, "unlocking the cache"));
        unlocked.and(done)
    }
}

fn failed(error: &std::io::Error, what: &'static str) -> Error {
    Error::IoError(error.kind(), what)
}

impl Write {
    fn bytes(&self) -> Vec<u8> {
        let (kind, origin, namespace, key, value) = match self {
            Self::Put { namespace, key, entry } | Self::PutNew { namespace, key, entry } => {
                (PUT, entry.origin, namespace.as_bytes(), key.as_slice(), entry.value.as_slice())
            }
            Self::Remove { namespace, key } => (REMOVE, 0, namespace.as_bytes(), key.as_slice(), [].as_slice()),
            Self::Purge { namespace } => (PURGE, 0, namespace.as_bytes(), [].as_slice(), [].as_slice()),
            Self::Clear => (CLEAR, 0, [].as_slice(), [].as_slice(), [].as_slice()),
        };
        let mut bytes = vec![kind, origin];
        let parts = [namespace, key, value];
        for part in parts {
            bytes.extend((part.len() as u32).to_le_bytes());
        }
        bytes.extend(checksum(kind, origin, parts).to_le_bytes());
        parts.iter().for_each(|part| bytes.extend(*part));
        bytes
    }
}

/// A record in the bytes of the file.
struct Record<'a> {
    kind: u8,
    origin: u8,
    namespace: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record and what follows it; `None`: it is not whole.
    fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
        let (namespace, rest) = rest.split_at_checked(number(2))?;
        let (key, rest) = rest.split_at_checked(number(6))?;
        let (value, rest) = rest.split_at_checked(number(10))?;
        let (kind, origin) = (header[0], header[1]);
        let sum = u64::from_le_bytes(header[14..22].try_into().expect("eight bytes"));
        let is_whole = sum == checksum(kind, origin, [namespace, key, value]);
        is_whole.then_some((Self { kind, origin, namespace, key, value }, rest))
    }
}

/// FNV-1a (Fowler, Noll and Vo), eight bytes at a time.
fn checksum(kind: u8, origin: u8, parts: [&[u8]; 3]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325u64 ^ u64::from(kind) << 8 ^ u64::from(origin);
    for part in parts {
        sum = (sum ^ part.len() as u64).wrapping_mul(0x0100_0000_01b3);
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }
    sum
}
