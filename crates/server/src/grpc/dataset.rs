//! `DatasetService`. Files are read by workers; nothing here opens one.

use std::time::Duration;

use ftl_client::wire::v1::dataset_service_server::DatasetService;
use ftl_client::wire::{Numbered, page, required, v1};
use ftl_core::dataset::{DataCheck, ImportSource, PreviewRow, Upload};
use ftl_core::spec::names_built_in_template;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, PageRequest, Problem, ProblemKind};
use futures_util::StreamExt;
use tonic::{Request, Response, Status, Streaming, async_trait};
use v1::import_dataset_request::Source;
use v1::upload_dataset_request::Kind;

use super::{Answers, Api, request};
use crate::datasets::{Chunk, ContentHash, Receiving};
use crate::error::ServiceError;
use crate::resolve::absolute;

/// How many bytes of rows a page may have: clients take messages of 4 MiB by default.
const MAX_PAGE_BYTES: usize = 3 << 20;
/// An upload of which nothing comes for so long ends, so that another client can go on with it.
const SILENCE: Duration = Duration::from_secs(60);

impl Api {
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
        let dataset = self.0.parts.datasets.dataset(id).await?;
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

impl Api {
    /// Takes an upload up to the end of its stream.
    async fn receive(
        &self,
        mut messages: Streaming<v1::UploadDatasetRequest>,
    ) -> Result<Upload, ServiceError> {
        let first = self.next_of(&mut messages, 0).await?.and_then(|message| message.kind);
        let Some(Kind::Content(v1::UploadedContent { sha256, total_bytes })) = first else {
            return Err(out_of_order("the first message of an upload must be `content`"));
        };
        let hash: ContentHash = sha256.parse().map_err(|problem: Problem| problem.at("content.sha256"))?;
        let uploads = self.0.parts.datasets.uploads().clone();
        let mut receiving = Self::blocking(move || uploads.receive(&hash, total_bytes)).await??;
        while let Some(v1::UploadDatasetRequest { kind }) =
            self.next_of(&mut messages, receiving.received_bytes()).await?
        {
            let Some(Kind::Chunk(v1::UploadChunk { offset, data, sha256 })) = kind else {
                return Err(out_of_order("after the first message of an upload only `chunk` can follow"));
            };
            let chunk = Chunk { offset, data, sha256 };
            receiving = Self::blocking(move || receiving.take(&chunk).map(|()| receiving)).await??;
        }
        Self::blocking(move || Receiving::finish(receiving)).await?
    }

    /// The next message; `None`: the client has sent all that it wants to.
    async fn next_of<T>(
        &self,
        messages: &mut Streaming<T>,
        received_bytes: u64,
    ) -> Result<Option<T>, ServiceError> {
        tokio::select! {
            biased;
            () = self.0.parts.shutdown.cancelled() => Err(ServiceError::ShuttingDown),
            next = tokio::time::timeout(SILENCE, messages.message()) => match next {
                Ok(Ok(message)) => Ok(message),
                // The client is gone, and hears of nothing any more.
                Ok(Err(status)) => Err(broken_off(received_bytes, status.message())),
                Err(_) => Err(broken_off(received_bytes, &format!("nothing came for {} s", SILENCE.as_secs()))),
            },
        }
    }
}

fn out_of_order(message: &str) -> ServiceError {
    Problem::new(ProblemKind::InvalidValue, message).at("kind").into()
}

fn broken_off(received_bytes: u64, why: &str) -> ServiceError {
    let message = format!("the upload broke off: {why}");
    let hint = format!("go on with it from byte {received_bytes}");
    ServiceError::Precondition(Problem::new(ProblemKind::InvalidValue, message).hint(hint))
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
    type ValidateDatasetStream = Answers<v1::ValidateDatasetResponse>;

    async fn import_dataset(
        &self,
        request: Request<v1::ImportDatasetRequest>,
    ) -> Result<Response<v1::Dataset>, Status> {
        let v1::ImportDatasetRequest { source, name, format } = request.into_inner();
        let (source, called) = match source {
            Some(Source::Path(path)) => {
                let path = request::path(path)?;
                (ImportSource::Path(path.clone()), path)
            }
            Some(Source::Upload(v1::UploadedFile { sha256, file_name })) => {
                let called = file_name.clone().into();
                (ImportSource::Upload { sha256, file_name }, called)
            }
            None => return Err(request::missing("path", "the path is missing").into()),
        };
        let name = request::name_or_file_name(name, &called)?;
        let format = DataFormat::optional("ImportDatasetRequest", "format", format);
        let format = format.map_err(ServiceError::from)?.unwrap_or(DataFormat::Auto);
        let imported = self.0.parts.datasets.import(source, name, format);
        Ok(Response::new(self.until_shutdown(imported).await?.into()))
    }

    async fn upload_dataset(
        &self,
        request: Request<Streaming<v1::UploadDatasetRequest>>,
    ) -> Result<Response<v1::Upload>, Status> {
        let _slot = self.slot()?;
        Ok(Response::new(self.receive(request.into_inner()).await?.into()))
    }

    async fn get_upload(
        &self,
        request: Request<v1::GetUploadRequest>,
    ) -> Result<Response<v1::Upload>, Status> {
        let v1::GetUploadRequest { sha256 } = request.into_inner();
        let hash: ContentHash = sha256.parse().map_err(ServiceError::from)?;
        let uploads = self.0.parts.datasets.uploads().clone();
        Ok(Response::new(Self::blocking(move || uploads.state(&hash)).await??.into()))
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
        Ok(Response::new(self.0.parts.datasets.dataset(&request::id("id", &id)?).await?.into()))
    }

    async fn preview_dataset(
        &self,
        request: Request<v1::PreviewDatasetRequest>,
    ) -> Result<Response<v1::PreviewDatasetResponse>, Status> {
        let v1::PreviewDatasetRequest { id, page_size, page_token } = request.into_inner();
        let id = request::id("id", &id)?;
        Ok(Response::new(self.preview(&id, &request::page(page_size, page_token)).await?))
    }

    async fn validate_dataset(
        &self,
        request: Request<v1::ValidateDatasetRequest>,
    ) -> Result<Response<Self::ValidateDatasetStream>, Status> {
        let v1::ValidateDatasetRequest { check } = request.into_inner();
        let check: DataCheck =
            required("ValidateDatasetRequest", "check", check).map_err(ServiceError::from)?;
        let slot = self.slot()?;
        let parts = self.until_shutdown(self.0.parts.datasets.check(check)).await?;
        let shutdown = self.0.parts.shutdown.clone();
        let answers = async_stream::stream! {
            let _slot = slot;
            let mut parts = std::pin::pin!(parts);
            loop {
                let part = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => Some(Err(ServiceError::ShuttingDown)),
                    part = parts.next() => part,
                };
                let Some(part) = part else { return };
                let is_last = part.is_err();
                yield part.map(v1::ValidateDatasetResponse::from).map_err(Status::from);
                if is_last {
                    return;
                }
            }
        };
        Ok(Response::new(answers.boxed()))
    }

