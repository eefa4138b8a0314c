//! The fake's jobs.

use std::pin::Pin;

use ftl_client::wire::details::{Details, pack, reason};
use ftl_client::wire::{Numbered as _, v1};
use ftl_core::job::{Job, JobEvent, Move, Parent, Progress, State};
use ftl_core::{Event, JobId, JobSpec};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use v1::job_service_server::JobService;
use v1::stream_metrics_response::Item as MetricItem;
use v1::watch_events_response::Item as EventItem;

use super::super::BEGIN;
use super::{Service, part};

/// The step of the newest checkpoint of every job.
const NEWEST: u64 = 50;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl JobService for Service {
    async fn create_job(&self, request: Request<v1::CreateJobRequest>) -> Result<Response<v1::Job>, Status> {
        let v1::CreateJobRequest { spec, request_id, from } = request.into_inner();
        let mut world = self.world();
        world.request_ids.push(request_id);
        if let Some(refusal) = &world.refusal {
            return Err(refusal.clone());
        }
        let spec = JobSpec::try_from(spec.expect("a spec")).expect("a spec of core's");
        let id = JobId::from_bits(1_000 + world.jobs.len() as u64);
        let job = Job {
            name: spec.name.clone().unwrap_or_else(|| "unnamed".to_owned()),
            directory: format!("/data/jobs/{id}").into(),
            id,
            spec,
            state: State::Queued,
            reason: None,
            problems: Vec::new(),
            waiting: None,
            queue_place: Some(1),
            parent: from.map(|from| Parent {
                job: from.job_id.parse().expect("an id"),
                step: from.step.unwrap_or(NEWEST),
            }),
            phase: None,
            progress: Progress::default(),
            n_attempts: 0,
            seq: 0,
            created_unix_ms: BEGIN,
            started_unix_ms: None,
            ended_unix_ms: None,
        };
        world.add(job.clone());
        world.append(&job.id, [Event::State { state: State::Queued, reason: None }]);
        drop(world);
        self.tell();
        Ok(Response::new(job.into()))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        Ok(Response::new(self.world().job(&request.into_inner().id)?.clone().into()))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let v1::ListJobsRequest { page_size, page_token, states } = request.into_inner();
        let mut world = self.world();
        let is_asked = |job: &&Job| states.is_empty() || states.contains(&job.state.number());
        let jobs: Vec<Job> = world.jobs.iter().filter(is_asked).cloned().collect();
        let (jobs, next_page_token) = part(&mut world.n_further_pages, &jobs, page_size, page_token);
        Ok(Response::new(v1::ListJobsResponse { jobs, next_page_token }))
    }

    async fn stop_job(&self, request: Request<v1::StopJobRequest>) -> Result<Response<v1::Job>, Status> {
        Ok(Response::new(self.world().transition(&request.into_inner().id, State::Stopping)?.into()))
    }

    async fn resume_job(&self, request: Request<v1::ResumeJobRequest>) -> Result<Response<v1::Job>, Status> {
        Ok(Response::new(self.world().transition(&request.into_inner().id, State::Queued)?.into()))
    }

    async fn move_job(&self, request: Request<v1::MoveJobRequest>) -> Result<Response<v1::Job>, Status> {
        let change = Move::try_from(request.into_inner()).expect("a move of core's");
        let mut world = self.world();
        let job = world.job(change.job.as_str())?.clone();
        world.moves.push(change);
        Ok(Response::new(job.into()))
    }

    async fn get_queue_settings(
        &self,
        _request: Request<v1::GetQueueSettingsRequest>,
    ) -> Result<Response<v1::QueueSettings>, Status> {
        Ok(Response::new(v1::QueueSettings { min_free_disk_bytes: self.world().min_free_disk_bytes }))
    }

    async fn update_queue_settings(
        &self,
        request: Request<v1::UpdateQueueSettingsRequest>,
    ) -> Result<Response<v1::QueueSettings>, Status> {
        let settings = request.into_inner().settings.expect("settings");
        self.world().min_free_disk_bytes = settings.min_free_disk_bytes;
        Ok(Response::new(settings))
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Result<Response<v1::Job>, Status> {
        Ok(Response::new(self.world().transition(&request.into_inner().id, State::Cancelled)?.into()))
    }

    async fn delete_job(&self, request: Request<v1::DeleteJobRequest>) -> Result<Response<()>, Status> {
        let id = request.into_inner().id;
        let mut world = self.world();
        let state = world.job(&id)?.state;
        if !state.is_at_rest() {
            let what = format!("the job is {state}; stop or cancel it first");
            let details = Details { reason: reason::ILLEGAL_TRANSITION.to_owned(), ..Details::default() };
            return Err(pack(Code::FailedPrecondition, what, details));
        }
        world.jobs.retain(|job| job.id.as_str() != id);
        Ok(Response::new(()))
    }

    type WatchEventsStream = Answers<v1::WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let v1::WatchEventsRequest { job_id, after_seq } = request.into_inner();
        let id = self.world().job(&job_id)?.id.clone();
        let break_after = {
            let mut world = self.world();
            world.n_watches += 1;
            world.break_after.take()
        };
        let service = self.clone();
        Ok(Response::new(Box::pin(async_stream::stream! {
            let mut changed = service.changed.subscribe();
            let mut after = after_seq;
            let mut n_sent = 0;
            loop {
                changed.borrow_and_update();
                let (events, is_at_rest) = service.events(&id, after);
                for event in events {
                    if break_after == Some(n_sent) {
                        yield Err(Status::unavailable("the service is shutting down"));
                        return;
                    }
                    after = event.record.seq;
                    n_sent += 1;
                    yield Ok(v1::WatchEventsResponse { item: Some(EventItem::Event(event.into())) });
                }
                if is_at_rest || changed.changed().await.is_err() {
                    return;
                }
            }
        })))
    }

    type StreamMetricsStream = Answers<v1::StreamMetricsResponse>;

    async fn stream_metrics(
        &self,
        request: Request<v1::StreamMetricsRequest>,
    ) -> Result<Response<Self::StreamMetricsStream>, Status> {
        let v1::StreamMetricsRequest { job_id, after_seq, committed_only } = request.into_inner();
        assert!(committed_only, "the program follows by events alone");
        let id = self.world().job(&job_id)?.id.clone();
        let (events, _) = self.events(&id, after_seq);
        let is_metric =
            |event: &JobEvent| matches!(event.record.event, Event::Stepped(_) | Event::Evaluated(_));
        let metrics: Vec<_> = events
            .into_iter()
            .filter(is_metric)
            .map(|event| Ok(v1::StreamMetricsResponse { item: Some(MetricItem::Metric(event.into())) }))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(metrics))))
    }

    async fn list_attempts(
        &self,
        request: Request<v1::ListAttemptsRequest>,
    ) -> Result<Response<v1::ListAttemptsResponse>, Status> {
        let mut world = self.world();
        world.job(&request.into_inner().job_id)?;
        let attempts = world.attempts.iter().cloned().map(v1::Attempt::from).collect();
        Ok(Response::new(v1::ListAttemptsResponse { attempts }))
    }

    async fn list_artifacts(
        &self,
        request: Request<v1::ListArtifactsRequest>,
    ) -> Result<Response<v1::ListArtifactsResponse>, Status> {
        let mut world = self.world();
        world.job(&request.into_inner().job_id)?;
        let artifacts = world.artifacts.iter().cloned().map(v1::Artifact::from).collect();
        Ok(Response::new(v1::ListArtifactsResponse { artifacts }))
    }

    async fn get_log(
        &self,
        request: Request<v1::GetLogRequest>,
    ) -> Result<Response<v1::GetLogResponse>, Status> {
        let v1::GetLogRequest { job_id, attempt } = request.into_inner();
        let mut world = self.world();
        let last = world.job(&job_id)?.n_attempts;
        let attempt = if attempt == 0 { last } else { attempt };
        if attempt > last {
            return Err(super::not_found("attempt", &attempt.to_string(), reason::JOB_NOT_FOUND));
        }
        Ok(Response::new(v1::GetLogResponse { attempt, text: world.log.clone() }))
    }
}

impl Service {
    /// The events after a number, and whether there will be no more.
    fn events(&self, id: &JobId, after: u64) -> (Vec<JobEvent>, bool) {
        let world = self.world();
        let all = world.events.get(id).map_or(&[][..], Vec::as_slice);
        let events = all.iter().filter(|event| event.record.seq > after).cloned().collect();
        let is_at_rest = world.jobs.iter().find(|job| job.id == *id).is_none_or(|job| job.state.is_at_rest());
        (events, is_at_rest)
    }
}
