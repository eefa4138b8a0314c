//! `CheckpointService`.

use ftl_client::wire::v1::checkpoint_service_server::CheckpointService;
use ftl_client::wire::{page, v1};
use ftl_core::JobId;
use ftl_store::Listed;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, request};
use crate::error::ServiceError;

#[async_trait]
impl CheckpointService for Api {
    async fn list_checkpoints(
        &self,
        request: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<v1::ListCheckpointsResponse>, Status> {
        let v1::ListCheckpointsRequest { job_id, page_size, page_token, show_removed } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let listed = if show_removed { Listed::All } else { Listed::OnDisk };
        let page = request::page(page_size, page_token);
        let listed = self.store().list_checkpoints(&id, &page, listed).await;
        let checkpoints = listed.map_err(|error| ServiceError::from(error).about("job", &id))?;
        Ok(Response::new(v1::ListCheckpointsResponse {
            checkpoints: checkpoints.items.into_iter().map(v1::Checkpoint::from).collect(),
            next_page_token: page::token(checkpoints.next_page_token),
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::GetCheckpointRequest { job_id, name } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let checkpoint = self.0.parts.jobs.checkpoint(&id, &name).await;
        Ok(Response::new(checkpoint.map_err(|error| error.about("job", &id))?.into()))
    }

    async fn create_checkpoint(
        &self,
        request: Request<v1::CreateCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::CreateCheckpointRequest { job_id } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let saved = self.0.parts.jobs.save_now(&id, &self.0.parts.commits);
        let saved = self.until_shutdown(saved).await;
        Ok(Response::new(saved.map_err(|error| error.about("job", &id))?.into()))
    }

    async fn pin_checkpoint(
        &self,
        request: Request<v1::PinCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::PinCheckpointRequest { job_id, name } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let pinned = self.0.parts.jobs.pin_checkpoint(&id, &name).await;
        Ok(Response::new(pinned.map_err(|error| error.about("job", &id))?.into()))
    }

    async fn unpin_checkpoint(
        &self,
        request: Request<v1::UnpinCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::UnpinCheckpointRequest { job_id, name } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let unpinned = self.0.parts.jobs.unpin_checkpoint(&id, &name).await;
        Ok(Response::new(unpinned.map_err(|error| error.about("job", &id))?.into()))
    }

    async fn delete_checkpoint(
        &self,
        request: Request<v1::DeleteCheckpointRequest>,
    ) -> Result<Response<()>, Status> {
        let v1::DeleteCheckpointRequest { job_id, name } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let deleted = self.0.parts.jobs.delete_checkpoint(&id, &name).await;
        deleted.map_err(|error| error.about("job", &id))?;
        Ok(Response::new(()))
    }

    async fn verify_checkpoint(
        &self,
        request: Request<v1::VerifyCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::VerifyCheckpointRequest { job_id, name } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let verified = self.0.parts.jobs.verify_checkpoint(&id, &name);
        let verified = self.until_shutdown(verified).await;
        Ok(Response::new(verified.map_err(|error| error.about("job", &id))?.into()))
    }

    async fn export_checkpoint(
        &self,
        request: Request<v1::ExportCheckpointRequest>,
    ) -> Result<Response<v1::ExportCheckpointResponse>, Status> {
        let v1::ExportCheckpointRequest { job_id, name, path } = request.into_inner();
        let id: JobId = request::id("job_id", &job_id)?;
        let to = request::path(path)?;
        let exported = self.0.parts.jobs.export_checkpoint(&id, &name, to.clone());
        let exported = self.until_shutdown(exported).await;
        let bytes = exported.map_err(|error| error.about("job", &id))?;
        Ok(Response::new(v1::ExportCheckpointResponse { path: to.display().to_string(), bytes }))
    }
}
