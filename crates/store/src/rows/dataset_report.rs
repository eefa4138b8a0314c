//! Reports on datasets.

use diesel::prelude::*;
use ftl_core::DatasetId;
use ftl_core::dataset::KeptReport;

use super::value::{from_json, integer, json};
use crate::error::StoreError;
use crate::schema::dataset_reports;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = dataset_reports, check_for_backend(diesel::sqlite::Sqlite))]
pub(crate) struct ReportRow {
    dataset: String,
    number: i64,
    summary: String,
    settings: String,
    report: String,
}

impl ReportRow {
    /// The row of a dataset's report.
    pub(crate) fn new(dataset: &DatasetId, kept: &KeptReport) -> Result<Self, StoreError> {
        let KeptReport { summary, check, report } = kept;
        Ok(Self {
            dataset: dataset.to_string(),
            number: integer("dataset_reports.number", summary.number)?,
            summary: json("dataset_reports.summary", summary)?,
            settings: json("dataset_reports.settings", check)?,
            report: json("dataset_reports.report", report)?,
        })
    }
}

impl TryFrom<ReportRow> for KeptReport {
    type Error = StoreError;

    fn try_from(row: ReportRow) -> Result<Self, StoreError> {
        let ReportRow { dataset: _, number: _, summary, settings, report } = row;
        Ok(Self {
            summary: from_json("dataset_reports.summary", &summary)?,
            check: from_json("dataset_reports.settings", &settings)?,
            report: from_json("dataset_reports.report", &report)?,
        })
    }
}
