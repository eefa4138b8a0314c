//! The queue of jobs: its order, its settings, and new jobs that begin where another stood.

use ftl_core::JobSpec;
use ftl_core::job::{Job, Move, QueueSettings, StartFrom};

use super::Client;
use super::call::{Manner, Repeat};
use crate::error::ClientError;
use crate::wire::v1;

impl Client {
    /// Judges a spec and queues a job that begins with a checkpoint of another. The same request id, spec and checkpoint
    /// give the job that was made before.
    ///
    /// # Errors
    /// As [`Client::create_job`], and [`ClientError::NotFound`] or [`ClientError::Precondition`] where there is no such
    /// job or checkpoint.
    pub async fn create_job_from(
        &self,
        spec: &JobSpec,
        from: StartFrom,
        request_id: &str,
    ) -> Result<Job, ClientError> {
        let request = v1::CreateJobRequest {
            spec: Some(spec.clone().into()),
            request_id: Some(request_id.to_owned()),
            from: Some(from.into()),
        };
        let manner = Manner { repeat: Repeat::WhileUnavailable, limit: self.limits.long_answer };
        Ok(self
            .call(manner, self.jobs_stub(), request, |mut stub, request| async move {
                stub.create_job(request).await
            })
            .await?
            .try_into()?)
    }

    /// Changes the queue's order.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Precondition`] if a job is not in the queue, or not at the place
    /// where the caller saw it.
    pub async fn move_job(&self, change: Move) -> Result<Job, ClientError> {
        let request = v1::MoveJobRequest::from(change);
        Ok(self
            .call(self.to_change(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.move_job(request).await
            })
            .await?
            .try_into()?)
    }

    /// What a start waits for beside a free place.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn queue_settings(&self) -> Result<QueueSettings, ClientError> {
        let request = v1::GetQueueSettingsRequest {};
        Ok(self
            .call(self.to_read(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.get_queue_settings(request).await
            })
            .await?
            .into())
    }

    /// Changes what a start waits for.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for values that the service does not take.
    pub async fn update_queue_settings(&self, settings: QueueSettings) -> Result<QueueSettings, ClientError> {
        let request = v1::UpdateQueueSettingsRequest { settings: Some(settings.into()) };
        Ok(self
            .call(self.to_change(), self.jobs_stub(), request, |mut stub, request| async move {
                stub.update_queue_settings(request).await
            })
            .await?
            .into())
    }
}
