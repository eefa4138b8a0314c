//! What goes through the model at once: segments laid end to end, without padding.
//!
//! ```text
//! ids        a b c d | e f | g h i       three samples, or one packed row and one sample: no difference
//! positions  0 1 2 3 | 0 1 | 0 1 2
//! targets    b c d - | f - | h i -       what each token predicts; "-" is ignored
//! segments   0..4      4..6  6..9        attention stays inside
//! ```

use std::borrow::Borrow;
use std::ops::Range;

use crate::data::sample::{IGNORED, Sample};

/// Segments laid end to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Token ids, `[tokens]`.
    pub ids: Vec<u32>,
    /// Rotary positions, `[tokens]`; they restart with each segment.
    pub positions: Vec<u32>,
    /// The id that each token should predict, `[tokens]`, or [`IGNORED`].
    pub targets: Vec<i32>,
    /// How much each target counts in the loss, `[tokens]`; `None`: all alike.
    pub weights: Option<Vec<f32>>,
    /// Consecutive, not empty, and together all tokens.
    pub segments: Vec<Range<usize>>,
}

/// Cuts `items` into consecutive lots of at most `most_tokens`; an item that is longer is a lot of its own.
pub fn lots<T>(
    items: &[T],
    n_tokens: impl Fn(&T) -> usize,
    most_tokens: usize,
) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let first = n_tokens(rest.first()?);
        let mut room = most_tokens.saturating_sub(first);
        let fits = |item: &&T| {
            let n = n_tokens(item);
            let fits = n <= room;
            room = room.saturating_sub(n);
            fits
        };
        let n_more = rest[1..].iter().take_while(fits).count();
        let (lot, others) = rest.split_at(1 + n_more);
        rest = others;
        Some(lot)
    })
}

impl Batch {
    /// Lays `samples` end to end.
    pub fn of(samples: impl IntoIterator<Item = impl Borrow<Sample>>) -> Self {
        let mut batch = Self::default();
        for sample in samples {
            let Sample { ids, labels, weights, rejected: _ } = sample.borrow();
            batch.push_weighted((ids, labels), weights.as_deref());
        }
        batch
    }

    /// Appends one segment. `labels` are not shifted and as long as `ids`; an empty segment adds nothing.
    pub fn push(&mut self, ids: &[u32], labels: &[i32]) {
        self.push_weighted((ids, labels), None);
    }

    /// As [`push`](Self::push); `weights` say how much each label counts, and stand beside the labels.
    pub fn push_weighted(&mut self, (ids, labels): (&[u32], &[i32]), weights: Option<&[f32]>) {
        assert_eq!(ids.len(), labels.len(), "a label for each token");
        if ids.is_empty() {
            return;
        }
        if weights.is_some() || self.weights.is_some() {
            let all = self.weights.get_or_insert_with(|| vec![1.0; self.ids.len()]);
            match weights {
                Some(weights) => all.extend_from_slice(&weights[1..]),
                None => all.resize(all.len() + ids.len() - 1, 1.0),
            }
            all.push(1.0);
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

    /// Those weights, times `scale`.
    pub fn scaled_weights(&self, scale: f64) -> Vec<f32> {
        self.supervised_weights().map(|weight| (f64::from(weight) * scale) as f32).collect()
    }

    /// How much each of them counts, in order.
    pub fn supervised_weights(&self) -> impl Iterator<Item = f32> {
        let counted = self.targets.iter().enumerate().filter(|(_, target)| **target != IGNORED);
        counted.map(|(place, _)| self.weights.as_ref().map_or(1.0, |weights| weights[place]))
    }
}

#[cfg(test)]
mod tests {
    use super::lots;

    #[test]
    fn lots_hold_as_many_tokens_as_said_and_every_item_once() {
        let of = |items: &[usize], most| lots(items, |n| *n, most).map(<[usize]>::to_vec).collect::<Vec<_>>();
        assert_eq!(of(&[3, 2, 5, 9, 1, 1, 1], 5), [vec![3, 2], vec![5], vec![9], vec![1, 1, 1]]);
        assert_eq!(of(&[1, 1], 0), [[1], [1]]);
        assert_eq!(of(&[], 5), [[0; 0]; 0]);
    }
}
