//! One example of a dataset as tokens.

/// The label of a token that the loss does not count; the value that PyTorch and transformers use.
pub const IGNORED: i32 = -100;

/// One example of a dataset as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The tokens.
    pub ids: Vec<u32>,
    /// `labels[i]` is `ids[i]` where the loss counts that token, else [`IGNORED`]. As long as `ids`, not shifted.
    pub labels: Vec<i32>,
}

impl Sample {
    /// Tokens that the loss counts. The first token of a sample is never predicted.
    pub fn supervised_tokens(&self) -> usize {
        self.labels.iter().skip(1).filter(|label| **label != IGNORED).count()
    }
}
