//! Judging data: what a worker finds, as it comes, and what is kept of it.

use std::fmt::Write as _;
use std::pin::pin;

use async_stream::try_stream;
use ftl_core::dataset::{
    CheckPart, DataCheck, Dataset, DatasetFacts, DatasetReport, KeptReport, ReportSummary,
};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, Problem, ProblemKind};
use ftl_store::{Checked, NewReport};
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use super::uploads::hex;
use super::{Datasets, by_itself};
use crate::data_dir::now_unix_ms;
use crate::error::ServiceError;
use crate::resolve::told;

impl Datasets {
    /// Judges data. Where `data.train` names one dataset, the report is kept with it. Dropping the stream ends the work.
    ///
    /// # Errors
    /// Names that stand for nothing. What the worker refuses comes as the stream's last item.
    pub async fn check(
        &self,
        asked: DataCheck,
    ) -> Result<impl Stream<Item = Result<CheckPart, ServiceError>> + Send + use<>, ServiceError> {
        let dataset = self.checked_dataset(&asked).await?;
        let check = self.0.resolver.data_check(asked, dataset.as_ref()).await?;
        let datasets = self.clone();
        Ok(try_stream! {
            let mut parts = pin!(datasets.0.workers.check(check.clone()));
            while let Some(part) = parts.next().await {
                let part = part?;
                if let (CheckPart::Report(report), Some(dataset)) = (&part, &dataset) {
                    datasets.keep_report(dataset, &check, report).await?;
                }
                yield part;
            }
        })
    }

    /// What the check of a file comes to.
    pub(super) async fn report(&self, check: DataCheck) -> Result<DatasetReport, ServiceError> {
        let mut parts = pin!(self.0.workers.check(check));
        while let Some(part) = parts.next().await {
            match part? {
                CheckPart::Progress(_) => {}
                CheckPart::Report(report) => return Ok(*report),
            }
        }
        Err(ServiceError::Internal("a check ended without a report".into()))
    }

    /// A kept report; `None`: the newest.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] without such a dataset, or without such a report.
    pub async fn kept_report(&self, id: &DatasetId, number: Option<u64>) -> Result<KeptReport, ServiceError> {
        let found = self.0.store.report(id, number).await;
        let found = found.map_err(|error| ServiceError::from(error).about("dataset", id))?;
        found.ok_or_else(|| ServiceError::NotFound {
            what: "report",
            id: format!("{id}/{}", number.map_or_else(|| "newest".to_owned(), |number| number.to_string())),
        })
    }

    /// What the kept reports of a dataset come to, newest first.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] without such a dataset.
    pub async fn reports(&self, id: &DatasetId) -> Result<Vec<ReportSummary>, ServiceError> {
        let found = self.0.store.reports(id).await;
        found.map_err(|error| ServiceError::from(error).about("dataset", id))
    }

    /// The one dataset that a check is about.
    async fn checked_dataset(&self, asked: &DataCheck) -> Result<Option<Dataset>, ServiceError> {
        let [file] = asked.data.train.as_slice() else { return Ok(None) };
        let Some(id) = file.path.to_str().and_then(|text| text.parse::<DatasetId>().ok()) else {
            return Ok(None);
        };
        Ok(self.0.store.dataset(&id).await?)
    }

    async fn keep_report(
        &self,
        dataset: &Dataset,
        check: &DataCheck,
        report: &DatasetReport,
    ) -> Result<(), ServiceError> {
        let is_by_itself = [dataset.facts.format, DataFormat::Auto]
            .into_iter()
            .any(|format| *check == by_itself(&dataset.path, format));
        let checked = match facts(report) {
            Ok(facts) if is_by_itself => Checked::ByItself(facts),
            Ok(_) | Err(_) => Checked::With,
        };
        let created_unix_ms = now_unix_ms();
        let report = NewReport { created_unix_ms, check: check.clone(), report: report.clone() };
        match self.0.store.keep_report(&dataset.id, report, checked).await {
            // Forgotten while it was read; whoever asked gets the report all the same.
            Ok(_) | Err(ftl_store::StoreError::NotFound) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a report says of the files themselves.
///
/// # Errors
/// There is no row in them: they are empty, can't be read, or hold something else than data.
pub(super) fn facts(report: &DatasetReport) -> Result<DatasetFacts, ServiceError> {
    if report.rows.read == 0 {
        let mut problems: Vec<Problem> = report.findings.iter().map(told).collect();
        if problems.is_empty() {
            problems.push(Problem::new(ProblemKind::BadData, "there is no row in it"));
        }
        return Err(ServiceError::Invalid(problems));
    }
    let format = report.files.iter().find_map(|file| file.format);
    let hashes: Vec<&str> = report.files.iter().filter_map(|file| file.sha256.as_deref()).collect();
    let sha256 = match hashes.as_slice() {
        [only] => (*only).to_owned(),
        hashes => {
            // Of several files, the hash of their hashes, one a line.
            let lines = hashes.iter().fold(String::new(), |mut lines, hash| {
                // Writing to a string can't fail.
                let _ = writeln!(lines, "{hash}");
                lines
            });
            hex(&Sha256::digest(lines))
        }
    };
    Ok(DatasetFacts {
        format: format.unwrap_or(DataFormat::Auto),
        n_rows: report.rows.read,
        bytes: report.files.iter().map(|file| file.bytes).sum(),
        sha256,
    })
}
