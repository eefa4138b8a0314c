//! Jobs.

use ftl_core::job::{Artifact, Attempt, Job, JobEvent, State};
use ftl_core::{JobId, JobSpec, Page, PageRequest};
use futures_util::Stream;

use super::Client;
use super::call::{MAX_ANSWER_BYTES, Manner, Repeat};
use super::connect::AuthorizedChannel;
use crate::error::ClientError;
use crate::wire::v1::job_service_client::JobServiceClient;
use crate::wire::{Numbered as _, WireError, each, page, v1};
use v1::stream_metrics_response::Item as MetricItem;
use v1::watch_events_response::Item as EventItem;

/// Whether a stream goes on after what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Until the job is at rest.
    Live,
    /// It ends after what is committed now.
    Committed,
}

impl Client {
    pub(super) fn jobs_stub(&self) -> JobServiceClient<AuthorizedChannel> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// Judges a spec and queues a job. The same request id and spec give the job that was made before.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a spec that can't be used, [`ClientError::AlreadyExists`] if the request id came
    /// with another spec.
    pub async fn create_job(&self, spec: &JobSpec, request_id: Option<&str>) -> Result<Job, ClientError> {
        let repeat = match request_id {
            Some(_) => Repeat::WhileUnavailable,
            None => Repeat::Never,
        };
        let request = v1::CreateJobRequest {
            spec: Some(spec.clone().into()),
            request_id: request_id.map(str::to_owned),
            from: None,
        };
        Ok(self
            .call(
                Manner { repeat, limit: self.limits.answer },
                self.jobs_stub(),
                request,
                |mut stub, request| async move { stub.create_job(request).await },
            )
            .await?
            .try_into()?)
    }

    /// A job.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if there is none with this id.
    pub async fn job(&self, id: &JobId) -> Result<Job, ClientError> {
        let request = v1::GetJobRequest { id: id.to_string() };
        Ok(self
            .call(self.to_read(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.get_job(request).await
            })
            .await?
            .try_into()?)
    }

    /// Jobs, newest first; those in one of the states, or in any where none is given.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a page token that the server did not give.
    pub async fn jobs(&self, page: &PageRequest, states: &[State]) -> Result<Page<Job>, ClientError> {
        let PageRequest { page_size, page_token } = page.clone();
        let request = v1::ListJobsRequest {
            page_size,
            page_token: page::token(page_token),
            states: states.iter().map(|state| state.number()).collect(),
        };
        let v1::ListJobsResponse { jobs, next_page_token } = self
            .call(self.to_read(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.list_jobs(request).await
            })
            .await?;
        Ok(page::page("ListJobsResponse", "jobs", jobs, next_page_token)?)
    }

    /// Asks a job to save and stop.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Precondition`] if no worker is at it.
    pub async fn stop_job(&self, id: &JobId) -> Result<Job, ClientError> {
        let request = v1::StopJobRequest { id: id.to_string() };
        Ok(self
            .call(self.to_change(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.stop_job(request).await
            })
            .await?
            .try_into()?)
    }

    /// Queues a job again that was stopped, failed or was interrupted.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Precondition`] if it is in another state.
    pub async fn resume_job(&self, id: &JobId) -> Result<Job, ClientError> {
        let request = v1::ResumeJobRequest { id: id.to_string() };
        Ok(self
            .call(self.to_change(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.resume_job(request).await
            })
            .await?
            .try_into()?)
    }

    /// Gives a job up.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Precondition`] if nothing can follow its state.
    pub async fn cancel_job(&self, id: &JobId) -> Result<Job, ClientError> {
        let request = v1::CancelJobRequest { id: id.to_string() };
        Ok(self
            .call(self.to_change(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.cancel_job(request).await
            })
            .await?
            .try_into()?)
    }

    /// Removes a job at rest with all its files.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Precondition`] if it is not at rest.
    pub async fn delete_job(&self, id: &JobId) -> Result<(), ClientError> {
        let request = v1::DeleteJobRequest { id: id.to_string() };
        self.call(self.to_change_files(), self.jobs_stub(), request, |mut stub, request| async move {
            stub.delete_job(request).await
        })
        .await
    }

