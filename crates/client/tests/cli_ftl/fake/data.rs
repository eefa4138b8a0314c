//! The fake's datasets.

use std::path::Path;
use std::pin::Pin;

use ftl_client::wire::details::reason;
use ftl_client::wire::{Numbered as _, page, v1};
use ftl_core::dataset::{
    CheckPart, CheckProgress, DataCheck, Dataset, DatasetFacts, FileOwner, KeptReport, RenderedRow,
    RenderedText, RenderedToken, ReportSummary, SplitBy, Upload,
};
use ftl_core::job::Phase;
use ftl_core::spec::resolved::DataFormat;
use ftl_core::{DatasetId, Problem, ProblemKind};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status, Streaming};
use v1::dataset_service_server::DatasetService;
use v1::import_dataset_request::Source;
use v1::upload_dataset_request::Kind;

use super::super::BEGIN;
use super::{Service, not_found, part, refused};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    fn import(&self, name: &str, path: &Path, owner: FileOwner, format: DataFormat) -> Dataset {
        let mut world = self.world();
        let report = &world.report;
        let summary = ReportSummary::new(1, BEGIN, &DataCheck::default(), report);
        let dataset = Dataset {
            id: DatasetId::from_bits(2_000 + world.datasets.len() as u64),
            name: name.to_owned(),
            path: path.to_path_buf(),
            owner,
            facts: DatasetFacts { format, n_rows: 1_234, bytes: 4_096, sha256: "ab".repeat(32) },
            report: Some(summary),
            created_unix_ms: BEGIN,
        };
        world.datasets.insert(0, dataset.clone());
        dataset
    }

    fn dataset(&self, id: &str) -> Result<Dataset, Status> {
        let found = self.world().datasets.iter().find(|dataset| dataset.id.as_str() == id).cloned();
        found.ok_or_else(|| not_found("dataset", id, reason::DATASET_NOT_FOUND))
    }
}

#[tonic::async_trait]
impl DatasetService for Service {
    type ValidateDatasetStream = Answers<v1::ValidateDatasetResponse>;

    async fn import_dataset(
        &self,
        request: Request<v1::ImportDatasetRequest>,
    ) -> Result<Response<v1::Dataset>, Status> {
        let v1::ImportDatasetRequest { source, name, format } = request.into_inner();
        let (path, owner) = match source.expect("a source") {
            Source::Path(path) => (path, FileOwner::User),
            Source::Upload(v1::UploadedFile { sha256, file_name }) => {
                assert!(self.world().uploads.contains_key(&sha256), "it was sent before");
                (format!("/data/datasets/{file_name}"), FileOwner::Service)
            }
        };
        let file = Path::new(&path);
        assert!(file.is_absolute(), "{path}");
        if owner == FileOwner::User && !file.exists() {
            let problem = Problem::new(ProblemKind::NotFound, "the file does not exist").at(path);
            return Err(refused(Code::InvalidArgument, problem));
        }
        let stem = file.file_name().expect("a file").to_string_lossy().into_owned();
        let format = DataFormat::from_number(format).expect("a format").unwrap_or(DataFormat::Messages);
        let format = if format == DataFormat::Auto { DataFormat::Messages } else { format };
        let name = page::some_text(name).unwrap_or(stem);
        Ok(Response::new(self.import(&name, file, owner, format).into()))
    }

    async fn upload_dataset(
        &self,
        request: Request<Streaming<v1::UploadDatasetRequest>>,
    ) -> Result<Response<v1::Upload>, Status> {
        let mut messages = request.into_inner();
        let mut sha256 = String::new();
        while let Some(message) = messages.message().await? {
            match message.kind.expect("a message") {
                Kind::Content(content) => sha256 = content.sha256,
                Kind::Chunk(chunk) => {
                    self.world().uploads.entry(sha256.clone()).or_default().extend(chunk.data);
                }
            }
        }
        let received_bytes = self.world().uploads.entry(sha256.clone()).or_default().len() as u64;
        Ok(Response::new(Upload { sha256, received_bytes, is_complete: true }.into()))
    }

    async fn get_upload(
        &self,
        request: Request<v1::GetUploadRequest>,
    ) -> Result<Response<v1::Upload>, Status> {
        let sha256 = request.into_inner().sha256;
        Err(not_found("upload", &sha256, reason::UPLOAD_NOT_FOUND))
    }

