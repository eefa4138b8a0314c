//! Datasets.

use std::path::Path;

use ftl_core::dataset::{
    CheckPart, DataCheck, Dataset, ImportSource, KeptReport, PreviewRow, RenderedRow, ReportSummary, SplitBy,
};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, Page, PageRequest};

use futures_util::Stream;

use super::Client;
use super::call::MAX_ANSWER_BYTES;
use super::connect::AuthorizedChannel;
use super::path_text;
use crate::error::ClientError;
use crate::wire::v1::dataset_service_client::DatasetServiceClient;
use crate::wire::{Numbered as _, each, page, required, v1};

impl Client {
    pub(super) fn datasets_stub(&self) -> DatasetServiceClient<AuthorizedChannel> {
        DatasetServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Has the server read a file through and keep it with what it found; without a name, the file's.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a path, an upload or a file that can't be used at all.
    pub async fn import_dataset(
        &self,
        source: &ImportSource,
        name: Option<&str>,
        format: DataFormat,
    ) -> Result<Dataset, ClientError> {
        if let ImportSource::Path(path) = source {
            path_text(path)?;
        }
        let request = v1::ImportDatasetRequest {
            source: Some(source.clone().into()),
            name: name.unwrap_or_default().to_owned(),
            format: format.number(),
        };
        Ok(self
            .call(self.to_change_files(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.import_dataset(request).await
            })
            .await?
            .try_into()?)
    }

    /// A dataset.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id.
    pub async fn dataset(&self, id: &DatasetId) -> Result<Dataset, ClientError> {
        let request = v1::GetDatasetRequest { id: id.to_string() };
        Ok(self
            .call(self.to_read(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.get_dataset(request).await
            })
            .await?
            .try_into()?)
    }

    /// Datasets, newest first.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a page token that the server did not give.
    pub async fn datasets(&self, page: &PageRequest) -> Result<Page<Dataset>, ClientError> {
        let PageRequest { page_size, page_token } = page.clone();
        let request = v1::ListDatasetsRequest { page_size, page_token: page::token(page_token) };
        let v1::ListDatasetsResponse { datasets, next_page_token } = self
            .call(self.to_read(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.list_datasets(request).await
            })
            .await?;
        Ok(page::page("ListDatasetsResponse", "datasets", datasets, next_page_token)?)
    }

    /// Rows of a dataset's file as they are now, from the first on.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Refused`] if the file can't be read any more.
    pub async fn preview_dataset(
        &self,
        id: &DatasetId,
        page: &PageRequest,
    ) -> Result<Page<PreviewRow>, ClientError> {
        let PageRequest { page_size, page_token } = page.clone();
        let request =
            v1::PreviewDatasetRequest { id: id.to_string(), page_size, page_token: page::token(page_token) };
        let v1::PreviewDatasetResponse { rows, next_page_token } = self
            .call(self.to_read_files(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.preview_dataset(request).await
            })
            .await?;
        Ok(page::page("PreviewDatasetResponse", "rows", rows, next_page_token)?)
    }

    /// A report that the server keeps of a dataset; `None`: the newest.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] without such a dataset or report.
    pub async fn dataset_report(
        &self,
        id: &DatasetId,
        number: Option<u64>,
    ) -> Result<KeptReport, ClientError> {
        let request = v1::GetDatasetReportRequest { id: id.to_string(), number: number.unwrap_or(0) };
        Ok(self
            .call(self.to_read(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.get_dataset_report(request).await
            })
            .await?
            .try_into()?)
    }

    /// What the kept reports of a dataset come to, newest first.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id.
    pub async fn dataset_reports(&self, id: &DatasetId) -> Result<Vec<ReportSummary>, ClientError> {
        let request = v1::ListDatasetReportsRequest { id: id.to_string() };
        let v1::ListDatasetReportsResponse { reports } = self
            .call(self.to_read(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.list_dataset_reports(request).await
            })
            .await?;
        Ok(each("ListDatasetReportsResponse", "reports", reports)?)
    }

    /// Has data judged: how far that has come, again and again, then the report. Dropping the stream stops it. It is
    /// never asked a second time.
    ///
    /// Errors are those of data that can't be judged at all ([`ClientError::Refused`]), and those that every call may
    /// have.
    pub fn check_data(
        &self,
        check: &DataCheck,
    ) -> impl Stream<Item = Result<CheckPart, ClientError>> + Send + Unpin + use<> {
        let client = self.clone();
        let request = v1::ValidateDatasetRequest { check: Some(check.clone().into()) };
        Box::pin(async_stream::try_stream! {
            let opened = client.datasets_stub().validate_dataset(request).await;
            let mut parts = opened.map_err(|status| client.error(status))?.into_inner();
            while let Some(part) = parts.message().await.map_err(|status| client.error(status))? {
                yield CheckPart::try_from(part)?;
            }
        })
    }

    /// A row of a dataset as a model is trained on it. `model` is a directory, the id of an imported model, or `org/name`
    /// of the Hugging Face cache.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Refused`] for a row or a model that can't be used.
    pub async fn render_sample(
        &self,
        id: &DatasetId,
        row: u64,
        model: &str,
        chat_template: Option<&Path>,
    ) -> Result<RenderedRow, ClientError> {
        let request = v1::RenderSampleRequest {
            id: id.to_string(),
            row,
            model: model.to_owned(),
            chat_template: chat_template.map(path_text).transpose()?,
        };
        Ok(self
            .call(self.to_read_files(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.render_sample(request).await
            })
            .await?
            .into())
    }

    /// Has the rows of a dataset written into two new ones: what is trained on, and what is held out. Without names, the
    /// dataset's with `-train` and `-eval`.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Refused`] where a side would be empty or the file can't be read.
    pub async fn split_dataset(
        &self,
        id: &DatasetId,
        by: SplitBy,
        names: (Option<&str>, Option<&str>),
    ) -> Result<(Dataset, Dataset), ClientError> {
        let (train_name, eval_name) = names;
        let request = v1::SplitDatasetRequest {
            id: id.to_string(),
            by: Some(by.into()),
            train_name: train_name.unwrap_or_default().to_owned(),
            eval_name: eval_name.unwrap_or_default().to_owned(),
        };
        let v1::SplitDatasetResponse { train, eval } = self
            .call(self.to_change_files(), self.datasets_stub(), request, |mut stub, request| async move {
                stub.split_dataset(request).await
            })
            .await?;
        const NAME: &str = "SplitDatasetResponse";
        Ok((required(NAME, "train", train)?, required(NAME, "eval", eval)?))
    }

    /// Forgets a dataset and its reports. Its file goes where it is the server's own.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id, [`ClientError::Precondition`] where a job will read a file
    /// that would go.
    pub async fn delete_dataset(&self, id: &DatasetId) -> Result<(), ClientError> {
        let request = v1::DeleteDatasetRequest { id: id.to_string() };
        self.call(self.to_change(), self.datasets_stub(), request, |mut stub, request| async move {
            stub.delete_dataset(request).await
        })
        .await
    }
}
