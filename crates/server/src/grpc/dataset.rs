//! `DatasetService`. Files are read by workers; nothing here opens one.

use ftl_client::wire::v1::dataset_service_server::DatasetService;
use ftl_client::wire::{Numbered, page, v1};
use ftl_core::dataset::{Dataset, PreviewRow};
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, PageRequest};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, random_bits, request};
use crate::data_dir::now_unix_ms;
use crate::error::ServiceError;

/// How many bytes of rows a page may have: clients take messages of 4 MiB by default.
const MAX_PAGE_BYTES: usize = 3 << 20;

impl Api {
    async fn dataset(&self, id: &DatasetId) -> Result<Dataset, ServiceError> {
        let dataset = self.store().dataset(id).await?;
        dataset.ok_or_else(|| ServiceError::NotFound { what: "dataset", id: id.to_string() })
    }

    /// The token of a page is the number of the last row before it.
    async fn preview(
        &self,
        id: &DatasetId,
        page: &PageRequest,
    ) -> Result<v1::PreviewDatasetResponse, ServiceError> {
        let after_row = match page.page_token.as_deref() {
            None => 0,
            Some(token) => token.parse().map_err(|_| request::bad_page_token())?,
        };
        let dataset = self.dataset(id).await?;
        // One more than is given, to know whether there is another page.
        let n_rows = page.size() + 1;
        let rows = self.0.parts.workers.preview(dataset.path, dataset.facts.format, after_row, n_rows);
        let mut rows = self.until_shutdown(rows).await?;
        let n_given = n_fitting(&rows).min(page.size() as usize);
        let has_more = rows.len() > n_given;
        rows.truncate(n_given);
        let next = rows.last().filter(|_| has_more).map(|row| row.number.to_string());
        Ok(v1::PreviewDatasetResponse {
            rows: rows.into_iter().map(v1::PreviewRow::from).collect(),
            next_page_token: page::token(next),
        })
    }
}

/// How many rows fit into a page; at least one, so that a list gets on.
fn n_fitting(rows: &[PreviewRow]) -> usize {
    let mut n_bytes = 0;
    let fitting = rows.iter().take_while(|row| {
        n_bytes += row.json.len() + row.problem.as_ref().map_or(0, String::len);
        n_bytes <= MAX_PAGE_BYTES
    });
    fitting.count().max(1)
}

#[async_trait]
impl DatasetService for Api {
    async fn import_dataset(
        &self,
        request: Request<v1::ImportDatasetRequest>,
    ) -> Result<Response<v1::Dataset>, Status> {
        let v1::ImportDatasetRequest { path, name, format } = request.into_inner();
        let path = request::path(path)?;
        let name = request::name_or_file_name(name, &path)?;
        let format = DataFormat::optional("ImportDatasetRequest", "format", format);
        let format = format.map_err(ServiceError::from)?.unwrap_or(DataFormat::Auto);
        let read = self.0.parts.workers.read_dataset(path.clone(), format);
        let dataset = Dataset {
            facts: self.until_shutdown(read).await?,
            id: DatasetId::from_bits(random_bits()?),
            name,
            path,
            created_unix_ms: now_unix_ms(),
        };
        let dataset = self.store().create_dataset(dataset).await.map_err(ServiceError::from)?;
        Ok(Response::new(dataset.into()))
    }

    async fn list_datasets(
        &self,
        request: Request<v1::ListDatasetsRequest>,
    ) -> Result<Response<v1::ListDatasetsResponse>, Status> {
        let v1::ListDatasetsRequest { page_size, page_token } = request.into_inner();
        let datasets = self.store().datasets(&request::page(page_size, page_token)).await;
        let datasets = datasets.map_err(ServiceError::from)?;
        Ok(Response::new(v1::ListDatasetsResponse {
            datasets: datasets.items.into_iter().map(v1::Dataset::from).collect(),
            next_page_token: page::token(datasets.next_page_token),
        }))
    }

    async fn get_dataset(
        &self,
        request: Request<v1::GetDatasetRequest>,
    ) -> Result<Response<v1::Dataset>, Status> {
        let v1::GetDatasetRequest { id } = request.into_inner();
        Ok(Response::new(self.dataset(&request::id("id", &id)?).await?.into()))
    }

    async fn preview_dataset(
        &self,
        request: Request<v1::PreviewDatasetRequest>,
    ) -> Result<Response<v1::PreviewDatasetResponse>, Status> {
        let v1::PreviewDatasetRequest { id, page_size, page_token } = request.into_inner();
        let id = request::id("id", &id)?;
        Ok(Response::new(self.preview(&id, &request::page(page_size, page_token)).await?))
    }

    async fn delete_dataset(
        &self,
        request: Request<v1::DeleteDatasetRequest>,
    ) -> Result<Response<()>, Status> {
        let v1::DeleteDatasetRequest { id } = request.into_inner();
        let id: DatasetId = request::id("id", &id)?;
        let is_deleted = self.store().delete_dataset(&id).await.map_err(ServiceError::from)?;
        if !is_deleted {
            return Err(ServiceError::NotFound { what: "dataset", id: id.to_string() }.into());
        }
        Ok(Response::new(()))
    }
}
