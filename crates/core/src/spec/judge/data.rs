//! `[data]`.

use std::ops::Bound;
use std::path::PathBuf;

use super::findings::{Findings, POSITIVE, Range};
use crate::spec::resolved::{Data, DataFormat, Eval, ExcessLength, LossOn, Rows, SampleOrder, TrainFile};
use crate::spec::{Columns, DataSpec, EvalSpec, Field, MethodKind, MethodSpec, TrainFileSpec, TrainSpec};

/// Longest sample that can be asked for: 16 Mi tokens, beyond any model, so that products of sizes fit 64 bits.
const MAX_LENGTH: u64 = 1 << 24;
/// Largest number of samples: 2^40, for the same reason.
const MAX_SAMPLES: u64 = 1 << 40;
/// A held-out share.
const FRACTION: Range = (Bound::Excluded(0.0), Bound::Excluded(1.0));

/// What the other sections say that matters here.
pub(super) struct Context {
    method: Option<MethodKind>,
    group_by_length: Option<bool>,
}

impl Context {
    pub(super) fn of(method: &MethodSpec, train: &TrainSpec) -> Self {
        Self { method: method.kind, group_by_length: train.group_by_length }
    }
}

/// The data, whose files nobody has opened yet.
pub(super) fn checked(data: &DataSpec, context: Context, findings: &mut Findings) -> Data {
    let Context { method, group_by_length } = context;
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
    } = data;
    if train.is_empty() {
        findings.missing("data.train", "name at least one file, as in `train = [\"data/train.jsonl\"]`");
    }
    let format = format.unwrap_or(DataFormat::Auto);
    let train: Vec<_> =
        train.iter().enumerate().map(|(index, file)| checked_file(index, file, format, findings)).collect();
    let eval = eval.as_ref().map_or(Eval::Never, |eval| checked_eval(eval, &train, findings));
    match method {
        Some(kind @ (MethodKind::Dpo | MethodKind::Orpo)) => pair_keys(data, kind, findings),
        Some(MethodKind::Sft | MethodKind::Cpt) if format == DataFormat::Preference => findings.refuse(
            "data.format",
            "pairs of a chosen and a rejected answer are learned by `dpo` and `orpo` only",
            "set `method.kind` to one of them, or give data of single answers",
        ),
        Some(MethodKind::Sft | MethodKind::Cpt) | None => {}
    }
    Data {
        train,
        format,
        columns: checked_columns("data.columns", columns, format, findings),
        eval,
        // One token predicts nothing.
        max_length: max_length.map(|tokens| {
            findings.count(
                "data.max_length",
                tokens,
                2..=MAX_LENGTH,
                "drop the key to take the model's context",
            )
        }),
        excess_length_strategy: excess_length_strategy.unwrap_or(ExcessLength::Error),
        loss_on: loss_on(*assistant_only_loss, method, findings),
        rows: rows(*packing, method, findings),
        order: order(*shuffle, group_by_length, *packing, findings),
        max_samples: max_samples.map(|samples| samples_within("data.max_samples", samples, findings)),
        chat_template: chat_template.as_deref().map(|path| checked_template(path.into(), format, findings)),
    }
}

/// What pairs of answers can't be.
fn pair_keys(data: &DataSpec, method: MethodKind, findings: &mut Findings) {
    let name = method.name();
    match data.format.unwrap_or(DataFormat::Auto) {
        DataFormat::Auto | DataFormat::Preference | DataFormat::Tokens => {}
        other @ (DataFormat::Messages
        | DataFormat::Sharegpt
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer
        | DataFormat::Text) => findings.refuse(
            "data.format",
            format!("`{name}` learns from pairs, which the format `{}` does not have", other.name()),
            "set it to `preference`, or drop the key",
        ),
    }
    if data.excess_length_strategy == Some(ExcessLength::Split) {
        findings.refuse(
            "data.excess_length_strategy",
            "a pair can't be split: its two answers are compared as wholes",
            "choose drop or truncate",
        );
    }
    if data.assistant_only_loss == Some(false) {
        findings.refuse(
            "data.assistant_only_loss",
            format!("`{name}` compares answers, not prompts"),
            "drop the key",
        );
    }
}

fn checked_file(
    index: usize,
    file: &TrainFileSpec,
    format: DataFormat,
    findings: &mut Findings,
) -> TrainFile {
    let TrainFileSpec { path, weight, max_samples, columns, dataset } = file;
    let key = format!("data.train[{index}]");
    TrainFile {
        path: findings.path(&format!("{key}.path"), path),
        weight: weight.map(|weight| {
            findings.number(&format!("{key}.weight"), weight, POSITIVE, "drop the file to leave it out")
        }),
        max_samples: max_samples
            .map(|samples| samples_within(&format!("{key}.max_samples"), samples, findings)),
        columns: checked_columns(&format!("{key}.columns"), columns, format, findings),
        dataset: dataset.clone(),
    }
}

