//! Checkpoints.

use std::path::Path;

use ftl_core::job::Checkpoint;
use ftl_core::{JobId, Page, PageRequest};

use super::call::MAX_ANSWER_BYTES;
use super::connect::AuthorizedChannel;
use super::{Client, path_text};
use crate::error::ClientError;
use crate::wire::v1::checkpoint_service_client::CheckpointServiceClient;
use crate::wire::{page, v1};

/// Which checkpoints a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Those that are on disk.
    OnDisk,
    /// Also those that are not any more.
    Removed,
}

impl Client {
    fn checkpoints_stub(&self) -> CheckpointServiceClient<AuthorizedChannel> {
        CheckpointServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// The checkpoints of a job, newest first.
    ///
    /// # Errors
    /// As [`Client::job`]; [`ClientError::Refused`] for a page token that the server did not give.
    pub async fn checkpoints(
        &self,
        id: &JobId,
        page: &PageRequest,
        show: Show,
    ) -> Result<Page<Checkpoint>, ClientError> {
        let PageRequest { page_size, page_token } = page.clone();
        let request = v1::ListCheckpointsRequest {
            job_id: id.to_string(),
            page_size,
            page_token: page::token(page_token),
            show_removed: show == Show::Removed,
        };
        let v1::ListCheckpointsResponse { checkpoints, next_page_token } = self
            .call(self.to_read(), self.checkpoints_stub(), request, |mut stub, request| async move {
                stub.list_checkpoints(request).await
            })
            .await?;
        Ok(page::page("ListCheckpointsResponse", "checkpoints", checkpoints, next_page_token)?)
    }

    /// A checkpoint of a job by its name, `checkpoint-500`.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] if the job never had one of this name.
    pub async fn checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ClientError> {
        let request = v1::GetCheckpointRequest { job_id: id.to_string(), name: name.to_owned() };
        Ok(self
            .call(self.to_read(), self.checkpoints_stub(), request, |mut stub, request| async move {
                stub.get_checkpoint(request).await
            })
            .await?
            .try_into()?)
    }

    /// Has a job that trains save after the step under way and go on; the answer is the checkpoint. One that takes
    /// longer than [`Limits::long_answer`](super::Limits::long_answer) is made all the same.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], and [`ClientError::Precondition`] if no worker trains or it ends before it saves.
    pub async fn save_checkpoint(&self, id: &JobId) -> Result<Checkpoint, ClientError> {
        let request = v1::CreateCheckpointRequest { job_id: id.to_string() };
        Ok(self
            .call(self.to_change_files(), self.checkpoints_stub(), request, |mut stub, request| async move {
                stub.create_checkpoint(request).await
            })
            .await?
            .try_into()?)
    }

    /// Keeps a checkpoint, whatever the spec says.
    ///
    /// # Errors
    /// As [`Client::checkpoint`], and [`ClientError::Precondition`] if it is not on disk any more.
    pub async fn pin_checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ClientError> {
        let request = v1::PinCheckpointRequest { job_id: id.to_string(), name: name.to_owned() };
        Ok(self
            .call(self.to_change(), self.checkpoints_stub(), request, |mut stub, request| async move {
                stub.pin_checkpoint(request).await
            })
            .await?
            .try_into()?)
    }

    /// Lets a checkpoint go again, as the spec says.
    ///
    /// # Errors
    /// As [`Client::checkpoint`].
    pub async fn unpin_checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ClientError> {
        let request = v1::UnpinCheckpointRequest { job_id: id.to_string(), name: name.to_owned() };
        Ok(self
            .call(self.to_change(), self.checkpoints_stub(), request, |mut stub, request| async move {
                stub.unpin_checkpoint(request).await
            })
            .await?
            .try_into()?)
    }

    /// Deletes a checkpoint.
    ///
    /// # Errors
    /// As [`Client::checkpoint`], and [`ClientError::Precondition`] if it is pinned or its job may need it.
    pub async fn delete_checkpoint(&self, id: &JobId, name: &str) -> Result<(), ClientError> {
        let request = v1::DeleteCheckpointRequest { job_id: id.to_string(), name: name.to_owned() };
        self.call(self.to_change_files(), self.checkpoints_stub(), request, |mut stub, request| async move {
            stub.delete_checkpoint(request).await
        })
        .await
    }

    /// Compares every file of a checkpoint with what was written; the answer says what it came to.
    ///
    /// # Errors
    /// As [`Client::pin_checkpoint`].
    pub async fn verify_checkpoint(&self, id: &JobId, name: &str) -> Result<Checkpoint, ClientError> {
        let request = v1::VerifyCheckpointRequest { job_id: id.to_string(), name: name.to_owned() };
        Ok(self
            .call(self.to_read_files(), self.checkpoints_stub(), request, |mut stub, request| async move {
                stub.verify_checkpoint(request).await
            })
            .await?
            .try_into()?)
    }

    /// Copies of a checkpoint what other programs load into a new directory on the machine of the server, and gives
    /// the size of its files in bytes.
    ///
    /// # Errors
    /// As [`Client::pin_checkpoint`], also if it is damaged; [`ClientError::Refused`] if there is something at `path`.
    pub async fn export_checkpoint(&self, id: &JobId, name: &str, path: &Path) -> Result<u64, ClientError> {
        let request = v1::ExportCheckpointRequest {
            job_id: id.to_string(),
            name: name.to_owned(),
            path: path_text(path)?,
        };
        let v1::ExportCheckpointResponse { path: _, bytes } = self
            .call(self.to_change_files(), self.checkpoints_stub(), request, |mut stub, request| async move {
                stub.export_checkpoint(request).await
            })
            .await?;
        Ok(bytes)
    }
}
