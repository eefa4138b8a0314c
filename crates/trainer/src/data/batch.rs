//! What goes through the model at once: segments laid end to end, without padding.
//!
//! ```text
//! ids        a b c d | e f | g h i       three samples, or one packed row and one sample: no difference
//! positions  0 1 2 3 | 0 1 | 0 1 2
//! targets    b c d - | f - | h i -       what each token predicts; "-" is ignored
//! segments   0..4      4..6  6..9        attention stays inside
//! ```

use std::ops::Range;

use crate::data::sample::{IGNORED, Sample};

/// Segments laid end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// Rotary positions, `[tokens]`; they restart with each segment.
    pub positions: Vec<u32>,
    /// The id that each token should predict, `[tokens]`, or [`IGNORED`].
    pub targets: Vec<i32>,
    /// Consecutive, not empty, and together all tokens.
    pub segments: Vec<Range<usize>>,
}

impl Batch {
    /// Lays `samples` end to end.
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut batch = Self::default();
        for sample in samples {
            batch.push(&sample.ids, &sample.labels);
        }
        batch
    }

    /// Appends one segment. `labels` are not shifted and as long as `ids`; an empty segment adds nothing.
    pub fn push(&mut self, ids: &[u32], labels: &[i32]) {
        assert_eq!(ids.len(), labels.len(), "a label for each token");
        if ids.is_empty() {
            return;
        }
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.positions.extend(0..ids.len() as u32);
        self.targets.extend_from_slice(&labels[1..]);
        self.targets.push(IGNORED);
        self.segments.push(start..self.ids.len());
    }

    /// Tokens in the batch.
    pub fn n_tokens(&self) -> usize {
        self.ids.len()
    }

    /// Tokens whose prediction the loss counts.
    pub fn n_supervised(&self) -> usize {
        self.targets.iter().filter(|target| **target != IGNORED).count()
    }
}