/// Columns have names, hold one thing each, and something that the format has a place for.
fn checked_columns(key: &str, columns: &Columns, format: DataFormat, findings: &mut Findings) -> Columns {
    let mut seen: Vec<(Field, &str)> = Vec::new();
    for (field, column) in columns.iter() {
        let field_key = format!("{key}.{field}");
        if column.trim().is_empty() {
            findings.refuse(&field_key, "the name of the column is empty", "give its name, or drop the key");
        } else if let Some((other, _)) = seen.iter().find(|(_, seen)| *seen == column) {
            let message = format!("the column `{column}` is `{other}` already");
            findings.refuse(&field_key, message, "drop one of the two");
        } else if !field.is_of(format) {
            findings.no_effect(&field_key, format_args!("`data.format` = `{}`", format.name()));
        }
        seen.push((field, column));
    }
    columns.clone()
}

fn samples_within(key: &str, samples: u64, findings: &mut Findings) -> u64 {
    findings.count(key, samples, 1..=MAX_SAMPLES, "drop the key to read all")
}

fn checked_eval(eval: &EvalSpec, train: &[TrainFile], findings: &mut Findings) -> Eval {
    let hint = "give `{ fraction = 0.05 }` or `{ path = \"data/eval.jsonl\" }`, or drop `eval`";
    match (eval.fraction, &eval.path) {
        (Some(fraction), None) => Eval::Fraction(findings.number(
            "data.eval.fraction",
            fraction,
            FRACTION,
            "0.05 holds out a twentieth",
        )),
        (None, Some(path)) => {
            let path = findings.path("data.eval.path", path);
            if train.iter().any(|file| file.path == path) {
                let message =
                    format!("`{}` is trained on too, so that its loss would say nothing", path.display());
                findings.refuse("data.eval.path", message, "name another file, or hold out a `fraction`");
            }
            Eval::File(path)
        }
        (Some(_), Some(_)) => {
            findings.refuse("data.eval", "both `fraction` and `path` are given, expected one of them", hint);
            Eval::Never
        }
        (None, None) => {
            findings.refuse(
                "data.eval",
                "neither `fraction` nor `path` is given, expected one of them",
                hint,
            );
            Eval::Never
        }
    }
}

fn rows(packing: Option<bool>, method: Option<MethodKind>, findings: &mut Findings) -> Rows {
    if packing != Some(true) {
        return Rows::Samples;
    }
    match method {
        Some(kind @ (MethodKind::Dpo | MethodKind::Orpo)) => findings.refuse(
            "data.packing",
            format!(
                "`{}` compares pairs of answers, which rows of packed samples do not keep together",
                kind.name()
            ),
            "drop it",
        ),
        None | Some(MethodKind::Sft | MethodKind::Cpt) => {}
    }
    Rows::Packed
}

fn order(
    shuffle: Option<bool>,
    group_by_length: Option<bool>,
    packing: Option<bool>,
    findings: &mut Findings,
) -> SampleOrder {
    if group_by_length == Some(true) {
        if packing == Some(true) {
            findings.no_effect("train.group_by_length", "`data.packing`, whose rows are all about as long");
        }
        if shuffle == Some(false) {
            findings.refuse(
                "train.group_by_length",
                "samples can't be grouped by length and stay in the order of the files (`data.shuffle` = false)",
                "drop one of the two",
            );
        }
        return SampleOrder::GroupedByLength;
    }
    if shuffle.unwrap_or(true) { SampleOrder::Shuffled } else { SampleOrder::File }
}

fn loss_on(assistant_only: Option<bool>, method: Option<MethodKind>, findings: &mut Findings) -> LossOn {
    let default = method != Some(MethodKind::Cpt);
    if !default && assistant_only == Some(true) {
        findings.refuse(
            "data.assistant_only_loss",
            "continued pre-training counts every token, there is no assistant in its text",
            "drop the key, or set `method.kind` to `sft`",
        );
    }
    if assistant_only.unwrap_or(default) { LossOn::AssistantTokens } else { LossOn::AllTokens }
}

fn checked_template(path: PathBuf, format: DataFormat, findings: &mut Findings) -> PathBuf {
    match format {
        DataFormat::Text => findings.no_effect("data.chat_template", "`data.format` = `text`"),
        DataFormat::Tokens => findings.no_effect("data.chat_template", "`data.format` = `tokens`"),
        DataFormat::Auto
        | DataFormat::Messages
        | DataFormat::Sharegpt
        | DataFormat::Alpaca
        | DataFormat::PromptCompletion
        | DataFormat::QuestionAnswer
        | DataFormat::Preference => {}
    }
    findings.path("data.chat_template", &path)
}
