//! `[data]`: what to train on, and what is held out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ftl_core::spec::resolved::{DataFormat, ExcessLength};
use ftl_core::spec::{Columns, DataSpec, EvalSpec, TrainFileSpec, UnknownField};

use crate::wire::numbered::{number_or_unspecified, numbered};
use crate::wire::{Numbered as _, WireError, each, text, v1};

numbered!(
    DataFormat, v1::DataFormat, "DataFormat":
    Auto, Messages, Sharegpt, Alpaca, PromptCompletion, QuestionAnswer, Text, Preference, Tokens,
);

numbered!(
    ExcessLength, v1::data_spec::ExcessLengthStrategy, "DataSpec.ExcessLengthStrategy":
    Error, Drop, Truncate, Split,
);

impl From<DataSpec> for v1::DataSpec {
    fn from(spec: DataSpec) -> Self {
        let DataSpec {
            train,
            format,
            columns,
            eval,
            max_length,
            excess_length_strategy,
            assistant_only_loss,
            packing,
            shuffle,
            max_samples,
            chat_template,
        } = spec;
        Self {
            train: train.into_iter().map(v1::TrainFileSpec::from).collect(),
            format: number_or_unspecified(format),
            columns: columns_to_wire(columns),
            eval: eval.map(v1::EvalSpec::from),
            max_length,
            excess_length_strategy: number_or_unspecified(excess_length_strategy),
            assistant_only_loss,
            packing,
            shuffle,
            max_samples,
            chat_template: chat_template.map(text),
        }
    }
}

impl TryFrom<v1::DataSpec> for DataSpec {
    type Error = WireError;

    fn try_from(spec: v1::DataSpec) -> Result<Self, WireError> {
        const NAME: &str = "DataSpec";
        let v1::DataSpec {
            train,
            format,
            columns,
            eval,
            max_length,
            excess_length_strategy,
            assistant_only_loss,
            packing,
            shuffle,
            max_samples,
            chat_template,
        } = spec;
        Ok(Self {
            train: each(NAME, "train", train)?,
            columns: columns_from_wire(NAME, columns)?,
            format: DataFormat::optional(NAME, "format", format)?,
            eval: eval.map(EvalSpec::from),
            max_length,
            excess_length_strategy: ExcessLength::optional(
                NAME,
                "excess_length_strategy",
                excess_length_strategy,
            )?,
            assistant_only_loss,
            packing,
            shuffle,
            max_samples,
            chat_template: chat_template.map(PathBuf::from),
        })
    }
}

impl From<TrainFileSpec> for v1::TrainFileSpec {
    fn from(file: TrainFileSpec) -> Self {
        let TrainFileSpec { path, weight, max_samples, columns, dataset } = file;
        Self { path: text(path), weight, max_samples, columns: columns_to_wire(columns), dataset }
    }
}

impl TryFrom<v1::TrainFileSpec> for TrainFileSpec {
    type Error = WireError;

    fn try_from(file: v1::TrainFileSpec) -> Result<Self, WireError> {
        let v1::TrainFileSpec { path, weight, max_samples, columns, dataset } = file;
        let columns = columns_from_wire("TrainFileSpec", columns)?;
        Ok(Self { path: PathBuf::from(path), weight, max_samples, columns, dataset })
    }
}

fn columns_to_wire(columns: Columns) -> BTreeMap<String, String> {
    columns.into_iter().map(|(field, column)| (field.name().to_owned(), column)).collect()
}

fn columns_from_wire(message: &'static str, columns: BTreeMap<String, String>) -> Result<Columns, WireError> {
    let field = |(name, column): (String, String)| {
        let field = name.parse().map_err(|unknown: UnknownField| {
            WireError::new(message, format!("columns.{name}"), unknown.to_string())
        });
        field.map(|field| (field, column))
    };
    columns.into_iter().map(field).collect()
}

impl From<EvalSpec> for v1::EvalSpec {
    fn from(eval: EvalSpec) -> Self {
        let EvalSpec { fraction, path } = eval;
        Self { fraction, path: path.map(text) }
    }
}

impl From<v1::EvalSpec> for EvalSpec {
    fn from(eval: v1::EvalSpec) -> Self {
        let v1::EvalSpec { fraction, path } = eval;
        Self { fraction, path: path.map(PathBuf::from) }
    }
}
