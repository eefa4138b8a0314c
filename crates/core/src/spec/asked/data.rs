//! `[data]`: what to train on, and what is held out.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::spec::resolved::{DataFormat, ExcessLength};

/// What to train on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["train"]))]
pub struct DataSpec {
    /// The training files: a path, or a list of paths and `{ path, weight, max_samples }`. Where a file has a `weight`,
    /// that is how often its samples are drawn relative to the other files, else every sample is drawn once an epoch.
    #[serde(with = "train_files", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "FilesForm")]
    pub train: Vec<TrainFileSpec>,
    /// How the rows are laid out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = DataFormat::Auto))]
    pub format: Option<DataFormat>,
    /// What is held out: `{ fraction }` of the training samples, or the file at `{ path }`. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval: Option<EvalSpec>,
    /// Longest sample in tokens. Default: the model's context, at most 2048.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// What happens to a sample that is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = ExcessLength::Error))]
    pub excess_length_strategy: Option<ExcessLength>,
    /// Whether the loss counts only what the assistant says (the completion of a prompt); false: all tokens but
    /// padding. Default: true, and false for `method.kind` = `cpt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assistant_only_loss: Option<bool>,
    /// Whether rows of at most `data.max_length` tokens are filled with whole samples, which do not attend to each
    /// other. Batches then count rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub packing: Option<bool>,
    /// Whether the order of samples is drawn anew for each epoch, by `train.seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub shuffle: Option<bool>,
    /// Read at most this many samples in all. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_samples: Option<u64>,
    /// What replaces the model's chat template: a Jinja file, or the name of one that comes with the program: chatml, llama3,
    /// llama2, mistral, gemma, phi3, zephyr, vicuna, alpaca. It goes with the result. Default: the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
}

/// One training file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainFileSpec {
    /// Where it is.
    pub path: PathBuf,
    /// How often its samples are drawn, relative to the other files, whatever their sizes (one without a weight has 1). An
    /// epoch then has as many samples as all files together, and a file goes through all of its own before one comes
    /// again. Default: no file has one, and every sample is drawn once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Read at most this many of its samples. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_samples: Option<u64>,
}

/// What is held out: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvalSpec {
    /// This share of the training samples, more than 0 and less than 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// A file of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl<P: Into<PathBuf>> From<P> for TrainFileSpec {
    fn from(path: P) -> Self {
        Self { path: path.into(), weight: None, max_samples: None }
    }
}

/// What may stand at `data.train`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum FilesForm {
    /// One file.
    One(FileForm),
    /// Several files, in order.
    Many(Vec<FileForm>),
}

/// A path, or a path with options.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum FileForm {
    /// A path.
    Path(PathBuf),
    /// A path with options.
    File(TrainFileSpec),
}

impl From<FileForm> for TrainFileSpec {
    fn from(form: FileForm) -> Self {
        match form {
            FileForm::Path(path) => path.into(),
            FileForm::File(file) => file,
        }
    }
}

impl From<&TrainFileSpec> for FileForm {
    fn from(file: &TrainFileSpec) -> Self {
        match file {
            TrainFileSpec { path, weight: None, max_samples: None } => Self::Path(path.clone()),
            TrainFileSpec { .. } => Self::File(file.clone()),
        }
    }
}

mod train_files {
    use super::{Deserialize, Deserializer, FileForm, FilesForm, Serialize, Serializer, TrainFileSpec};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<TrainFileSpec>, D::Error> {
        Ok(match FilesForm::deserialize(from)? {
            FilesForm::One(file) => vec![file.into()],
            FilesForm::Many(files) => files.into_iter().map(TrainFileSpec::from).collect(),
        })
    }

    pub(super) fn serialize<S: Serializer>(files: &[TrainFileSpec], to: S) -> Result<S::Ok, S::Error> {
        files.iter().map(FileForm::from).collect::<Vec<_>>().serialize(to)
    }
}
