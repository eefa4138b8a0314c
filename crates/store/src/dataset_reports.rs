//! What was found in datasets: the last reports of each.

use diesel::prelude::*;
use ftl_core::DatasetId;
use ftl_core::dataset::{DataCheck, DatasetFacts, DatasetReport, KeptReport, ReportSummary};

use crate::error::StoreError;
use crate::fault::Outcome;
use crate::rows::dataset_report::ReportRow;
use crate::rows::value::{from_json, integer, json, name};
use crate::schema::{dataset_reports, datasets};
use crate::{Reply, Store};

/// Reports that are kept of a dataset; older ones go. A report has up to some hundred KiB.
const N_KEPT: i64 = 10;

/// A report that is to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReport {
    /// When it was made.
    pub created_unix_ms: u64,
    /// What the data were held against.
    pub check: DataCheck,
    /// The report.
    pub report: DatasetReport,
}

impl NewReport {
    pub(crate) fn numbered(&self, number: u64) -> KeptReport {
        let Self { created_unix_ms, check, report } = self;
        let summary = ReportSummary::new(number, *created_unix_ms, check, report);
        KeptReport { summary, check: check.clone(), report: report.clone() }
    }
}

/// What a report says of a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It was held against a model, or read otherwise than when it was imported: the report is kept beside.
    With,
    /// It was read as when it was imported: from now on the dataset holds this, and is as fit as the report says.
    ByItself(DatasetFacts),
}

impl Store {
    /// Keeps a report on a dataset.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a dataset.
    pub fn keep_report(&self, id: &DatasetId, report: NewReport, checked: Checked) -> Reply<ReportSummary> {
        let id = id.clone();
        self.write(move |transaction| {
            let connection = &mut *transaction.connection;
            must_exist(connection, &id)?;
            let last: Option<i64> = dataset_reports::table
                .filter(dataset_reports::dataset.eq(id.as_str()))
                .select(diesel::dsl::max(dataset_reports::number))
                .first(connection)?;
            let number = last.unwrap_or(0) + 1;
            let summary = insert(connection, &id, &report.numbered(number.cast_unsigned()))?;
            let old = dataset_reports::table
                .filter(dataset_reports::dataset.eq(id.as_str()))
                .filter(dataset_reports::number.le(number - N_KEPT));
            diesel::delete(old).execute(connection)?;
            match &checked {
                Checked::With => {}
                Checked::ByItself(DatasetFacts { format, n_rows, bytes, sha256 }) => {
                    let columns = (
                        datasets::format.eq(name("datasets.format", format)?),
                        datasets::n_rows.eq(integer("datasets.n_rows", *n_rows)?),
                        datasets::bytes.eq(integer("datasets.bytes", *bytes)?),
                        datasets::sha256.eq(sha256),
                        datasets::report.eq(json("datasets.report", &summary)?),
                    );
                    diesel::update(datasets::table.filter(datasets::id.eq(id.as_str())))
                        .set(columns)
                        .execute(connection)?;
                }
            }
            Ok(summary)
        })
    }

    /// A report on a dataset; `None`: the newest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a dataset.
    pub fn report(&self, id: &DatasetId, number: Option<u64>) -> Reply<Option<KeptReport>> {
        let id = id.clone();
        self.read(move |connection| {
            must_exist(connection, &id)?;
            let mut query = dataset_reports::table
                .filter(dataset_reports::dataset.eq(id.to_string()))
                .order(dataset_reports::number.desc())
                .select(ReportRow::as_select())
                .into_boxed();
            if let Some(number) = number {
                // A number that no column can hold is none that was given.
                query = query.filter(dataset_reports::number.eq(i64::try_from(number).unwrap_or(0)));
            }
            let row: Option<ReportRow> = query.first(connection).optional()?;
            Ok(row.map(KeptReport::try_from).transpose()?)
        })
    }

    /// What the kept reports of a dataset come to, newest first.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a dataset.
    pub fn reports(&self, id: &DatasetId) -> Reply<Vec<ReportSummary>> {
        let id = id.clone();
        self.read(move |connection| {
            must_exist(connection, &id)?;
            let rows: Vec<String> = dataset_reports::table
                .filter(dataset_reports::dataset.eq(id.as_str()))
                .order(dataset_reports::number.desc())
                .select(dataset_reports::summary)
                .load(connection)?;
            let summaries = rows.iter().map(|text| from_json("dataset_reports.summary", text));
            Ok(summaries.collect::<Result<_, _>>()?)
        })
    }
}

/// Keeps a report as it is numbered.
pub(crate) fn insert(
    connection: &mut SqliteConnection,
    id: &DatasetId,
    kept: &KeptReport,
) -> Outcome<ReportSummary> {
    diesel::insert_into(dataset_reports::table).values(ReportRow::new(id, kept)?).execute(connection)?;
    Ok(kept.summary.clone())
}

fn must_exist(connection: &mut SqliteConnection, id: &DatasetId) -> Outcome<()> {
    let found: i64 = datasets::table.filter(datasets::id.eq(id.as_str())).count().get_result(connection)?;
    if found == 0 { Err(StoreError::NotFound.into()) } else { Ok(()) }
}