    async fn list_datasets(
        &self,
        request: Request<v1::ListDatasetsRequest>,
    ) -> Result<Response<v1::ListDatasetsResponse>, Status> {
        let v1::ListDatasetsRequest { page_size, page_token } = request.into_inner();
        let (datasets, next_page_token) = part(&mut 0, &self.world().datasets, page_size, page_token);
        Ok(Response::new(v1::ListDatasetsResponse { datasets, next_page_token }))
    }

    async fn get_dataset(
        &self,
        request: Request<v1::GetDatasetRequest>,
    ) -> Result<Response<v1::Dataset>, Status> {
        Ok(Response::new(self.dataset(&request.into_inner().id)?.into()))
    }

    async fn preview_dataset(
        &self,
        request: Request<v1::PreviewDatasetRequest>,
    ) -> Result<Response<v1::PreviewDatasetResponse>, Status> {
        let v1::PreviewDatasetRequest { id: _, page_size, page_token } = request.into_inner();
        let (rows, next_page_token) = part(&mut 0, &self.world().rows, page_size, page_token);
        Ok(Response::new(v1::PreviewDatasetResponse { rows, next_page_token }))
    }

    async fn validate_dataset(
        &self,
        request: Request<v1::ValidateDatasetRequest>,
    ) -> Result<Response<Self::ValidateDatasetStream>, Status> {
        let check = request.into_inner().check.expect("a check");
        let check = DataCheck::try_from(check).expect("a check of core's");
        let report = {
            let mut world = self.world();
            world.checks.push(check);
            world.report.clone()
        };
        let unit = Some("bytes".to_owned());
        let progress = CheckProgress { phase: Phase::Validating, done: Some(512), total: Some(1_024), unit };
        let parts = [CheckPart::Progress(progress), CheckPart::Report(Box::new(report))];
        Ok(Response::new(Box::pin(tokio_stream::iter(parts.map(|part| Ok(part.into()))))))
    }

    async fn get_dataset_report(
        &self,
        request: Request<v1::GetDatasetReportRequest>,
    ) -> Result<Response<v1::KeptDatasetReport>, Status> {
        let v1::GetDatasetReportRequest { id, number } = request.into_inner();
        let summary = self.dataset(&id)?.report.expect("it has one");
        if number > 1 {
            return Err(not_found("report", &format!("{id}/{number}"), reason::REPORT_NOT_FOUND));
        }
        let report = self.world().report.clone();
        Ok(Response::new(KeptReport { summary, check: DataCheck::default(), report }.into()))
    }

    async fn list_dataset_reports(
        &self,
        request: Request<v1::ListDatasetReportsRequest>,
    ) -> Result<Response<v1::ListDatasetReportsResponse>, Status> {
        let summary = self.dataset(&request.into_inner().id)?.report.expect("it has one");
        Ok(Response::new(v1::ListDatasetReportsResponse { reports: vec![summary.into()] }))
    }

    async fn render_sample(
        &self,
        request: Request<v1::RenderSampleRequest>,
    ) -> Result<Response<v1::RenderedRow>, Status> {
        let v1::RenderSampleRequest { id, row, model, chat_template: _ } = request.into_inner();
        self.dataset(&id)?;
        let token = |id, text: &str, is_trained| RenderedToken { id, text: text.to_owned(), is_trained };
        let tokens = vec![token(1, &model, false), token(2, " says", true), token(3, " hi\u{1b}", true)];
        let text = RenderedText { role: "text".to_owned(), text: String::new(), tokens };
        Ok(Response::new(RenderedRow { number: row, texts: vec![text] }.into()))
    }

    async fn split_dataset(
        &self,
        request: Request<v1::SplitDatasetRequest>,
    ) -> Result<Response<v1::SplitDatasetResponse>, Status> {
        let v1::SplitDatasetRequest { id, by, train_name, eval_name } = request.into_inner();
        let dataset = self.dataset(&id)?;
        self.world().splits.push(SplitBy::from(by.expect("a way")));
        let half = |name: String, ending: &str| {
            let name = page::some_text(name).unwrap_or_else(|| format!("{}-{ending}", dataset.name));
            self.import(&name, Path::new("/data/datasets/x.jsonl"), FileOwner::Service, DataFormat::Messages)
        };
        let (train, eval) = (half(train_name, "train"), half(eval_name, "eval"));
        let (train, eval) = (Some(train.into()), Some(eval.into()));
        Ok(Response::new(v1::SplitDatasetResponse { train, eval }))
    }

    async fn delete_dataset(
        &self,
        request: Request<v1::DeleteDatasetRequest>,
    ) -> Result<Response<()>, Status> {
        let id = request.into_inner().id;
        self.world().datasets.retain(|dataset| dataset.id.as_str() != id);
        Ok(Response::new(()))
    }
}
