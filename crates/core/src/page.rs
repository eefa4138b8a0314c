//! Lists in pages (AIP-158).

use serde::{Deserialize, Serialize};

/// Which part of a list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// At most this many; 0: 50. More than 1,000 are never given.
    pub page_size: u32,
    /// Where the page before ended; `None`: the first page.
    pub page_token: Option<String>,
}

/// A part of a list, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to ask the next page with; `None`: this is the last.
    pub next_page_token: Option<String>,
}

impl PageRequest {
    /// Items of a page where nothing else is asked for.
    pub const DEFAULT_SIZE: u32 = 50;
    /// A page has no more.
    pub const MAX_SIZE: u32 = 1_000;

    /// How many items to give.
    pub fn size(&self) -> u32 {
        match self.page_size {
            0 => Self::DEFAULT_SIZE,
            size => size.min(Self::MAX_SIZE),
        }
    }
}
