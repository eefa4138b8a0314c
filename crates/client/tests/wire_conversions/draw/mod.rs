//! Core's values at random. Every type is built whole, without `..`, so that a new field is drawn too.

mod dataset;
mod job;
mod service;
mod spec;

use ftl_core::job::Phase;
use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::{Problem, ProblemKind};
use proptest::prelude::{Just, Rng as _, Strategy};
use proptest::test_runner::TestRng;
use std::path::PathBuf;

/// Random values of one type.
pub fn random<T: std::fmt::Debug>(draw: impl Fn(&mut Draw) -> T) -> impl Strategy<Value = T> {
    Just(()).prop_perturb(move |(), rng| draw(&mut Draw { rng, presence: Presence::Random }))
}

/// A value in which everything that may be absent is there.
pub fn full<T>(draw: impl Fn(&mut Draw) -> T) -> T {
    let rng = TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    draw(&mut Draw { rng, presence: Presence::All })
}

enum Presence {
    Random,
    All,
}

pub struct Draw {
    rng: TestRng,
    presence: Presence,
}

const KINDS: [ProblemKind; 18] = [
    ProblemKind::Syntax,
    ProblemKind::UnknownKey,
    ProblemKind::MissingKey,
    ProblemKind::InvalidValue,
    ProblemKind::NotAvailable,
    ProblemKind::NotFound,
    ProblemKind::BrokenModel,
    ProblemKind::UnsupportedModel,
    ProblemKind::BrokenAdapter,
    ProblemKind::BadData,
    ProblemKind::BadTemplate,
    ProblemKind::OutputExists,
    ProblemKind::BrokenCheckpoint,
    ProblemKind::Diverged,
    ProblemKind::Device,
    ProblemKind::OutOfMemory,
    ProblemKind::Worker,
    ProblemKind::Storage,
];

const PHASES: [Phase; 10] = [
    Phase::Validating,
    Phase::Planning,
    Phase::Downloading,
    Phase::Loading,
    Phase::Tokenizing,
    Phase::Training,
    Phase::Evaluating,
    Phase::Sampling,
    Phase::Saving,
    Phase::Exporting,
];

const FORMATS: [DataFormat; 9] = [
    DataFormat::Messages,
    DataFormat::Auto,
    DataFormat::Sharegpt,
    DataFormat::Alpaca,
    DataFormat::PromptCompletion,
    DataFormat::QuestionAnswer,
    DataFormat::Text,
    DataFormat::Preference,
    DataFormat::Tokens,
];

const STRATEGIES: [ExcessLength; 4] =
    [ExcessLength::Error, ExcessLength::Drop, ExcessLength::Truncate, ExcessLength::Split];

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        (self.rng.next_u64() % limit as u64) as usize
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn one<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match self.presence {
            Presence::All => Some(draw(self)),
            Presence::Random => self.flag().then(|| draw(self)),
        }
    }

    fn list<T>(&mut self, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n_items = match self.presence {
            Presence::All => 2,
            Presence::Random => self.below(4),
        };
        (0..n_items).map(|_| draw(self)).collect()
    }

    /// Any of 2^64, and the ends often.
    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => u64::MAX,
            1 => 1,
            _ => self.rng.next_u64(),
        }
    }

    fn small(&mut self) -> u32 {
        self.rng.next_u64() as u32
    }

    /// Also no number and infinities. Not -0: prost leaves it out as if it were 0, where a field can't be absent.
    fn float(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => 0.0,
            3 => f64::MIN_POSITIVE / 2.0,
            _ => f64::from_bits(self.rng.next_u64() | 1),
        }
    }

    fn text(&mut self) -> String {
        const SAMPLES: [&str; 6] = ["", "train.jsonl", "Ünïcode 🦀", "two\nlines\0", " spaces ", "`tick`"];
        let sample = self.one(&SAMPLES);
        format!("{sample}{}", self.below(1_000))
    }

    fn path(&mut self) -> PathBuf {
        PathBuf::from("/data").join(self.text().trim_start_matches('/'))
    }

    /// Up to the end of the year 9999.
    fn time(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => 253_402_300_799_999,
            _ => self.rng.next_u64() % 253_402_300_800_000,
        }
    }

    pub fn problem(&mut self) -> Problem {
        Problem {
            kind: self.one(&KINDS),
            field: self.maybe(Self::text),
            message: self.text(),
            hint: self.maybe(Self::text),
        }
    }
}
