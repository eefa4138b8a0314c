//! One sample as bytes: its text, of a pair the chosen side and then the rejected one. Of each:
//!
//! ```text
//! ids        u32 for each token
//! labels     how many runs u32 · tokens of each run u32: runs of tokens that are not learned and of such that are take
//!            turns, the first one is not learned and may have no token        or, where labels differ from ids:
//!            i32 for each token
//! weights    f32 for each token, where there are some
//! ```

use super::layout::{Entry, Shape, take};
use crate::data::sample::{IGNORED, Sample};

/// How a side lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment(pub u32);

impl Segment {
    /// Labels are numbers, not runs.
    const LABELS: u32 = 1;
    /// There are weights.
    const WEIGHTS: u32 = 2;
    /// All bits.
    pub const ALL: u32 = Self::LABELS | Self::WEIGHTS;

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// Appends `sample` to `bytes` and says how it lies.
pub fn write(sample: &Sample, bytes: &mut Vec<u8>) -> Shape {
    let text = write_segment(sample, bytes);
    Shape::of(text, sample.rejected.as_deref().map(|rejected| write_segment(rejected, bytes)))
}

/// What [`write`] wrote; `None`: it is not that.
pub fn read(mut bytes: &[u8], entry: &Entry) -> Option<Sample> {
    let bytes = &mut bytes;
    let Entry { n_tokens, n_rejected, shape, .. } = entry;
    let text = read_segment(bytes, *n_tokens, shape.text())?;
    if !shape.is_pair() {
        return bytes.is_empty().then_some(text);
    }
    let rejected = read_segment(bytes, *n_rejected, shape.rejected())?;
    bytes.is_empty().then(|| Sample::pair(text, rejected))
}

fn write_segment(Sample { ids, labels, weights, rejected: _ }: &Sample, bytes: &mut Vec<u8>) -> Segment {
    assert_eq!(ids.len(), labels.len(), "a label for each token");
    let mut segment = 0;
    bytes.reserve(ids.len() * 4 + 64);
    ids.iter().for_each(|id| bytes.extend(id.to_le_bytes()));
    match runs(ids, labels) {
        Some(runs) => {
            bytes.extend((runs.len() as u32).to_le_bytes());
            runs.iter().for_each(|run| bytes.extend(run.to_le_bytes()));
        }
        None => {
            segment |= Segment::LABELS;
            labels.iter().for_each(|label| bytes.extend(label.to_le_bytes()));
        }
    }
    if let Some(weights) = weights {
        assert_eq!(ids.len(), weights.len(), "a weight for each token");
        segment |= Segment::WEIGHTS;
        weights.iter().for_each(|weight| bytes.extend(weight.to_le_bytes()));
    }
    Segment(segment)
}

/// `None` where labels are not just ids and what is not learned, or runs would take more room than labels.
fn runs(ids: &[u32], labels: &[i32]) -> Option<Vec<u32>> {
    let (mut runs, mut is_learned, mut n) = (Vec::new(), false, 0_u32);
    for (id, label) in ids.iter().zip(labels) {
        if (*label != IGNORED) != is_learned {
            runs.push(n);
            (is_learned, n) = (!is_learned, 0);
        }
        if is_learned && *label != *id as i32 {
            return None;
        }
        n += 1;
    }
    runs.push(n);
    (runs.len() < ids.len().max(2)).then_some(runs)
}

fn read_segment(bytes: &mut &[u8], n_tokens: u32, segment: Segment) -> Option<Sample> {
    let n_tokens = n_tokens as usize;
    let ids: Vec<u32> = numbers(bytes, n_tokens)?.map(u32::from_le_bytes).collect();
    let labels = if segment.has(Segment::LABELS) {
        numbers(bytes, n_tokens)?.map(i32::from_le_bytes).collect()
    } else {
        let n_runs = u32::from_le_bytes(take(bytes)?) as usize;
        let mut labels = Vec::with_capacity(n_tokens);
        for (index, run) in numbers(bytes, n_runs)?.map(u32::from_le_bytes).enumerate() {
            let end = labels.len() + run as usize;
            let of_run = ids.get(labels.len()..end)?;
            if index % 2 == 0 {
                labels.resize(end, IGNORED);
            } else {
                labels.extend(of_run.iter().map(|id| *id as i32));
            }
        }
        labels
    };
    let weights = match segment.has(Segment::WEIGHTS) {
        true => Some(numbers(bytes, n_tokens)?.map(f32::from_le_bytes).collect()),
        false => None,
    };
    (labels.len() == n_tokens).then_some(Sample { ids, labels, weights, rejected: None })
}

/// The next `n` numbers of four bytes.
fn numbers<'a>(bytes: &mut &'a [u8], n: usize) -> Option<impl Iterator<Item = [u8; 4]> + 'a> {
    let (numbers, rest) = bytes.split_at_checked(n.checked_mul(4)?)?;
    *bytes = rest;
    Some(numbers.as_chunks().0.iter().copied())
}
