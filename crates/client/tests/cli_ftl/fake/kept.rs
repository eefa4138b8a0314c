//! What the fake keeps of jobs beside their events, and its storage.

use ftl_client::wire::storage::sample_filter;
use ftl_client::wire::v1;
use ftl_core::system::{JobStorage, Storage};
use ftl_core::{JobId, Problem, ProblemKind};
use tonic::{Code, Request, Response, Status};
use v1::prediction_service_server::PredictionService;

use super::{Service, part, refused};

#[tonic::async_trait]
impl PredictionService for Service {
    async fn list_predictions(
        &self,
        request: Request<v1::ListPredictionsRequest>,
    ) -> Result<Response<v1::ListPredictionsResponse>, Status> {
        let v1::ListPredictionsRequest { job_id: _, page_size, page_token } = request.into_inner();
        let (predictions, next_page_token) = part(&mut 0, &self.world().predictions, page_size, page_token);
        Ok(Response::new(v1::ListPredictionsResponse { predictions, next_page_token }))
    }
}

impl Service {
    pub fn samples(&self, request: v1::ListGpuSamplesRequest) -> v1::ListGpuSamplesResponse {
        let v1::ListGpuSamplesRequest { job_id, start_time, end_time, page_size, page_token } = request;
        let job = sample_filter(job_id, start_time, end_time).expect("its own message").job;
        let mut samples = self.world().gpu_samples.clone();
        samples.retain(|sample| Some(&sample.job) == job.as_ref());
        let (samples, next_page_token) = part(&mut 0, &samples, page_size, page_token);
        v1::ListGpuSamplesResponse { samples, next_page_token }
    }

    pub fn back_up(&self, path: String) -> Result<v1::BackupResponse, Status> {
        let mut world = self.world();
        if world.backups.contains(&path) {
            let problem = Problem::new(ProblemKind::OutputExists, format!("`{path}` exists already"));
            return Err(refused(Code::AlreadyExists, problem.at("path")));
        }
        world.backups.push(path.clone());
        Ok(v1::BackupResponse { path, bytes: 2 << 20 })
    }
}

pub fn storage() -> Storage {
    Storage {
        database_bytes: 3 << 20,
        backups_bytes: 0,
        jobs_bytes: 7 << 30,
        datasets_bytes: 1 << 20,
        uploads_bytes: 0,
        other_bytes: 10,
        free_bytes: Some(5 << 30),
        largest_jobs: vec![JobStorage { job: JobId::from_bits(1), bytes: 7 << 30 }],
    }
}
