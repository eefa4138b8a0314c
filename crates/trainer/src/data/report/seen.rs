//! Which rows say what an earlier one said.
//!
//! 16 bytes a row in a table that is between 7/16 and 7/8 full: 10 million rows take about 285 MB, and half as much
//! again for the moment in which the table grows. A row's place is one number over all files, which ends at 2³²; rows
//! beyond are still found to be duplicates, only the row that they repeat is not named.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use crate::data::judge::Content;

/// What an earlier row has to do with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Nothing: it is the first to say this.
    Nothing,
    /// It says exactly the same.
    Exactly {
        /// Its place.
        earlier: u32,
    },
    /// It says the same but for white space and capitals.
    Nearly {
        /// Its place.
        earlier: u32,
    },
}

/// What was said so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// The first row of each `near`, with half of its `exact`; with `near`, 96 bits tell rows apart.
    first: HashMap<u64, (u32, u32), BuildHasherDefault<Already>>,
    /// Further ways to say the same, which are few.
    others: HashMap<(u64, u32), u32>,
}

impl Seen {
    /// Takes in a row at `place`, and says what it repeats.
    pub fn add(&mut self, content: Content, place: u32) -> Repeats {
        let Content { near, exact } = content;
        let exact = exact as u32;
        let (first, earlier) = match self.first.entry(near) {
            Entry::Vacant(entry) => {
                entry.insert((exact, place));
                return Repeats::Nothing;
            }
            Entry::Occupied(entry) => *entry.get(),
        };
        if first == exact {
            return Repeats::Exactly { earlier };
        }
        match self.others.entry((near, exact)) {
            Entry::Occupied(entry) => Repeats::Exactly { earlier: *entry.get() },
            Entry::Vacant(entry) => {
                entry.insert(place);
                Repeats::Nearly { earlier }
            }
        }
    }

    /// The place of a row that says the same, or nearly.
    pub fn find(&self, near: u64) -> Option<u32> {
        self.first.get(&near).map(|(_, place)| *place)
    }
}

/// Takes a number that is a hash already.
#[derive(Default)]
pub struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only numbers of 64 bits are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_rows_name_the_first_that_said_the_same() {
        let mut seen = Seen::default();
        let mut add = |near, exact, place| seen.add(Content { near, exact }, place);
        assert_eq!(add(1, 10, 0), Repeats::Nothing);
        assert_eq!(add(2, 10, 1), Repeats::Nothing);
        assert_eq!(add(1, 11, 2), Repeats::Nearly { earlier: 0 });
        assert_eq!(add(1, 10, 3), Repeats::Exactly { earlier: 0 });
        assert_eq!(add(1, 11, 4), Repeats::Exactly { earlier: 2 });
        assert_eq!((seen.find(1), seen.find(3)), (Some(0), None));
    }
}
