//! `JobService`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use ftl_client::wire::v1::job_service_server::JobService;
use ftl_client::wire::{Numbered, page, required, v1};
use ftl_core::job::{Attempt, Job, Move, QueueSettings, StartFrom, State};
use ftl_core::{Event, JobId, JobSpec, Problem, ProblemKind};
use tonic::{Request, Response, Status, async_trait};

use super::follow::{Kind, Until};
use super::{Answers, Api, request};
use crate::error::ServiceError;

/// How much of a log is given: its end.
const MAX_LOG_BYTES: u64 = 256 << 10;

impl Api {
    /// The job of this id.
    pub(super) async fn job(&self, id: &JobId) -> Result<Job, ServiceError> {
        let job = self.store().job(id).await?;
        job.ok_or_else(|| ServiceError::NotFound { what: "job", id: id.to_string() })
    }

    async fn log(&self, id: &JobId, number: u32) -> Result<v1::GetLogResponse, ServiceError> {
        self.job(id).await?;
        let mut attempts = self.store().attempts(id).await.map_err(|error| named(error, id))?;
        let attempt = match number {
            0 => attempts.pop().ok_or_else(|| {
                ServiceError::Precondition(
                    Problem::new(
                        ProblemKind::NotFound,
                        "no worker was started for this job yet, so there is no log",
                    )
                    .hint("ask again when the job has left QUEUED"),
                )
            })?,
            number => attempts
                .into_iter()
                .find(|attempt| attempt.number == number)
                .ok_or_else(|| ServiceError::NotFound { what: "attempt", id: format!("{id}/{number}") })?,
        };
        let Attempt { number, started_unix_ms: _, ended_unix_ms: _, exit: _, log_tail } = attempt;
        let path = self.0.parts.dir.attempt_log(id, number);
        let text = match Self::blocking(move || tail(&path)).await? {
            Ok(text) => text,
            // A worker that could not be started wrote nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => log_tail.unwrap_or_default(),
            Err(error) => return Err(error.into()),
        };
        Ok(v1::GetLogResponse { attempt: number, text })
    }
}

fn named(error: ftl_store::StoreError, id: &JobId) -> ServiceError {
    ServiceError::from(error).about("job", id)
}

/// As the store sorts events.
fn is_metric(event: &Event) -> bool {
    match event {
        Event::Stepped(_) | Event::Evaluated(_) => true,
        Event::State { .. }
        | Event::Phase { .. }
        | Event::Note { .. }
        | Event::Sampled(_)
        | Event::Saved { .. }
        | Event::Removed { .. }
        | Event::Damaged { .. }
        | Event::Exported { .. } => false,
    }
}