    /// Everything that happened and happens in a job after `after_seq`, in order, each event once, also where the
    /// server goes away and comes back meanwhile. Ends when the job is at rest.
    ///
    /// An error is the last item: one that [`Client::job`] may have, or that of a server which did not come back
    /// within [`Limits::reconnect`](super::Limits::reconnect).
    pub fn watch_events(
        &self,
        id: &JobId,
        after_seq: u64,
    ) -> impl Stream<Item = Result<JobEvent, ClientError>> + Send + Unpin + use<> {
        let job_id = id.to_string();
        let open = move |client: Self, after_seq| {
            let request = v1::WatchEventsRequest { job_id: job_id.clone(), after_seq };
            async move { client.jobs_stub().watch_events(request).await }
        };
        self.follow(after_seq, self.limits.silence, open, |after_seq, response: v1::WatchEventsResponse| {
            match response.item {
                Some(EventItem::Event(event)) => new_event(after_seq, event, "WatchEventsResponse", "event"),
                Some(EventItem::Heartbeat(v1::Heartbeat { seq: _ })) => Ok(None),
                None => Err(WireError::missing("WatchEventsResponse", "item")),
            }
        })
    }

    /// The steps and evaluations of a job after `after_seq`, as [`Client::watch_events`] gives them.
    pub fn stream_metrics(
        &self,
        id: &JobId,
        after_seq: u64,
        follow: Follow,
    ) -> impl Stream<Item = Result<JobEvent, ClientError>> + Send + Unpin + use<> {
        let job_id = id.to_string();
        let committed_only = match follow {
            Follow::Live => false,
            Follow::Committed => true,
        };
        let open = move |client: Self, after_seq| {
            let request = v1::StreamMetricsRequest { job_id: job_id.clone(), after_seq, committed_only };
            async move { client.jobs_stub().stream_metrics(request).await }
        };
        self.follow(after_seq, self.limits.silence, open, |after_seq, response: v1::StreamMetricsResponse| {
            match response.item {
                Some(MetricItem::Metric(event)) => {
                    new_event(after_seq, event, "StreamMetricsResponse", "metric")
                }
                Some(MetricItem::Heartbeat(v1::Heartbeat { seq: _ })) => Ok(None),
                None => Err(WireError::missing("StreamMetricsResponse", "item")),
            }
        })
    }

    /// The processes that worked on a job, oldest first.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn attempts(&self, id: &JobId) -> Result<Vec<Attempt>, ClientError> {
        let request = v1::ListAttemptsRequest { job_id: id.to_string() };
        let v1::ListAttemptsResponse { attempts } = self
            .call(self.to_read(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.list_attempts(request).await
            })
            .await?;
        Ok(each("ListAttemptsResponse", "attempts", attempts)?)
    }

    /// What a job made, oldest first.
    ///
    /// # Errors
    /// As [`Client::job`].
    pub async fn artifacts(&self, id: &JobId) -> Result<Vec<Artifact>, ClientError> {
        let request = v1::ListArtifactsRequest { job_id: id.to_string() };
        let v1::ListArtifactsResponse { artifacts } = self
            .call(self.to_read(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.list_artifacts(request).await
            })
            .await?;
        Ok(each("ListArtifactsResponse", "artifacts", artifacts)?)
    }

    /// The end of what a worker wrote to stdout and stderr, and which attempt it was; `None`: the last one.
    ///
    /// # Errors
    /// As [`Client::job`], also if there is no such attempt.
    pub async fn log(&self, id: &JobId, attempt: Option<u32>) -> Result<(u32, String), ClientError> {
        let request = v1::GetLogRequest { job_id: id.to_string(), attempt: attempt.unwrap_or(0) };
        let v1::GetLogResponse { attempt, text } = self
            .call(self.to_read(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.get_log(request).await
            })
            .await?;
        Ok((attempt, text))
    }
}

/// The event and its number as the new cursor; `None` where it was seen before.
fn new_event(
    after_seq: &mut u64,
    event: v1::JobEvent,
    message: &'static str,
    field: &str,
) -> Result<Option<JobEvent>, WireError> {
    let event = JobEvent::try_from(event).map_err(|error| error.inside(message, field))?;
    if event.record.seq <= *after_seq {
        return Ok(None);
    }
    *after_seq = event.record.seq;
    Ok(Some(event))
}
