//! Reports on datasets, and what a service keeps of them.

use std::path::PathBuf;

use ftl_core::dataset::{
    Bar, Code, CodeCount, Compression, Container, Cut, DataCheck, DatasetReport, Duplicates, Encoding,
    FileReport, Finding, HeldOut, Histogram, KeptReport, Layout, ReportSummary, RoleCount, RowCounts,
    Severity, Steps, TokenReport,
};
use ftl_core::spec::DataSpec;
use ftl_core::spec::resolved::{DataFormat, ExcessLength};

use super::error::optional;
use super::numbered::{number_or_unspecified, numbered};
use super::time::{timestamp, unix_ms};
use super::{Numbered as _, WireError, each, required, text, v1};

numbered!(Severity, v1::Severity, "Severity": Error, Warning, Note);
numbered!(
    Container, v1::data_layout::Container, "DataLayout.Container":
    JsonLines, JsonArray, JsonObject, Csv, Tsv, Parquet, Text,
);
numbered!(Compression, v1::data_layout::Compression, "DataLayout.Compression": Gzip, Zstd);
numbered!(
    Encoding, v1::data_layout::Encoding, "DataLayout.Encoding":
    Utf8, Utf8Bom, Utf16Le, Utf16Be,
);

impl From<DataCheck> for v1::DataCheck {
    fn from(check: DataCheck) -> Self {
        let DataCheck { data, model } = check;
        Self { data: Some(data.into()), model }
    }
}

impl TryFrom<v1::DataCheck> for DataCheck {
    type Error = WireError;

    fn try_from(check: v1::DataCheck) -> Result<Self, WireError> {
        let v1::DataCheck { data, model } = check;
        let data: Option<DataSpec> = optional("DataCheck", "data", data)?;
        Ok(Self { data: data.unwrap_or_default(), model })
    }
}

impl From<KeptReport> for v1::KeptDatasetReport {
    fn from(kept: KeptReport) -> Self {
        let KeptReport { summary, check, report } = kept;
        Self { summary: Some(summary.into()), check: Some(check.into()), report: Some(report.into()) }
    }
}

impl TryFrom<v1::KeptDatasetReport> for KeptReport {
    type Error = WireError;

    fn try_from(kept: v1::KeptDatasetReport) -> Result<Self, WireError> {
        const NAME: &str = "KeptDatasetReport";
        let v1::KeptDatasetReport { summary, check, report } = kept;
        Ok(Self {
            summary: required(NAME, "summary", summary)?,
            check: required(NAME, "check", check)?,
            report: required(NAME, "report", report)?,
        })
    }
}

impl From<ReportSummary> for v1::DatasetReportSummary {
    fn from(summary: ReportSummary) -> Self {
        let ReportSummary { number, created_unix_ms, model, is_fit, rows, n_errors, n_warnings } = summary;
        Self {
            number,
            create_time: Some(timestamp(created_unix_ms)),
            model,
            fit: is_fit,
            rows: Some(rows.into()),
            error_count: n_errors,
            warning_count: n_warnings,
        }
    }
}

impl TryFrom<v1::DatasetReportSummary> for ReportSummary {
    type Error = WireError;

    fn try_from(summary: v1::DatasetReportSummary) -> Result<Self, WireError> {
        const NAME: &str = "DatasetReportSummary";
        let v1::DatasetReportSummary { number, create_time, model, fit, rows, error_count, warning_count } =
            summary;
        Ok(Self {
            number,
            created_unix_ms: unix_ms(NAME, "create_time", create_time)?,
            model,
            is_fit: fit,
            rows: required(NAME, "rows", rows)?,
            n_errors: error_count,
            n_warnings: warning_count,
        })
    }
}

impl From<DatasetReport> for v1::DatasetReport {
    fn from(report: DatasetReport) -> Self {
        let DatasetReport {
            files,
            rows,
            counts,
            findings,
            duplicates,
            characters,
            turns,
            roles,
            tokens,
            held_out,
            steps,
        } = report;
        Self {
            files: files.into_iter().map(v1::DataFileReport::from).collect(),
            rows: Some(rows.into()),
            counts: counts.into_iter().map(v1::FindingCount::from).collect(),
            findings: findings.into_iter().map(v1::Finding::from).collect(),
            duplicates: Some(duplicates.into()),
            characters: Some(characters.into()),
            turns: Some(turns.into()),
            roles: roles.into_iter().map(v1::RoleCount::from).collect(),
            tokens: tokens.map(v1::TokenReport::from),
            held_out: held_out.map(v1::HeldOutCounts::from),
            steps: steps.map(v1::StepEstimate::from),
        }
    }
}

