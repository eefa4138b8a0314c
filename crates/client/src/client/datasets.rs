//! Datasets.

use std::path::Path;

use ftl_core::dataset::{Dataset, PreviewRow};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, Page, PageRequest};

use super::Client;
use super::call::MAX_ANSWER_BYTES;
use super::connect::AuthorizedChannel;
use super::path_text;
use crate::error::ClientError;
use crate::wire::v1::dataset_service_client::DatasetServiceClient;
use crate::wire::{Numbered as _, page, v1};

impl Client {
    fn datasets_stub(&self) -> DatasetServiceClient<AuthorizedChannel> {
        DatasetServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Has the server read a file through and remember what it found. `path` is absolute, on the server's machine;
    /// without a name, the file's.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a path or a file that can't be used.
    pub async fn import_dataset(
        &self,
        path: &Path,
        name: Option<&str>,
        format: DataFormat,
    ) -> Result<Dataset, ClientError> {
        let request = v1::ImportDatasetRequest {
            path: path_text(path)?,
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

    /// Forgets a dataset; its file stays.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id.
    pub async fn delete_dataset(&self, id: &DatasetId) -> Result<(), ClientError> {
        let request = v1::DeleteDatasetRequest { id: id.to_string() };
        self.call(self.to_change(), self.datasets_stub(), request, |mut stub, request| async move {
            stub.delete_dataset(request).await
        })
        .await
    }
}
