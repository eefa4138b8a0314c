//! Datasets, their rows, uploads, checks and splits.

use std::path::PathBuf;

use ftl_core::dataset::{
    CheckPart, CheckProgress, Dataset, DatasetFacts, FileOwner, ImportSource, PreviewRow, RenderedRow,
    RenderedText, RenderedToken, SplitBy, Upload,
};
use ftl_core::job::Phase;
use ftl_core::spec::resolved::DataFormat;

use super::error::{id, optional};
use super::numbered::numbered;
use super::time::{timestamp, unix_ms};
use super::{Numbered as _, WireError, text, v1};
use v1::import_dataset_request::Source;
use v1::split_dataset_request::By;
use v1::validate_dataset_response::Kind as Part;

numbered!(FileOwner, v1::dataset::Owner, "Dataset.Owner": User, Service);

impl From<Dataset> for v1::Dataset {
    fn from(dataset: Dataset) -> Self {
        let Dataset { id, name, path, owner, facts, report, created_unix_ms } = dataset;
        let DatasetFacts { format, n_rows, bytes, sha256 } = facts;
        Self {
            id: id.into(),
            name,
            path: text(path),
            format: format.number(),
            row_count: n_rows,
            bytes,
            sha256,
            create_time: Some(timestamp(created_unix_ms)),
            owner: owner.number(),
            report: report.map(v1::DatasetReportSummary::from),
        }
    }
}

impl TryFrom<v1::Dataset> for Dataset {
    type Error = WireError;

    fn try_from(dataset: v1::Dataset) -> Result<Self, WireError> {
        const NAME: &str = "Dataset";
        let v1::Dataset {
            id: text,
            name,
            path,
            format,
            row_count,
            bytes,
            sha256,
            create_time,
            owner,
            report,
        } = dataset;
        let format = DataFormat::required(NAME, "format", format)?;
        Ok(Self {
            id: id(NAME, "id", text)?,
            name,
            path: PathBuf::from(path),
            owner: FileOwner::required(NAME, "owner", owner)?,
            facts: DatasetFacts { format, n_rows: row_count, bytes, sha256 },
            report: optional(NAME, "report", report)?,
            created_unix_ms: unix_ms(NAME, "create_time", create_time)?,
        })
    }
}

impl From<PreviewRow> for v1::PreviewRow {
    fn from(row: PreviewRow) -> Self {
        let PreviewRow { number, json, problem } = row;
        Self { number, json, problem }
    }
}

impl From<v1::PreviewRow> for PreviewRow {
    fn from(row: v1::PreviewRow) -> Self {
        let v1::PreviewRow { number, json, problem } = row;
        Self { number, json, problem }
    }
}

impl From<ImportSource> for Source {
    fn from(source: ImportSource) -> Self {
        match source {
            ImportSource::Path(path) => Self::Path(text(path)),
            ImportSource::Upload { sha256, file_name } => {
                Self::Upload(v1::UploadedFile { sha256, file_name })
            }
        }
    }
}

impl From<Source> for ImportSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Path(path) => Self::Path(PathBuf::from(path)),
            Source::Upload(v1::UploadedFile { sha256, file_name }) => Self::Upload { sha256, file_name },
        }
    }
}

impl From<Upload> for v1::Upload {
    fn from(upload: Upload) -> Self {
        let Upload { sha256, received_bytes, is_complete } = upload;
        Self { sha256, received_bytes, complete: is_complete }
    }
}

impl From<v1::Upload> for Upload {
    fn from(upload: v1::Upload) -> Self {
        let v1::Upload { sha256, received_bytes, complete } = upload;
        Self { sha256, received_bytes, is_complete: complete }
    }
}

impl From<CheckPart> for v1::ValidateDatasetResponse {
    fn from(part: CheckPart) -> Self {
        let kind = match part {
            CheckPart::Progress(CheckProgress { phase, done, total, unit }) => {
                Part::Progress(v1::PhaseEvent { phase: phase.number(), done, total, unit })
            }
            CheckPart::Report(report) => Part::Report((*report).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::ValidateDatasetResponse> for CheckPart {
    type Error = WireError;

    fn try_from(response: v1::ValidateDatasetResponse) -> Result<Self, WireError> {
        const NAME: &str = "ValidateDatasetResponse";
        let v1::ValidateDatasetResponse { kind } = response;
        match kind {
            Some(Part::Progress(v1::PhaseEvent { phase, done, total, unit })) => {
                let phase = Phase::required(NAME, "progress.phase", phase)?;
                Ok(Self::Progress(CheckProgress { phase, done, total, unit }))
            }
            Some(Part::Report(report)) => {
                let report = report.try_into().map_err(|error: WireError| error.inside(NAME, "report"))?;
                Ok(Self::Report(Box::new(report)))
            }
            None => Err(WireError::new(NAME, "kind", "must be given, `progress` or `report`")),
        }
    }
}

impl From<SplitBy> for By {
    fn from(by: SplitBy) -> Self {
        match by {
            SplitBy::Fraction { eval, seed } => Self::Fraction(v1::SplitByFraction { eval, seed }),
            SplitBy::LastRows { eval } => Self::Place(v1::SplitByPlace { eval_rows: eval }),
        }
    }
}

impl From<By> for SplitBy {
    fn from(by: By) -> Self {
        match by {
            By::Fraction(v1::SplitByFraction { eval, seed }) => Self::Fraction { eval, seed },
            By::Place(v1::SplitByPlace { eval_rows }) => Self::LastRows { eval: eval_rows },
        }
    }
}

impl From<RenderedRow> for v1::RenderedRow {
    fn from(row: RenderedRow) -> Self {
        let RenderedRow { number, texts } = row;
        Self { number, texts: texts.into_iter().map(v1::RenderedText::from).collect() }
    }
}

impl From<v1::RenderedRow> for RenderedRow {
    fn from(row: v1::RenderedRow) -> Self {
        let v1::RenderedRow { number, texts } = row;
        Self { number, texts: texts.into_iter().map(RenderedText::from).collect() }
    }
}

impl From<RenderedText> for v1::RenderedText {
    fn from(rendered: RenderedText) -> Self {
        let RenderedText { role, text, tokens } = rendered;
        Self { role, text, tokens: tokens.into_iter().map(v1::RenderedToken::from).collect() }
    }
}

impl From<v1::RenderedText> for RenderedText {
    fn from(rendered: v1::RenderedText) -> Self {
        let v1::RenderedText { role, text, tokens } = rendered;
        Self { role, text, tokens: tokens.into_iter().map(RenderedToken::from).collect() }
    }
}

impl From<RenderedToken> for v1::RenderedToken {
    fn from(token: RenderedToken) -> Self {
        let RenderedToken { id, text, is_trained } = token;
        Self { id, text, trained: is_trained }
    }
}

impl From<v1::RenderedToken> for RenderedToken {
    fn from(token: v1::RenderedToken) -> Self {
        let v1::RenderedToken { id, text, trained } = token;
        Self { id, text, is_trained: trained }
    }
}
