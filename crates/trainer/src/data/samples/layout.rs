//! How a file of samples lies. Numbers are little-endian, nothing is aligned, nothing is behind the end.
//!
//! ```text
//! header    magic "FTLTOKEN" · version u32 · 0 u32 · key [32] · samples u64 · records u64 · about u64 · body [32] ·
//!           SHA-256 of all of these [32]
//! records   one behind the other, see `record`                          as many bytes as the header's `records` says
//! index     an entry for each sample, in order:
//!           start in `records` u64 · tokens u32 · of the rejected side u32 · learned u32 · file u32 · shape u32 ·
//!           hash of the row u64 · of the sample u64
//! about     what else is to be known; bytes for whoever wrote them      as many bytes as the header's `about` says
//! ```
//!
//! `key` says what the samples follow from. `body` is the hash of all that follows the header, in blocks (see `digest`),
//! so that no bit can change without being seen. That is checked when a file is opened, once, on all cores. What has this hash was written by a `Writer`, so records are read without further
//! checks.

use std::ops::Range;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::bytes::Bytes;
use super::digest::{Hash, hash_from};
use super::{Origin, record};

/// What files of samples begin with.
const MAGIC: &[u8; 8] = b"FTLTOKEN";
/// Counts up when the layout changes.
const VERSION: u32 = 1;
/// Bytes of the header without its own hash.
const FIELDS_BYTES: usize = 8 + 4 + 4 + 32 + 3 * 8 + 32;
/// Bytes of the header.
pub const HEADER_BYTES: usize = FIELDS_BYTES + 32;
/// Bytes of a sample's entry.
pub const ENTRY_BYTES: usize = 8 + 5 * 4 + 2 * 8;
/// Entries that are checked before pages are given back.
const ENTRIES_AT_ONCE: usize = 1 << 14;

/// What a file's samples follow from, as a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(pub Hash);

/// What is wrong with a file of samples: the end of a sentence that begins with its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

/// The numbers of a header.
pub struct Header {
    /// What the samples follow from.
    pub key: Key,
    /// How many there are.
    pub n_samples: u64,
    /// Bytes of all records.
    pub records_bytes: u64,
    /// Bytes of what else is to be known.
    pub about_bytes: u64,
    /// The hash of all that follows.
    pub body: Hash,
}

impl Header {
    /// As bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let Self { key, n_samples, records_bytes, about_bytes, body } = self;
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(key.0);
        [n_samples, records_bytes, about_bytes].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(body);
        bytes.extend(Sha256::digest(&bytes));
        bytes.try_into().expect("the fields have this length")
    }

    fn of_bytes(bytes: &[u8]) -> Result<Self, Broken> {
        let broken = |what: &str| Err(Broken(what.to_owned()));
        let Some((fields, rest)) = bytes.split_at_checked(FIELDS_BYTES) else {
            return broken("is too short for its header");
        };
        let mut fields_left = fields;
        if take::<8>(&mut fields_left) != Some(*MAGIC) {
            return broken("is not a file of samples");
        }
        let version = take(&mut fields_left).map(u32::from_le_bytes);
        if version != Some(VERSION) {
            return broken("is of another version");
        }
        if !rest.starts_with(Sha256::digest(fields).as_slice()) {
            return broken("has a damaged header");
        }
        let parse = |mut left: &[u8]| {
            take::<4>(&mut left)?;
            Some(Self {
                key: Key(take(&mut left)?),
                n_samples: u64::from_le_bytes(take(&mut left)?),
                records_bytes: u64::from_le_bytes(take(&mut left)?),
                about_bytes: u64::from_le_bytes(take(&mut left)?),
                body: take(&mut left)?,
            })
        };
        parse(fields_left).ok_or_else(|| Broken("is too short for its header".to_owned()))
    }
}

/// Which parts a sample has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape(pub u32);

impl Shape {
    /// There is a rejected side.
    const PAIR: u32 = 1 << 8;
    /// It is the first sample of its row.
    const BEGINS_ROW: u32 = 1 << 9;
    /// The bits of the rejected side are so much higher than those of the text, which [`Segment`](record::Segment) has.
    const REJECTED: u32 = 4;

    /// Of a text, or of a pair.
    pub fn of(text: record::Segment, rejected: Option<record::Segment>) -> Self {
        Self(text.0 | rejected.map_or(0, |rejected| Self::PAIR | rejected.0 << Self::REJECTED))
    }

    /// Whether there is a rejected side.
    pub fn is_pair(self) -> bool {
        self.0 & Self::PAIR != 0
    }

    /// How the text lies, or of a pair the chosen side.
    pub fn text(self) -> record::Segment {
        record::Segment(self.0 & record::Segment::ALL)
    }

    /// How the rejected side lies.
    pub fn rejected(self) -> record::Segment {
        record::Segment(self.0 >> Self::REJECTED & record::Segment::ALL)
    }
}

