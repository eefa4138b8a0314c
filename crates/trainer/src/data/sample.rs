//! One example of a dataset as tokens.

use std::ops::Range;

/// The label of a token that the loss does not count; the value that PyTorch and transformers use.
pub const IGNORED: i32 = -100;

/// One example of a dataset as tokens: a text, or a pair of answers to one prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The tokens; of a pair those of the prompt and the chosen answer.
    pub ids: Vec<u32>,
    /// `labels[i]` is `ids[i]` where the loss counts that token, else [`IGNORED`]. As long as `ids`, not shifted.
    pub labels: Vec<i32>,
    /// How much each label counts in the loss, as long as `labels`; `None`: all alike, which takes no memory.
    pub weights: Option<Box<[f32]>>,
    /// Of a pair the prompt and the rejected answer.
    pub rejected: Option<Box<Sample>>,
}

impl Sample {
    /// A text of which the loss counts the labels that are not [`IGNORED`], all alike.
    pub fn new(ids: Vec<u32>, labels: Vec<i32>) -> Self {
        Self { ids, labels, weights: None, rejected: None }
    }

    /// A pair.
    pub fn pair(chosen: Self, rejected: Self) -> Self {
        Self { rejected: Some(Box::new(rejected)), ..chosen }
    }

    /// What goes through the model as one segment each: the text, or both answers with their prompt.
    pub fn segments(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(self.rejected.as_deref())
    }

    /// Tokens that go through the model, those of both answers of a pair.
    pub fn n_tokens(&self) -> usize {
        self.segments().map(|segment| segment.ids.len()).sum()
    }

    /// Tokens of the longer answer of a pair with its prompt, or of the text.
    pub fn longest_segment(&self) -> usize {
        self.segments().map(|segment| segment.ids.len()).max().unwrap_or(0)
    }

    /// Tokens that the loss counts, in a pair those of the chosen answer. The first token is never predicted.
    pub fn supervised_tokens(&self) -> usize {
        self.labels.iter().skip(1).filter(|label| **label != IGNORED).count()
    }

    /// Some of the tokens of a text.
    #[must_use]
    pub fn part(&self, tokens: Range<usize>) -> Self {
        Self {
            ids: self.ids[tokens.clone()].to_vec(),
            labels: self.labels[tokens.clone()].to_vec(),
            weights: self.weights.as_ref().map(|weights| weights[tokens].into()),
            rejected: None,
        }
    }
}
