//! `SystemService`.

use std::time::Duration;

use async_stream::stream;
use ftl_client::wire::storage::sample_filter;
use ftl_client::wire::v1::system_service_server::SystemService;
use ftl_client::wire::{page, required, v1};
use ftl_core::plan::MemoryPlan;
use ftl_core::system::{Gpus, SystemInfo};
use ftl_core::{JobSpec, Problem, ProblemKind};
use ftl_trainer::{device, doctor};
use futures_util::StreamExt;
use tonic::{Request, Response, Status, async_trait};

use super::{Answers, Api, request};
use crate::error::ServiceError;
use crate::storage;

/// Between two readings of the GPUs where nothing else is asked for.
const DEFAULT_INTERVAL_MILLIS: u32 = 1_000;
/// NVML averages over 100 ms or more; a minute is as good as asking anew.
const INTERVAL_MILLIS: std::ops::RangeInclusive<u32> = 100..=60_000;

impl Api {
    async fn info(&self) -> Result<SystemInfo, ServiceError> {
        let jobs = self.store().job_counts().await?;
        let data_directory = self.0.parts.dir.root().to_owned();
        let started_unix_ms = self.0.started_unix_ms;
        Self::blocking(move || {
            let doctor::Cpu { name, features: _, n_threads, memory_bytes, available_bytes } = doctor::cpu();
            SystemInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                started_unix_ms,
                free_disk_bytes: doctor::free_bytes(&data_directory),
                data_directory,
                cpu: name,
                n_threads,
                memory_bytes,
                available_bytes,
                is_built_with_cuda: device::BUILT_WITH_CUDA,
                jobs,
            }
        })
        .await
    }

    async fn plan(&self, spec: JobSpec) -> Result<MemoryPlan, ServiceError> {
        let spec = self.0.parts.resolver.spec(spec).await?;
        // What is wrong on its face needs no process.
        spec.check().map_err(ServiceError::Invalid)?;
        self.0.parts.workers.plan_memory(spec).await
    }

    async fn gpus(&self) -> Result<Gpus, ServiceError> {
        let reader = self.0.gpus.clone();
        Self::blocking(move || reader.read()).await
    }
}

fn interval(millis: u32) -> Result<Duration, ServiceError> {
    let millis = if millis == 0 { DEFAULT_INTERVAL_MILLIS } else { millis };
    if INTERVAL_MILLIS.contains(&millis) {
        return Ok(Duration::from_millis(millis.into()));
    }
    let (least, most) = INTERVAL_MILLIS.into_inner();
    let message = format!("{millis} is out of range, expected {least} to {most}");
    Err(Problem::new(ProblemKind::InvalidValue, message)
        .at("interval_millis")
        .hint(format!("0 stands for {DEFAULT_INTERVAL_MILLIS}"))
        .into())
}

#[async_trait]
impl SystemService for Api {
    type WatchGpusStream = Answers<v1::Gpus>;

    async fn get_system_info(
        &self,
        request: Request<v1::GetSystemInfoRequest>,
    ) -> Result<Response<v1::SystemInfo>, Status> {
        let v1::GetSystemInfoRequest {} = request.into_inner();
        Ok(Response::new(self.info().await?.into()))
    }

    async fn get_gpus(&self, request: Request<v1::GetGpusRequest>) -> Result<Response<v1::Gpus>, Status> {
        let v1::GetGpusRequest {} = request.into_inner();
        Ok(Response::new(self.gpus().await?.into()))
    }

    async fn plan_memory(
        &self,
        request: Request<v1::PlanMemoryRequest>,
    ) -> Result<Response<v1::MemoryPlan>, Status> {
        let v1::PlanMemoryRequest { spec } = request.into_inner();
        let spec = required("PlanMemoryRequest", "spec", spec).map_err(ServiceError::from)?;
        Ok(Response::new(self.plan(spec).await?.into()))
    }

    async fn list_gpu_samples(
        &self,
        request: Request<v1::ListGpuSamplesRequest>,
    ) -> Result<Response<v1::ListGpuSamplesResponse>, Status> {
        let v1::ListGpuSamplesRequest { job_id, start_time, end_time, page_size, page_token } =
            request.into_inner();
        let filter = sample_filter(job_id, start_time, end_time).map_err(ServiceError::from)?;
        if let Some(id) = &filter.job {
            self.job(id).await?;
        }
        let samples = self.store().gpu_samples(&filter, &request::page(page_size, page_token)).await;
        let samples = samples.map_err(ServiceError::from)?;
        Ok(Response::new(v1::ListGpuSamplesResponse {
            samples: samples.items.into_iter().map(v1::GpuSample::from).collect(),
            next_page_token: page::token(samples.next_page_token),
        }))
    }

    async fn get_storage(
        &self,
        request: Request<v1::GetStorageRequest>,
    ) -> Result<Response<v1::Storage>, Status> {
        let v1::GetStorageRequest {} = request.into_inner();
        let dir = self.0.parts.dir.clone();
        Ok(Response::new(Self::blocking(move || storage::measure(&dir)).await?.into()))
    }

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<v1::BackupResponse>, Status> {
        let v1::BackupRequest { path } = request.into_inner();
        let path = request::path(path)?;
        let bytes = storage::back_up(self.store(), &path).await?;
        Ok(Response::new(v1::BackupResponse { path: path.to_string_lossy().into_owned(), bytes }))
    }

    async fn watch_gpus(
        &self,
        request: Request<v1::WatchGpusRequest>,
    ) -> Result<Response<Self::WatchGpusStream>, Status> {
        let v1::WatchGpusRequest { interval_millis } = request.into_inner();
        let interval = interval(interval_millis)?;
        let slot = self.slot()?;
        let api = self.clone();
        let readings = stream! {
            let _slot = slot;
            let mut ticks = tokio::time::interval(interval);
            // A caller that reads slowly gets the next reading late, not several at once.
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let reading = api
                    .until_shutdown(async {
                        ticks.tick().await;
                        api.gpus().await
                    })
                    .await;
                let is_last = reading.is_err();
                yield reading.map(v1::Gpus::from).map_err(Status::from);
                if is_last {
                    return;
                }
            }
        };
        Ok(Response::new(readings.boxed()))
    }
}