/// What the index says of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its record begins.
    pub start: u64,
    /// Its tokens, or those of the chosen side.
    pub n_tokens: u32,
    /// Tokens of the rejected side.
    pub n_rejected: u32,
    /// Which parts it has.
    pub shape: Shape,
    /// Where it is from.
    pub origin: Origin,
}

impl Entry {
    /// Appends it to an index.
    pub fn write(&self, index: &mut Vec<u8>) {
        let Self { start, n_tokens, n_rejected, shape: Shape(shape), origin } = *self;
        let Origin { row, piece, n_supervised, file_index, begins_row } = origin;
        let shape = if begins_row { shape | Shape::BEGINS_ROW } else { shape };
        index.extend(start.to_le_bytes());
        [n_tokens, n_rejected, n_supervised, file_index, shape]
            .iter()
            .for_each(|n| index.extend(n.to_le_bytes()));
        [row, piece].iter().for_each(|hash| index.extend(hash.to_le_bytes()));
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let start = u64::from_le_bytes(take(bytes)?);
        let mut number = || Some(u32::from_le_bytes(take(bytes)?));
        let (n_tokens, n_rejected, n_supervised) = (number()?, number()?, number()?);
        let (file_index, shape) = (number()?, number()?);
        let mut hash = || Some(u64::from_le_bytes(take(bytes)?));
        let (row, piece) = (hash()?, hash()?);
        let begins_row = shape & Shape::BEGINS_ROW != 0;
        let origin = Origin { row, piece, n_supervised, file_index, begins_row };
        Some(Self { start, n_tokens, n_rejected, shape: Shape(shape & !Shape::BEGINS_ROW), origin })
    }
}

/// Where the parts of a file are.
#[derive(Clone, Debug)]
pub struct Sections {
    /// How many samples there are.
    pub n_samples: usize,
    records: Range<usize>,
    index: Range<usize>,
    /// What else is to be known.
    pub about: Range<usize>,
}

impl Sections {
    /// `None`: no file is as long as the header says.
    pub fn of(header: &Header) -> Option<Self> {
        let n_samples = usize::try_from(header.n_samples).ok()?;
        let end_of_records = HEADER_BYTES.checked_add(usize::try_from(header.records_bytes).ok()?)?;
        let end_of_index = end_of_records.checked_add(n_samples.checked_mul(ENTRY_BYTES)?)?;
        let end = end_of_index.checked_add(usize::try_from(header.about_bytes).ok()?)?;
        Some(Self {
            n_samples,
            records: HEADER_BYTES..end_of_records,
            index: end_of_records..end_of_index,
            about: end_of_index..end,
        })
    }

    /// What the index says of a sample.
    pub fn entry(&self, bytes: &[u8], index: usize) -> Entry {
        let entry = &bytes[self.index.clone()][index * ENTRY_BYTES..];
        Entry::read(entry).expect("the index has an entry for each sample")
    }

    /// Where in the file the record of a sample is.
    pub fn record(&self, bytes: &[u8], index: usize) -> Range<usize> {
        let start = |index: usize| self.records.start + self.entry(bytes, index).start as usize;
        let end = if index + 1 == self.n_samples { self.records.end } else { start(index + 1) };
        start(index)..end
    }

    /// Whether the records of some samples follow each other inside the file.
    fn are_in_order(&self, bytes: &[u8], samples: Range<usize>) -> bool {
        samples.into_par_iter().all(|index| {
            let start = self.entry(bytes, index).start;
            let is_first_at_start = index > 0 || start == 0;
            let is_last = index + 1 == self.n_samples;
            let end = if is_last { self.records.len() as u64 } else { self.entry(bytes, index + 1).start };
            is_first_at_start && start <= end && end <= self.records.len() as u64
        })
    }
}

/// Checks all of a file.
///
/// # Errors
/// What is wrong with it.
pub fn check(bytes: &Bytes, key: &Key) -> Result<Sections, Broken> {
    let header = Header::of_bytes(bytes)?;
    if header.key != *key {
        return Err(Broken("holds other samples than its name says".to_owned()));
    }
    let Some(sections) = Sections::of(&header).filter(|sections| sections.about.end == bytes.len()) else {
        return Err(Broken("is not as long as its header says".to_owned()));
    };
    if hash_from(bytes, HEADER_BYTES) != header.body {
        return Err(Broken("is damaged: its bytes do not have the hash that they had".to_owned()));
    }
    let mut start = 0;
    while start < sections.n_samples {
        let end = sections.n_samples.min(start + ENTRIES_AT_ONCE);
        if !sections.are_in_order(bytes, start..end) {
            return Err(Broken("has an index that does not fit its records".to_owned()));
        }
        bytes.touch((end - start) * ENTRY_BYTES);
        start = end;
    }
    Ok(sections)
}

/// The next bytes.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}
