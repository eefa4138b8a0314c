//! Lists in pages, newest first. A page ends at a row's number, which is never given twice, so that rows that are
//! added or removed meanwhile move no other row to another page.

use ftl_core::{Page, PageRequest};

use crate::error::StoreError;

/// The lists; a token of one is none of another.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum List {
    Jobs = 1,
    Datasets = 2,
    Models = 3,
    Configs = 4,
    Checkpoints = 5,
    Predictions = 6,
    GpuSamples = 7,
}

/// The part of a list that is wanted: rows with lower numbers than this, and how many.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    list: List,
    pub(crate) before: i64,
    size: usize,
}

impl Cut {
    pub(crate) fn new(list: List, request: &PageRequest) -> Result<Self, StoreError> {
        let before = match request.page_token.as_deref() {
            // As in the protocol, where an empty token asks for the first page.
            None | Some("") => i64::MAX,
            Some(token) => number_in(list, token).ok_or(StoreError::BadPageToken)?,
        };
        Ok(Self { list, before, size: request.size() as usize })
    }

    /// How many rows to read: one more than the page has, to know whether there is another.
    pub(crate) fn limit(self) -> i64 {
        self.size as i64 + 1
    }

    /// The page, from rows with their numbers.
    pub(crate) fn page<T>(self, mut rows: Vec<(i64, T)>) -> Page<T> {
        let has_more = rows.len() > self.size;
        rows.truncate(self.size);
        let last = rows.last().map(|(number, _)| *number);
        let next_page_token = last.filter(|_| has_more).map(|number| token(self.list, number));
        Page { items: rows.into_iter().map(|(_, item)| item).collect(), next_page_token }
    }
}

/// Hexadecimal: a byte for the list, eight for the number, two to check them by.
fn token(list: List, number: i64) -> String {
    let mut bytes = vec![list as u8];
    bytes.extend(number.to_be_bytes());
    let check = check_of(&bytes);
    bytes.extend(check);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number_in(list: List, text: &str) -> Option<i64> {
    let number = text.get(2..18)?;
    let number = i64::from_str_radix(number, 16).ok()?;
    // Only what `token` makes is accepted, to the letter.
    (text == token(list, number)).then_some(number)
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), folded to 16 bits: tells a mistyped token, not a forged one,
/// which could do no harm.
fn check_of(bytes: &[u8]) -> [u8; 2] {
    let hash =
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    ((hash >> 16) as u16 ^ hash as u16).to_be_bytes()
}
