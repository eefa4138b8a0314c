//! What to train on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The training files, in order.
    pub train: Vec<TrainFile>,
    /// Their format.
    pub format: DataFormat,
    /// What is held out.
    pub eval: Eval,
    /// Longest sample in tokens; `None`: the model's context, at most 2048.
    pub max_length: Option<u64>,
    /// What happens to a sample that is longer.
    pub excess_length_strategy: ExcessLength,
    /// Which tokens the loss counts.
    pub loss_on: LossOn,
    /// What a row of a batch holds.
    pub rows: Rows,
    /// The order of the samples in an epoch.
    pub order: SampleOrder,
    /// Read at most this many samples in all.
    pub max_samples: Option<u64>,
    /// A Jinja file that replaces the model's chat template, or the name of a built-in one.
    pub chat_template: Option<PathBuf>,
}

/// One training file.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainFile {
    /// Where it is.
    pub path: PathBuf,
    /// How often its samples are drawn, relative to the other files; `None`: 1, and if no file has one, every sample is
    /// drawn once.
    pub weight: Option<f64>,
    /// Read at most this many of its samples.
    pub max_samples: Option<u64>,
}

/// How the rows of a dataset are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Found out from the file.
    Auto,
    /// OpenAI chat: `{"messages": [{"role", "content"}, …]}`.
    Messages,
    /// `{"conversations": [{"from", "value"}, …]}`.
    Sharegpt,
    /// `{"instruction", "input", "output"}`.
    Alpaca,
    /// `{"prompt", "completion"}`.
    PromptCompletion,
    /// `{"question", "answer"}`.
    QuestionAnswer,
    /// `{"text"}`, or a plain text file.
    Text,
    /// `{"prompt"?, "chosen", "rejected"}`.
    Preference,
    /// `{"input_ids", "labels"?, "attention_mask"?}`.
    Tokens,
}

impl DataFormat {
    /// The name that the spec uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Messages => "messages",
            Self::Sharegpt => "sharegpt",
            Self::Alpaca => "alpaca",
            Self::PromptCompletion => "prompt_completion",
            Self::QuestionAnswer => "question_answer",
            Self::Text => "text",
            Self::Preference => "preference",
            Self::Tokens => "tokens",
        }
    }
}

/// What is held out from training.
#[derive(Clone, Debug, PartialEq)]
pub enum Eval {
    /// Nothing.
    Never,
    /// This share of the training samples, 0 < fraction < 1.
    Fraction(f64),
    /// A file of its own.
    File(PathBuf),
}

/// What happens to a sample longer than `max_length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExcessLength {
    /// The job is refused and the sample named.
    Error,
    /// The sample is left out and counted.
    Drop,
    /// Its end is cut off.
    Truncate,
    /// It becomes several samples.
    Split,
}

/// Which tokens the loss counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossOn {
    /// What the assistant says, with the token that ends its turn; the completion of a prompt.
    AssistantTokens,
    /// All but padding.
    AllTokens,
}

/// In which order samples are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleOrder {
    /// As they stand in the files.
    File,
    /// Drawn anew for each epoch by `train.seed`.
    Shuffled,
    /// Drawn anew for each epoch by `train.seed`, then sorted in parts, so that samples of similar length come
    /// together (transformers' LengthGroupedSampler).
    GroupedByLength,
}

/// What a row of a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// A sample.
    Samples,
    /// As many whole samples as fit `max_length`; none attends to another.
    Packed,
}
