//! The rows of a file one after another, for a few of them at a time: the whole of a file goes through lots.

use std::collections::VecDeque;
use std::path::Path;

use ftl_core::Problem;
use serde_json::Value;

use super::lot::Parsed;
use super::{Opened, Place, open};

/// One row of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub place: Place,
    /// What it says. The content of a text file is `{"text": …}`.
    pub value: Value,
}

/// The rows of a file. A bad row is a problem and the next one follows; after a bad file none does.
pub struct Rows {
    opened: Opened,
    /// Parsed and not given yet.
    ahead: VecDeque<Parsed>,
    number: u64,
    written: Option<Vec<u8>>,
}

impl Rows {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`ProblemKind::NotFound`](ftl_core::ProblemKind::NotFound) or
    /// [`ProblemKind::BadData`](ftl_core::ProblemKind::BadData), naming the file.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        Ok(Self { opened: open(path)?, ahead: VecDeque::new(), number: 0, written: None })
    }

    /// The number of the row that was given last, or 0 before the first. Also that of a row that could not be read.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How the last row is written in the file, or the beginning of it, where it could not be read.
    pub fn line(&self) -> Option<&[u8]> {
        self.written.as_deref()
    }

    /// Leaves out all rows up to this number, without judging them.
    ///
    /// # Errors
    /// A file that can't be read any further.
    pub fn skip_to(&mut self, last: u64) -> Result<(), Problem> {
        loop {
            while self.ahead.front().is_some_and(|row| row.place.number <= last) {
                self.ahead.pop_front();
            }
            if !self.ahead.is_empty() {
                return Ok(());
            }
            match self.opened.next() {
                None => return Ok(()),
                Some(Err(refusal)) => return Err(refusal.into()),
                Some(Ok(lot)) if lot.last_number() <= last => {}
                Some(Ok(lot)) => self.ahead.extend(lot.parse()),
            }
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ahead.is_empty() {
            match self.opened.next()? {
                Ok(lot) => self.ahead.extend(lot.parse()),
                Err(refusal) => {
                    self.written = None;
                    return Some(Err(refusal.into()));
                }
            }
        }
        let Parsed { place, row, written } = self.ahead.pop_front()?;
        self.number = place.number;
        self.written = written;
        Some(match row {
            Ok(value) => Ok(Row { place, value }),
            Err(fault) => Err(place.problem(fault)),
        })
    }
}
