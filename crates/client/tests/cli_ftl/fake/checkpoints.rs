//! `CheckpointService`.

use ftl_client::wire::details::{Details, pack, reason};
use ftl_client::wire::v1;
use ftl_core::job::{Checkpoint, CheckpointState, State};
use ftl_core::{Problem, ProblemKind};
use tonic::{Code, Request, Response, Status};
use v1::checkpoint_service_server::CheckpointService;

use super::{Service, World};

impl World {
    fn checkpoint(&mut self, job: &str, name: &str) -> Result<&mut Checkpoint, Status> {
        self.job(job)?;
        let found = self.checkpoints.iter_mut().find(|checkpoint| checkpoint.name() == name);
        found.ok_or_else(|| super::not_found("checkpoint", name, reason::CHECKPOINT_NOT_FOUND))
    }
}

fn refused(message: &str) -> Status {
    let problem = Problem::new(ProblemKind::InvalidValue, message).hint("do something else");
    let details =
        Details { reason: "INVALID_VALUE".to_owned(), problems: vec![problem], ..Details::default() };
    pack(Code::FailedPrecondition, message.to_owned(), details)
}

#[tonic::async_trait]
impl CheckpointService for Service {
    async fn list_checkpoints(
        &self,
        request: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<v1::ListCheckpointsResponse>, Status> {
        let v1::ListCheckpointsRequest { job_id, page_size: _, page_token, show_removed } =
            request.into_inner();
        let mut world = self.world();
        world.job(&job_id)?;
        // Two to a page, whatever was asked for.
        let skipped: usize = page_token.parse().unwrap_or(0);
        let all: Vec<&Checkpoint> = world
            .checkpoints
            .iter()
            .filter(|checkpoint| show_removed || checkpoint.state != CheckpointState::Removed)
            .collect();
        let checkpoints: Vec<_> =
            all.iter().skip(skipped).take(2).map(|checkpoint| (*checkpoint).clone().into()).collect();
        let next = skipped + checkpoints.len();
        let next_page_token = if next < all.len() { next.to_string() } else { String::new() };
        Ok(Response::new(v1::ListCheckpointsResponse { checkpoints, next_page_token }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::GetCheckpointRequest { job_id, name } = request.into_inner();
        Ok(Response::new(self.world().checkpoint(&job_id, &name)?.clone().into()))
    }

    async fn create_checkpoint(
        &self,
        request: Request<v1::CreateCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let mut world = self.world();
        if world.job(&request.into_inner().job_id)?.state != State::Running {
            return Err(refused("only a worker that trains can save"));
        }
        let newest = world.checkpoints.first().cloned();
        newest.map(|newest| Response::new(newest.into())).ok_or_else(|| Status::internal("the test has none"))
    }

    async fn pin_checkpoint(
        &self,
        request: Request<v1::PinCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::PinCheckpointRequest { job_id, name } = request.into_inner();
        let mut world = self.world();
        let checkpoint = world.checkpoint(&job_id, &name)?;
        checkpoint.pinned = true;
        Ok(Response::new(checkpoint.clone().into()))
    }

    async fn unpin_checkpoint(
        &self,
        request: Request<v1::UnpinCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::UnpinCheckpointRequest { job_id, name } = request.into_inner();
        let mut world = self.world();
        let checkpoint = world.checkpoint(&job_id, &name)?;
        checkpoint.pinned = false;
        Ok(Response::new(checkpoint.clone().into()))
    }

    async fn delete_checkpoint(
        &self,
        request: Request<v1::DeleteCheckpointRequest>,
    ) -> Result<Response<()>, Status> {
        let v1::DeleteCheckpointRequest { job_id, name } = request.into_inner();
        let mut world = self.world();
        let checkpoint = world.checkpoint(&job_id, &name)?;
        if checkpoint.pinned {
            return Err(refused("it is pinned"));
        }
        checkpoint.state = CheckpointState::Removed;
        Ok(Response::new(()))
    }

    /// What is damaged stays so.
    async fn verify_checkpoint(
        &self,
        request: Request<v1::VerifyCheckpointRequest>,
    ) -> Result<Response<v1::Checkpoint>, Status> {
        let v1::VerifyCheckpointRequest { job_id, name } = request.into_inner();
        Ok(Response::new(self.world().checkpoint(&job_id, &name)?.clone().into()))
    }

    async fn export_checkpoint(
        &self,
        request: Request<v1::ExportCheckpointRequest>,
    ) -> Result<Response<v1::ExportCheckpointResponse>, Status> {
        let v1::ExportCheckpointRequest { job_id, name, path } = request.into_inner();
        let mut world = self.world();
        world.checkpoint(&job_id, &name)?;
        world.exports.push((name, path.clone()));
        Ok(Response::new(v1::ExportCheckpointResponse { path, bytes: 2 << 20 }))
    }
}