    async fn get_dataset_report(
        &self,
        request: Request<v1::GetDatasetReportRequest>,
    ) -> Result<Response<v1::KeptDatasetReport>, Status> {
        let v1::GetDatasetReportRequest { id, number } = request.into_inner();
        let id = request::id("id", &id)?;
        let number = Some(number).filter(|number| *number != 0);
        Ok(Response::new(self.0.parts.datasets.kept_report(&id, number).await?.into()))
    }

    async fn list_dataset_reports(
        &self,
        request: Request<v1::ListDatasetReportsRequest>,
    ) -> Result<Response<v1::ListDatasetReportsResponse>, Status> {
        let v1::ListDatasetReportsRequest { id } = request.into_inner();
        let reports = self.0.parts.datasets.reports(&request::id("id", &id)?).await?;
        let reports = reports.into_iter().map(v1::DatasetReportSummary::from).collect();
        Ok(Response::new(v1::ListDatasetReportsResponse { reports }))
    }

    async fn render_sample(
        &self,
        request: Request<v1::RenderSampleRequest>,
    ) -> Result<Response<v1::RenderedRow>, Status> {
        let v1::RenderSampleRequest { id, row, model, chat_template } = request.into_inner();
        let id = request::id("id", &id)?;
        let chat_template = chat_template.map(std::path::PathBuf::from);
        if let Some(path) = chat_template.as_ref().filter(|path| !names_built_in_template(path)) {
            absolute(path, "chat_template").map_err(ServiceError::from)?;
        }
        let rendered = self.0.parts.datasets.render(&id, row, &model, chat_template);
        Ok(Response::new(self.until_shutdown(rendered).await?.into()))
    }

    async fn split_dataset(
        &self,
        request: Request<v1::SplitDatasetRequest>,
    ) -> Result<Response<v1::SplitDatasetResponse>, Status> {
        let v1::SplitDatasetRequest { id, by, train_name, eval_name } = request.into_inner();
        let id = request::id("id", &id)?;
        let by = by.ok_or_else(|| request::missing("by", "`fraction` or `place` must be given"))?;
        let named = |name: String| if name.is_empty() { Ok(name) } else { request::name(name) };
        let names = (named(train_name)?, named(eval_name)?);
        let split = self.0.parts.datasets.split(&id, by.into(), names);
        let (train, eval) = self.until_shutdown(split).await?;
        Ok(Response::new(v1::SplitDatasetResponse { train: Some(train.into()), eval: Some(eval.into()) }))
    }

    async fn delete_dataset(
        &self,
        request: Request<v1::DeleteDatasetRequest>,
    ) -> Result<Response<()>, Status> {
        let v1::DeleteDatasetRequest { id } = request.into_inner();
        Ok(Response::new(self.0.parts.datasets.delete(&request::id("id", &id)?).await?))
    }
}
