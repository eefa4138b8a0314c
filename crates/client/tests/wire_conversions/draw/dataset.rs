//! Datasets and the reports on them.

use ftl_core::DatasetId;
use ftl_core::dataset::{
    Bar, CheckPart, CheckProgress, Code, CodeCount, Compression, Container, Cut, DataCheck, Dataset,
    DatasetFacts, DatasetReport, Duplicates, Encoding, FileOwner, FileReport, Finding, HeldOut, Histogram,
    KeptReport, Layout, PreviewRow, RenderedRow, RenderedText, RenderedToken, ReportSummary, RoleCount,
    RowCounts, Severity, Steps, TokenReport, Upload,
};

use super::{Draw, FORMATS, PHASES, STRATEGIES};

impl Draw {
    pub fn dataset(&mut self) -> Dataset {
        Dataset {
            id: DatasetId::from_bits(self.number()),
            name: self.text(),
            path: self.path(),
            owner: self.one(&[FileOwner::User, FileOwner::Service]),
            facts: DatasetFacts {
                format: self.one(&FORMATS),
                n_rows: self.number(),
                bytes: self.number(),
                sha256: self.text(),
            },
            report: self.maybe(Self::report_summary),
            created_unix_ms: self.time(),
        }
    }

    pub(super) fn report_summary(&mut self) -> ReportSummary {
        ReportSummary {
            number: self.number(),
            created_unix_ms: self.time(),
            model: self.maybe(Self::text),
            is_fit: self.flag(),
            rows: self.row_counts(),
            n_errors: self.number(),
            n_warnings: self.number(),
        }
    }

    pub(super) fn row_counts(&mut self) -> RowCounts {
        RowCounts {
            read: self.number(),
            accepted: self.number(),
            rejected: self.number(),
            dropped: self.number(),
        }
    }

    pub fn kept_report(&mut self) -> KeptReport {
        KeptReport {
            summary: self.report_summary(),
            check: DataCheck { data: self.data_spec(), model: self.maybe(Self::text) },
            report: self.report(),
        }
    }

    pub fn report(&mut self) -> DatasetReport {
        const SEVERITIES: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];
        DatasetReport {
            files: self.list(Self::file_report),
            rows: self.row_counts(),
            counts: self.list(|draw| CodeCount {
                code: draw.one(Code::ALL),
                severity: draw.one(&SEVERITIES),
                rows: draw.number(),
            }),
            findings: self.list(|draw| Finding {
                code: draw.one(Code::ALL),
                severity: draw.one(&SEVERITIES),
                path: draw.text(),
                row: draw.maybe(Self::number),
                line: draw.maybe(Self::number),
                message: draw.text(),
                hint: draw.maybe(Self::text),
            }),
            duplicates: Duplicates { exact: self.number(), near: self.number() },
            characters: self.histogram(),
            turns: self.histogram(),
            roles: self.list(|draw| RoleCount { role: draw.text(), messages: draw.number() }),
            tokens: self.maybe(Self::token_report),
            held_out: self.maybe(|draw| HeldOut {
                train: draw.number(),
                eval: draw.number(),
                overlap: draw.number(),
            }),
            steps: self.maybe(|draw| Steps {
                per_epoch: draw.number(),
                total: draw.number(),
                epochs: draw.float(),
            }),
        }
    }

    pub(super) fn file_report(&mut self) -> FileReport {
        const CONTAINERS: [Container; 7] = [
            Container::JsonLines,
            Container::JsonArray,
            Container::JsonObject,
            Container::Csv,
            Container::Tsv,
            Container::Parquet,
            Container::Text,
        ];
        const ENCODINGS: [Encoding; 4] =
            [Encoding::Utf8, Encoding::Utf8Bom, Encoding::Utf16Le, Encoding::Utf16Be];
        FileReport {
            path: self.path(),
            bytes: self.number(),
            sha256: self.maybe(Self::text),
            layout: self.maybe(|draw| Layout {
                container: draw.one(&CONTAINERS),
                compression: draw.maybe(|draw| draw.one(&[Compression::Gzip, Compression::Zstd])),
                encoding: draw.one(&ENCODINGS),
            }),
            format: self.maybe(|draw| draw.one(&FORMATS)),
            confidence: self.float(),
            notes: self.list(Self::text),
            rows: self.row_counts(),
        }
    }

    pub(super) fn histogram(&mut self) -> Histogram {
        Histogram {
            n: self.number(),
            total: self.number(),
            min: self.number(),
            p50: self.number(),
            p90: self.number(),
            p99: self.number(),
            max: self.number(),
            bars: self.list(|draw| Bar { from: draw.number(), below: draw.number(), rows: draw.number() }),
        }
    }

    pub(super) fn token_report(&mut self) -> TokenReport {
        TokenReport {
            max_length: self.number(),
            template: self.maybe(Self::text),
            per_row: self.histogram(),
            samples: self.number(),
            total: self.number(),
            supervised: self.number(),
            rows_without_supervised: self.number(),
            rows_with_end: self.number(),
            rows_with_special_tokens_in_text: self.number(),
            cut: Cut {
                strategy: self.one(&STRATEGIES),
                rows: self.number(),
                tokens: self.number(),
                supervised_tokens: self.number(),
                ends: self.number(),
            },
        }
    }

    pub fn check_part(&mut self) -> CheckPart {
        match self.flag() {
            true => CheckPart::Progress(CheckProgress {
                phase: self.one(&PHASES),
                done: self.maybe(Self::number),
                total: self.maybe(Self::number),
                unit: self.maybe(Self::text),
            }),
            false => CheckPart::Report(Box::new(self.report())),
        }
    }

    pub fn upload(&mut self) -> Upload {
        Upload { sha256: self.text(), received_bytes: self.number(), is_complete: self.flag() }
    }

    pub fn rendered_row(&mut self) -> RenderedRow {
        RenderedRow {
            number: self.number(),
            texts: self.list(|draw| RenderedText {
                role: draw.text(),
                text: draw.text(),
                tokens: draw.list(|draw| RenderedToken {
                    id: draw.small(),
                    text: draw.text(),
                    is_trained: draw.flag(),
                }),
            }),
        }
    }

    pub fn row(&mut self) -> PreviewRow {
        PreviewRow { number: self.number(), json: self.text(), problem: self.maybe(Self::text) }
    }
}
