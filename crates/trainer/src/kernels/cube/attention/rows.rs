//! What every variant shares: which rows a tile reads, and which of the others each of its own rows sees.
//!
//! A tile has rows of its own, which it computes results for, and goes through tiles of other rows. Forward and for dq
//! its own are queries and the others keys; for dk and dv it is the other way round. Either way an own row sees a range
//! of others, and both ends of that range never go back from one row to the next. So the tile goes from what its first
//! row sees first to what its last row sees last.

use cubecl::prelude::*;

use super::super::variants::AtRunTime;
use super::tiles::Slot;

/// The natural logarithm of 2.
pub const LN_2: f32 = std::f32::consts::LN_2;

/// The logarithm of e to base 2.
pub const LOG2_E: f32 = std::f32::consts::LOG2_E;

/// Where the rows of one head lie in a matrix of vectors.
#[derive(CubeType, Clone, Copy)]
#[expand(derive(Clone, Copy))]
pub struct Rows {
    /// The first row.
    pub start: usize,
    /// There are no rows from here on.
    pub end: usize,
    /// Vectors from one row to the next.
    pub stride: usize,
    /// Vectors before the head.
    pub column: usize,
    /// Where they are read to.
    #[cube(comptime)]
    pub slot: Slot,
}

/// A range of rows.
#[derive(CubeType, Clone, Copy)]
pub struct Seen {
    /// The first.
    pub from: usize,
    /// The one after the last.
    pub to: usize,
}

/// The keys that a query sees. `spans` has each token's segment start, then each token's segment end.
#[cube]
pub fn keys_of(query: usize, spans: &[i32], n_tokens: usize, window: usize) -> Seen {
    let mut from = 0usize;
    let mut to = 0usize;
    if query < n_tokens {
        to = query + 1;
        from = usize::cast_from(spans[query]);
        if to > from + window {
            from = to - window;
        }
    }
    Seen { from, to }
}

/// The queries that see a key.
#[cube]
pub fn queries_of(key: usize, spans: &[i32], n_tokens: usize, window: usize) -> Seen {
    let mut from = 0usize;
    let mut to = 0usize;
    if key < n_tokens {
        from = key;
        to = usize::cast_from(spans[n_tokens + key]);
        if to > from + window {
            to = from + window;
        }
    }
    Seen { from, to }
}

/// Whether scores are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// They are not.
    None,
    /// By c tanh(s / c).
    Tanh,
}

/// What makes scores of products. Scores are in units of ln 2, so that probabilities are powers of two.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Scoring {
    /// What a product is multiplied by; the result is the score, or what goes through tanh.
    pub factor: f32,
    /// What limited scores stay below.
    pub cap: f32,
    /// What the gradient of a score is multiplied by.
    pub scale: f32,
}

impl AtRunTime for ScoringCompilationArg {
    fn argument() -> Self {
        Self { factor: (), cap: (), scale: () }
    }
}

/// A score, and the slope that its gradient is multiplied by: 1 where scores are not limited.
#[derive(CubeType, Clone, Copy)]
pub struct Score {
    /// The score.
    pub value: f32,
    /// Its slope.
    pub slope: f32,
}

/// The score of a product of a query and a key.
#[cube]
pub fn score(product: f32, scoring: &Scoring, #[comptime] limit: Limit) -> Score {
    let mut value = product * scoring.factor;
    let mut slope = 1.0f32;
    if comptime!(limit == Limit::Tanh) {
        let t = f32::tanh(value);
        value = scoring.cap * t;
        slope = 1.0f32 - t * t;
    }
    Score { value, slope }
}

/// Counts `n` tiles from the last one.
#[cube]
pub fn from_the_last(index: usize, n: usize) -> usize {
    n - index - 1
}
