//! A job's samples: in a file that is mapped into memory, or on the heap while they are few.
//!
//! A set of samples may be larger than memory. What is read of the file is taken out of the process again, so that it
//! counts with the system's cache of files; the index, 44 bytes a sample, is part of it.
//! `layout` says how the bytes lie, `write` makes them, `record` is one sample. Where files are kept and when one
//! is used again is [`cache`](super::cache)'s business.

pub(super) mod bytes;
mod digest;
pub(super) mod draft;
mod layout;
mod record;
pub mod write;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use layout::{Entry, Sections};

use super::holdout::ContentHash;
use super::sample::Sample;

pub use layout::{Broken, Key};
pub use write::Writer;

/// What Linux maps at most where one page is touched (`fault_around_bytes`).
const PAGES_AROUND_BYTES: usize = 64 << 10;

/// Samples, in order. A clone or a selection shares the tokens.
#[derive(Clone)]
pub struct Samples {
    store: Arc<Store>,
    chosen: Chosen,
}

/// Which of the samples that are stored these are.
#[derive(Clone, Debug)]
enum Chosen {
    Range(Range<usize>),
    Picked(Arc<[usize]>),
}

/// All samples of a file.
struct Store {
    bytes: Bytes,
    sections: Sections,
}

/// Where a sample is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What the row says; the pieces of a row that was split share it.
    pub row: ContentHash,
    /// What the piece says.
    pub piece: ContentHash,
    /// Tokens that the loss counts, of a pair on both sides.
    pub n_supervised: u32,
    /// Which of the job's files it is from.
    pub file_index: u32,
    /// Whether it is the first piece of its row.
    pub begins_row: bool,
}

impl Samples {
    /// Takes the bytes of a file that a [`Writer`] made for `key`, and checks all of them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn of_bytes(bytes: Bytes, key: &Key) -> Result<Self, Broken> {
        let sections = layout::check(&bytes, key)?;
        let n_samples = sections.n_samples;
        Ok(Self { store: Arc::new(Store { bytes, sections }), chosen: Chosen::Range(0..n_samples) })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.chosen {
            Chosen::Range(range) => range.len(),
            Chosen::Picked(indexes) => indexes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn get(&self, index: usize) -> Sample {
        let Store { bytes, sections } = &*self.store;
        let stored = self.stored(index);
        let range = sections.record(bytes, stored);
        // A page that is touched brings those around it.
        bytes.touch(range.len().max(PAGES_AROUND_BYTES));
        record::read(&bytes[range], &sections.entry(bytes, stored))
            .expect("a file with this hash was written so")
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Sample> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Tokens of one that go through the model, those of both answers of a pair.
    pub fn n_tokens(&self, index: usize) -> usize {
        let Entry { n_tokens, n_rejected, .. } = self.entry(index);
        n_tokens as usize + n_rejected as usize
    }

    /// Tokens of the longer answer of a pair with its prompt, or of the text.
    pub fn longest_segment(&self, index: usize) -> usize {
        let Entry { n_tokens, n_rejected, .. } = self.entry(index);
        n_tokens.max(n_rejected) as usize
    }

    /// Of each whether it is a pair.
    pub fn are_pairs(&self) -> impl ExactSizeIterator<Item = bool> + '_ {
        (0..self.len()).map(|index| self.entry(index).shape.is_pair())
    }

    /// The [`n_tokens`](Self::n_tokens) of all.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        (0..self.len()).map(|index| self.n_tokens(index))
    }

    /// The most tokens that go through the model as one segment; 0 where there are no samples.
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|index| self.longest_segment(index)).max().unwrap_or(0)
    }

    /// Where one is from.
    pub fn origin(&self, index: usize) -> Origin {
        self.entry(index).origin
    }

    /// Some of them, as they follow each other.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Self {
        match &self.chosen {
            Chosen::Range(all) => {
                assert!(range.start <= range.end && range.end <= all.len(), "a part of what there is");
                let chosen = Chosen::Range(all.start + range.start..all.start + range.end);
                Self { store: self.store.clone(), chosen }
            }
            Chosen::Picked(indexes) => {
                Self { store: self.store.clone(), chosen: Chosen::Picked(indexes[range].into()) }
            }
        }
    }

    /// Those for which `wanted` says so.
    #[must_use]
    pub fn filter(&self, wanted: impl Fn(usize) -> bool) -> Self {
        let indexes = (0..self.len()).filter(|index| wanted(*index)).map(|index| self.stored(index));
        Self { store: self.store.clone(), chosen: Chosen::Picked(indexes.collect()) }
    }

    /// Whether one of them is `sample`.
    pub fn contains(&self, sample: &Sample) -> bool {
        self.iter().any(|one| one == *sample)
    }

    /// What was written beside the samples.
    pub fn about(&self) -> &[u8] {
        let Store { bytes, sections } = &*self.store;
        &bytes[sections.about.clone()]
    }

    /// Whether the tokens are in a file rather than on the heap.
    pub fn is_mapped(&self) -> bool {
        self.store.bytes.is_mapped()
    }

    /// The file that these samples are some of.
    pub(super) fn all_bytes(&self) -> &[u8] {
        &self.store.bytes
    }

    fn stored(&self, index: usize) -> usize {
        match &self.chosen {
            Chosen::Range(range) => {
                assert!(index < range.len(), "sample {index} of {}", range.len());
                range.start + index
            }
            Chosen::Picked(indexes) => indexes[index],
        }
    }

    fn entry(&self, index: usize) -> Entry {
        let Store { bytes, sections } = &*self.store;
        bytes.touch(layout::ENTRY_BYTES);
        sections.entry(bytes, self.stored(index))
    }
}

impl From<Vec<Sample>> for Samples {
    fn from(samples: Vec<Sample>) -> Self {
        samples.into_iter().collect()
    }
}

impl FromIterator<Sample> for Samples {
    fn from_iter<I: IntoIterator<Item = Sample>>(samples: I) -> Self {
        let mut writer = Writer::on_heap();
        for sample in samples {
            writer.push(&sample, Origin::default());
        }
        writer.finish(&Key::default(), &[]).expect("the heap gives back what it was given").samples
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl PartialEq for Samples {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl PartialEq<[Sample]> for Samples {
    fn eq(&self, other: &[Sample]) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(one, other)| one == *other)
    }
}

impl<const N: usize> PartialEq<[Sample; N]> for Samples {
    fn eq(&self, other: &[Sample; N]) -> bool {
        *self == other[..]
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would be a wall of numbers.
        const SHOWN: usize = 20;
        let mut list = f.debug_list();
        list.entries(self.iter().take(SHOWN));
        if self.len() > SHOWN { list.finish_non_exhaustive() } else { list.finish() }
    }
}