impl TryFrom<v1::DatasetReport> for DatasetReport {
    type Error = WireError;

    fn try_from(report: v1::DatasetReport) -> Result<Self, WireError> {
        const NAME: &str = "DatasetReport";
        let v1::DatasetReport {
            files,
            rows,
            counts,
            findings,
            duplicates,
            characters,
            turns,
            roles,
            tokens,
            held_out,
            steps,
        } = report;
        Ok(Self {
            files: each(NAME, "files", files)?,
            rows: required(NAME, "rows", rows)?,
            counts: each(NAME, "counts", counts)?,
            findings: each(NAME, "findings", findings)?,
            duplicates: required(NAME, "duplicates", duplicates)?,
            characters: required(NAME, "characters", characters)?,
            turns: required(NAME, "turns", turns)?,
            roles: roles.into_iter().map(RoleCount::from).collect(),
            tokens: optional(NAME, "tokens", tokens)?,
            held_out: held_out.map(HeldOut::from),
            steps: steps.map(Steps::from),
        })
    }
}

impl From<FileReport> for v1::DataFileReport {
    fn from(file: FileReport) -> Self {
        let FileReport { path, bytes, sha256, layout, format, confidence, notes, rows } = file;
        Self {
            path: text(path),
            bytes,
            sha256,
            layout: layout.map(v1::DataLayout::from),
            format: number_or_unspecified(format),
            confidence,
            notes,
            rows: Some(rows.into()),
        }
    }
}

impl TryFrom<v1::DataFileReport> for FileReport {
    type Error = WireError;

    fn try_from(file: v1::DataFileReport) -> Result<Self, WireError> {
        const NAME: &str = "DataFileReport";
        let v1::DataFileReport { path, bytes, sha256, layout, format, confidence, notes, rows } = file;
        Ok(Self {
            path: PathBuf::from(path),
            bytes,
            sha256,
            layout: optional(NAME, "layout", layout)?,
            format: DataFormat::optional(NAME, "format", format)?,
            confidence,
            notes,
            rows: required(NAME, "rows", rows)?,
        })
    }
}

impl From<Layout> for v1::DataLayout {
    fn from(layout: Layout) -> Self {
        let Layout { container, compression, encoding } = layout;
        Self {
            container: container.number(),
            compression: number_or_unspecified(compression),
            encoding: encoding.number(),
        }
    }
}

impl TryFrom<v1::DataLayout> for Layout {
    type Error = WireError;

    fn try_from(layout: v1::DataLayout) -> Result<Self, WireError> {
        const NAME: &str = "DataLayout";
        let v1::DataLayout { container, compression, encoding } = layout;
        Ok(Self {
            container: Container::required(NAME, "container", container)?,
            compression: Compression::optional(NAME, "compression", compression)?,
            encoding: Encoding::required(NAME, "encoding", encoding)?,
        })
    }
}

/// The code with this name.
fn code(message: &'static str, name: &str) -> Result<Code, WireError> {
    let found = Code::ALL.iter().find(|code| code.name() == name).copied();
    found.ok_or_else(|| WireError::new(message, "code", format!("`{name}` is no code that is known here")))
}

impl From<CodeCount> for v1::FindingCount {
    fn from(count: CodeCount) -> Self {
        let CodeCount { code, severity, rows } = count;
        Self { code: code.name().to_owned(), severity: severity.number(), rows }
    }
}

impl TryFrom<v1::FindingCount> for CodeCount {
    type Error = WireError;

    fn try_from(count: v1::FindingCount) -> Result<Self, WireError> {
        const NAME: &str = "FindingCount";
        let v1::FindingCount { code: name, severity, rows } = count;
        let severity = Severity::required(NAME, "severity", severity)?;
        Ok(Self { code: code(NAME, &name)?, severity, rows })
    }
}