/// The end of a file as text; what is no UTF-8 becomes `�`.
fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let n_bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(n_bytes.saturating_sub(MAX_LOG_BYTES)))?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(MAX_LOG_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[async_trait]
impl JobService for Api {
    type WatchEventsStream = Answers<v1::WatchEventsResponse>;
    type StreamMetricsStream = Answers<v1::StreamMetricsResponse>;

    async fn create_job(&self, request: Request<v1::CreateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let v1::CreateJobRequest { spec, request_id, from } = request.into_inner();
        let spec: JobSpec = required("CreateJobRequest", "spec", spec).map_err(ServiceError::from)?;
        let request_id = request::request_id(request_id)?;
        let from = from.map(StartFrom::try_from).transpose().map_err(ServiceError::from)?;
        let spec = self.0.parts.resolver.spec(spec).await?;
        Ok(Response::new(self.0.parts.jobs.create(spec, from, request_id).await?.into()))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        let v1::GetJobRequest { id } = request.into_inner();
        Ok(Response::new(self.job(&request::id("id", &id)?).await?.into()))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let v1::ListJobsRequest { page_size, page_token, states } = request.into_inner();
        let states = states
            .into_iter()
            .enumerate()
            .map(|(place, state)| State::required("ListJobsRequest", &format!("states[{place}]"), state))
            .collect::<Result<Vec<_>, _>>()
            .map_err(ServiceError::from)?;
        let jobs = self.store().jobs(&request::page(page_size, page_token), &states).await;
        let jobs = jobs.map_err(ServiceError::from)?;
        Ok(Response::new(v1::ListJobsResponse {
            jobs: jobs.items.into_iter().map(v1::Job::from).collect(),
            next_page_token: page::token(jobs.next_page_token),
        }))
    }

    async fn stop_job(&self, request: Request<v1::StopJobRequest>) -> Result<Response<v1::Job>, Status> {
        let v1::StopJobRequest { id } = request.into_inner();
        let id: JobId = request::id("id", &id)?;
        let job = self.0.parts.jobs.stop(&id).await.map_err(|error| error.about("job", &id))?;
        Ok(Response::new(job.into()))
    }

    async fn resume_job(&self, request: Request<v1::ResumeJobRequest>) -> Result<Response<v1::Job>, Status> {
        let v1::ResumeJobRequest { id } = request.into_inner();
        let id: JobId = request::id("id", &id)?;
        let job = self.0.parts.jobs.resume(&id).await.map_err(|error| error.about("job", &id))?;
        Ok(Response::new(job.into()))
    }

    async fn move_job(&self, request: Request<v1::MoveJobRequest>) -> Result<Response<v1::Job>, Status> {
        let change = Move::try_from(request.into_inner()).map_err(ServiceError::from)?;
        let id = change.job.clone();
        let job = self.0.parts.jobs.move_to(change).await.map_err(|error| error.about("job", &id))?;
        Ok(Response::new(job.into()))
    }

    async fn get_queue_settings(
        &self,
        request: Request<v1::GetQueueSettingsRequest>,
    ) -> Result<Response<v1::QueueSettings>, Status> {
        let v1::GetQueueSettingsRequest {} = request.into_inner();
        Ok(Response::new(self.0.parts.jobs.queue_settings().await?.into()))
    }

    async fn update_queue_settings(
        &self,
        request: Request<v1::UpdateQueueSettingsRequest>,
    ) -> Result<Response<v1::QueueSettings>, Status> {
        let v1::UpdateQueueSettingsRequest { settings } = request.into_inner();
        let settings: QueueSettings =
            required("UpdateQueueSettingsRequest", "settings", settings).map_err(ServiceError::from)?;
        self.0.parts.jobs.set_queue_settings(settings).await?;
        Ok(Response::new(settings.into()))
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Result<Response<v1::Job>, Status> {
        let v1::CancelJobRequest { id } = request.into_inner();
        let id: JobId = request::id("id", &id)?;
        let job = self.0.parts.jobs.cancel(&id).await.map_err(|error| error.about("job", &id))?;
        Ok(Response::new(job.into()))
    }

    async fn delete_job(&self, request: Request<v1::DeleteJobRequest>) -> Result<Response<()>, Status> {
        let v1::DeleteJobRequest { id } = request.into_inner();
        let id: JobId = request::id("id", &id)?;
        self.0.parts.jobs.delete(&id).await.map_err(|error| error.about("job", &id))?;
        Ok(Response::new(()))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        use v1::watch_events_response::Item;

        let v1::WatchEventsRequest { job_id, after_seq } = request.into_inner();
        let kind = Kind {
            read: |store, id, after_seq, limit| store.events_after(id, after_seq, limit),
            has: |_| true,
            event: |event| v1::WatchEventsResponse { item: Some(Item::Event(event)) },
            heartbeat: |heartbeat| v1::WatchEventsResponse { item: Some(Item::Heartbeat(heartbeat)) },
        };
        let id = request::id("job_id", &job_id)?;
        Ok(Response::new(self.follow(id, after_seq, Until::Rest, kind).await?))
    }

    async fn stream_metrics(
        &self,
        request: Request<v1::StreamMetricsRequest>,
    ) -> Result<Response<Self::StreamMetricsStream>, Status> {
        use v1::stream_metrics_response::Item;

        let v1::StreamMetricsRequest { job_id, after_seq, committed_only } = request.into_inner();
        let kind = Kind {
            read: |store, id, after_seq, limit| store.metrics_after(id, after_seq, limit),
            has: is_metric,
            event: |event| v1::StreamMetricsResponse { item: Some(Item::Metric(event)) },
            heartbeat: |heartbeat| v1::StreamMetricsResponse { item: Some(Item::Heartbeat(heartbeat)) },
        };
        let id = request::id("job_id", &job_id)?;
        let until = if committed_only { Until::Committed } else { Until::Rest };
        Ok(Response::new(self.follow(id, after_seq, until, kind).await?))
    }

    async fn list_attempts(
        &self,
        request: Request<v1::ListAttemptsRequest>,
    ) -> Result<Response<v1::ListAttemptsResponse>, Status> {
        let v1::ListAttemptsRequest { job_id } = request.into_inner();
        let id = request::id("job_id", &job_id)?;
        self.job(&id).await?;
        let attempts = self.store().attempts(&id).await.map_err(|error| named(error, &id))?;
        let attempts = attempts.into_iter().map(v1::Attempt::from).collect();
        Ok(Response::new(v1::ListAttemptsResponse { attempts }))
    }

    async fn list_artifacts(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<v1::ListArtifactsResponse>, Status> {
        let v1::ListArtifactsRequest { job_id } = request.into_inner();
        let id = request::id("job_id", &job_id)?;
        self.job(&id).await?;
        let artifacts = self.store().artifacts(&id).await.map_err(|error| named(error, &id))?;
        let artifacts = artifacts.into_iter().map(v1::Artifact::from).collect();
        Ok(Response::new(v1::ListArtifactsResponse { artifacts }))
    }

    async fn get_log(
        &self,
        request: Request<v1::GetLogRequest>,
    ) -> Result<Response<v1::GetLogResponse>, Status> {
        let v1::GetLogRequest { job_id, attempt } = request.into_inner();
        Ok(Response::new(self.log(&request::id("job_id", &job_id)?, attempt).await?))
    }
}
