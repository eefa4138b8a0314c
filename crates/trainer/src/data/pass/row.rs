//! One row: what was found, and what a consumer wants of it.

use ftl_core::dataset::Code;

use super::Pass;
use super::learn::Learned;
use super::source::{Raw, example};
use crate::data::fault::Fault;
use crate::data::format::{Example, RowLayout};
use crate::data::judge::Facts;

/// What consumers need of a row beside what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing: they count.
    Verdicts,
    /// Its samples.
    Samples,
    /// Its samples, and the example that they are made of.
    Examples,
}

/// What became of a row.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its number, from 1; in JSON Lines that of its line.
    pub number: u64,
    /// Its line, where rows are not lines.
    pub line: Option<u64>,
    /// What was seen without a model, where it is an example.
    pub facts: Option<Facts>,
    /// What was seen with one, where it could be made tokens.
    pub learned: Option<Learned>,
    /// What is wrong with it; errors come last, and with one it is not trained on.
    pub faults: Vec<Fault>,
    /// The example, where it is wanted.
    pub example: Option<Example>,
}

impl Judged {
    /// Why it can't be trained on.
    pub fn error(&self) -> Option<&Fault> {
        self.faults.last().filter(|fault| fault.is_error())
    }
}

impl Pass<'_> {
    /// Judges one row.
    pub(super) fn judge(&self, (place, row): Raw, layout: &RowLayout) -> Judged {
        let mut judged = Judged {
            number: place.number,
            line: place.line,
            facts: None,
            learned: None,
            faults: Vec::new(),
            example: None,
        };
        let example = match example(row, layout, &mut judged.faults) {
            Ok(example) => example,
            Err(fault) => {
                judged.faults.push(fault);
                return judged;
            }
        };
        let mut facts = Facts::of(&example, &self.spellings);
        judged.faults.append(&mut facts.warnings);
        if let Some(model) = &self.model {
            match model.learn(&example, self.wanted, &mut judged.faults) {
                Ok(learned) => judged.learned = Some(learned),
                Err(fault) => {
                    // One reason is enough, and an answer that is refused as empty is no longer nearly so.
                    judged.faults.retain(|fault| fault.code != Code::NearEmpty);
                    judged.faults.push(fault);
                }
            }
        }
        judged.facts = Some(facts);
        match self.wanted {
            Wanted::Verdicts | Wanted::Samples => {}
            Wanted::Examples => judged.example = Some(example),
        }
        judged
    }
}