impl From<Finding> for v1::Finding {
    fn from(finding: Finding) -> Self {
        let Finding { code, severity, path, row, line, message, hint } = finding;
        let (code, severity) = (code.name().to_owned(), severity.number());
        Self { code, severity, path, row, line, message, hint }
    }
}

impl TryFrom<v1::Finding> for Finding {
    type Error = WireError;

    fn try_from(finding: v1::Finding) -> Result<Self, WireError> {
        const NAME: &str = "Finding";
        let v1::Finding { code: name, severity, path, row, line, message, hint } = finding;
        let severity = Severity::required(NAME, "severity", severity)?;
        Ok(Self { code: code(NAME, &name)?, severity, path, row, line, message, hint })
    }
}

impl From<TokenReport> for v1::TokenReport {
    fn from(report: TokenReport) -> Self {
        let TokenReport {
            max_length,
            template,
            per_row,
            samples,
            total,
            supervised,
            rows_without_supervised,
            rows_with_end,
            rows_with_special_tokens_in_text,
            cut,
        } = report;
        Self {
            max_length,
            template,
            per_row: Some(per_row.into()),
            samples,
            total,
            supervised,
            rows_without_supervised,
            rows_with_end,
            rows_with_special_tokens_in_text,
            cut: Some(cut.into()),
        }
    }
}

impl TryFrom<v1::TokenReport> for TokenReport {
    type Error = WireError;

    fn try_from(report: v1::TokenReport) -> Result<Self, WireError> {
        const NAME: &str = "TokenReport";
        let v1::TokenReport {
            max_length,
            template,
            per_row,
            samples,
            total,
            supervised,
            rows_without_supervised,
            rows_with_end,
            rows_with_special_tokens_in_text,
            cut,
        } = report;
        Ok(Self {
            max_length,
            template,
            per_row: required(NAME, "per_row", per_row)?,
            samples,
            total,
            supervised,
            rows_without_supervised,
            rows_with_end,
            rows_with_special_tokens_in_text,
            cut: required(NAME, "cut", cut)?,
        })
    }
}

impl From<Cut> for v1::CutCounts {
    fn from(cut: Cut) -> Self {
        let Cut { strategy, rows, tokens, supervised_tokens, ends } = cut;
        Self { strategy: strategy.number(), rows, tokens, supervised_tokens, ends }
    }
}

impl TryFrom<v1::CutCounts> for Cut {
    type Error = WireError;

    fn try_from(cut: v1::CutCounts) -> Result<Self, WireError> {
        let v1::CutCounts { strategy, rows, tokens, supervised_tokens, ends } = cut;
        let strategy = ExcessLength::required("CutCounts", "strategy", strategy)?;
        Ok(Self { strategy, rows, tokens, supervised_tokens, ends })
    }
}

/// Messages of which every value has a meaning: both ways field by field.
macro_rules! plain {
    ($($core:ident => $wire:ident { $($field:ident),+ }),+ $(,)?) => {$(
        impl From<$core> for v1::$wire {
            fn from(value: $core) -> Self {
                let $core { $($field,)+ } = value;
                Self { $($field,)+ }
            }
        }

        impl From<v1::$wire> for $core {
            fn from(value: v1::$wire) -> Self {
                let v1::$wire { $($field,)+ } = value;
                Self { $($field,)+ }
            }
        }
    )+};
}

plain!(
    RowCounts => RowCounts { read, accepted, rejected, dropped },
    Duplicates => DuplicateCounts { exact, near },
    RoleCount => RoleCount { role, messages },
    Bar => HistogramBar { from, below, rows },
    HeldOut => HeldOutCounts { train, eval, overlap },
    Steps => StepEstimate { per_epoch, total, epochs },
);

impl From<Histogram> for v1::Histogram {
    fn from(histogram: Histogram) -> Self {
        let Histogram { n, total, min, p50, p90, p99, max, bars } = histogram;
        let bars = bars.into_iter().map(v1::HistogramBar::from).collect();
        Self { count: n, total, min, p50, p90, p99, max, bars }
    }
}

impl From<v1::Histogram> for Histogram {
    fn from(histogram: v1::Histogram) -> Self {
        let v1::Histogram { count, total, min, p50, p90, p99, max, bars } = histogram;
        let bars = bars.into_iter().map(Bar::from).collect();
        Self { n: count, total, min, p50, p90, p99, max, bars }
    }
}
