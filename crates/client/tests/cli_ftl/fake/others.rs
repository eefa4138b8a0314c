//! The fake's models, configs, answers, and its machine.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ftl_client::wire::config::verdict_response;
use ftl_client::wire::details::reason;
use ftl_client::wire::{page, v1};
use ftl_core::config::Config;
use ftl_core::inference::{ChatMessage, FinishReason, InferencePart, InferenceRequest, Prompt};
use ftl_core::job::State;
use ftl_core::model::{Model, ModelFacts, ModelSource};
use ftl_core::plan::{Change, MemoryParts, MemoryPlan, Proposal};
use ftl_core::spec::MaxMemory;
use ftl_core::spec::resolved::Checkpointing;
use ftl_core::system::{Gpus, JobCount, SystemInfo};
use ftl_core::{ConfigId, JobSpec, ModelId, Problem, ProblemKind};
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use v1::config_service_server::ConfigService;
use v1::inference_service_server::InferenceService;
use v1::model_service_server::ModelService;
use v1::system_service_server::SystemService;

use super::super::BEGIN;
use super::kept::storage;
use super::{Service, not_found, part, refused};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SystemService for Service {
    async fn get_system_info(
        &self,
        _: Request<v1::GetSystemInfoRequest>,
    ) -> Result<Response<v1::SystemInfo>, Status> {
        let world = self.world();
        let n_jobs = |state| world.jobs.iter().filter(|job| job.state == state).count() as u64;
        let counts = State::ALL.map(|state| JobCount { state, n_jobs: n_jobs(state) });
        let info = SystemInfo {
            version: "9.8.7".to_owned(),
            pid: 4321,
            started_unix_ms: BEGIN,
            data_directory: "/data/finetunelab".into(),
            free_disk_bytes: Some(5 << 30),
            cpu: Some("Abacus 3000".to_owned()),
            n_threads: 16,
            memory_bytes: Some(64 << 30),
            available_bytes: Some(32 << 30),
            is_built_with_cuda: true,
            jobs: counts.into_iter().filter(|count| count.n_jobs > 0).collect(),
        };
        Ok(Response::new(info.into()))
    }

    async fn get_gpus(&self, _: Request<v1::GetGpusRequest>) -> Result<Response<v1::Gpus>, Status> {
        Ok(Response::new(self.gpus().into()))
    }

    async fn list_gpu_samples(
        &self,
        request: Request<v1::ListGpuSamplesRequest>,
    ) -> Result<Response<v1::ListGpuSamplesResponse>, Status> {
        Ok(Response::new(self.samples(request.into_inner())))
    }

    async fn get_storage(&self, _: Request<v1::GetStorageRequest>) -> Result<Response<v1::Storage>, Status> {
        Ok(Response::new(storage().into()))
    }

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<v1::BackupResponse>, Status> {
        Ok(Response::new(self.back_up(request.into_inner().path)?))
    }

    async fn plan_memory(
        &self,
        request: Request<v1::PlanMemoryRequest>,
    ) -> Result<Response<v1::MemoryPlan>, Status> {
        let spec = JobSpec::try_from(request.into_inner().spec.expect("a spec")).expect("its own message");
        let available_bytes = match spec.device.max_memory {
            Some(MaxMemory::Bytes(bytes)) => bytes,
            Some(MaxMemory::Text(_)) | None => 8 << 30,
        };
        let parts = MemoryParts { weights: 512 << 20, activations: 1 << 30, ..MemoryParts::default() };
        let peak_bytes = parts.total();
        let fits = peak_bytes <= available_bytes;
        let change = Change { key: "train.gradient_checkpointing".to_owned(), value: "block".to_owned() };
        let proposal = Proposal { changes: vec![change], peak_bytes: 600 << 20 };
        let plan = MemoryPlan {
            fits,
            peak_bytes,
            available_bytes: Some(available_bytes),
            parts,
            device: "cpu".to_owned(),
            gradient_checkpointing: Checkpointing::None,
            most_tokens: 8192,
            proposals: if fits { Vec::new() } else { vec![proposal] },
        };
        Ok(Response::new(plan.into()))
    }

    type WatchGpusStream = Answers<v1::Gpus>;

    async fn watch_gpus(
        &self,
        request: Request<v1::WatchGpusRequest>,
    ) -> Result<Response<Self::WatchGpusStream>, Status> {
        let interval_millis = request.into_inner().interval_millis;
        if interval_millis < 100 {
            let problem = Problem::new(ProblemKind::InvalidValue, "the interval is too short");
            return Err(refused(Code::InvalidArgument, problem.at("interval_millis")));
        }
        let readings = [self.gpus(), self.gpus()].map(|gpus| Ok(v1::Gpus::from(gpus)));
        Ok(Response::new(Box::pin(tokio_stream::iter(readings))))
    }
}

impl Service {
    fn gpus(&self) -> Gpus {
        let gpus = self.world().gpus.clone();
        gpus.unwrap_or_else(|| Gpus::Absent { reason: "no driver".to_owned() })
    }
}

/// What the fake finds in every model.
fn facts() -> ModelFacts {
    ModelFacts {
        architecture: "LlamaForCausalLM".to_owned(),
        model_type: "llama".to_owned(),
        parameters: 1_234_567,
        weight_bytes: Some(5 << 20),
        context_tokens: 2_048,
        vocab_size: 512,
        n_layers: 4,
        hidden_size: 64,
        lora_targets: vec!["q_proj".to_owned(), "v_proj".to_owned()],
        chat_template: None,
    }
}

#[tonic::async_trait]
impl ModelService for Service {
    async fn import_model(
        &self,
        request: Request<v1::ImportModelRequest>,
    ) -> Result<Response<v1::Model>, Status> {
        let v1::ImportModelRequest { path, name } = request.into_inner();
        let dir = Path::new(&path);
        assert!(dir.is_absolute(), "{path}");
        if !dir.join("config.json").exists() {
            let problem = Problem::new(ProblemKind::BrokenModel, "the directory has no config.json");
            return Err(refused(Code::InvalidArgument, problem.at(path)));
        }
        let mut world = self.world();
        let id = ModelId::from_bits(3_000 + world.models.len() as u64);
        let stem = dir.file_name().expect("a directory").to_string_lossy().into_owned();
        let model = Model {
            name: page::some_text(name).unwrap_or(stem),
            path: dir.to_path_buf(),
            source: ModelSource::Imported { id, facts: facts(), created_unix_ms: BEGIN },
        };
        world.models.insert(0, model.clone());
        Ok(Response::new(model.into()))
    }

    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Result<Response<v1::ListModelsResponse>, Status> {
        let v1::ListModelsRequest { page_size, page_token } = request.into_inner();
        let (models, next_page_token) = part(&mut 0, &self.world().models, page_size, page_token);
        Ok(Response::new(v1::ListModelsResponse { models, next_page_token }))
    }

    async fn inspect_model(
        &self,
        request: Request<v1::InspectModelRequest>,
    ) -> Result<Response<v1::InspectModelResponse>, Status> {
        let model = request.into_inner().model;
        if model == "nobody/nothing" {
            return Err(not_found("model", &model, reason::MODEL_NOT_FOUND));
        }
        Ok(Response::new(v1::InspectModelResponse {
            path: format!("<{model}>"),
            facts: Some(facts().into()),
        }))
    }

    async fn delete_model(&self, request: Request<v1::DeleteModelRequest>) -> Result<Response<()>, Status> {
        let asked = request.into_inner().id;
        self.world().models.retain(|model| match &model.source {
            ModelSource::Imported { id, .. } => id.as_str() != asked,
            ModelSource::HuggingFaceCache { .. } => true,
        });
        Ok(Response::new(()))
    }
}

#[tonic::async_trait]
impl ConfigService for Service {
    async fn create_config(
        &self,
        request: Request<v1::CreateConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let v1::CreateConfigRequest { name, spec } = request.into_inner();
        self.keep(name, JobSpec::try_from(spec.expect("a spec")).expect("a spec of core's"))
    }

    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let id = request.into_inner().id;
        let found = self.world().configs.iter().find(|config| config.id.as_str() == id).cloned();
        let config = found.ok_or_else(|| not_found("config", &id, reason::CONFIG_NOT_FOUND))?;
        Ok(Response::new(config.into()))
    }

    async fn list_configs(
        &self,
        request: Request<v1::ListConfigsRequest>,
    ) -> Result<Response<v1::ListConfigsResponse>, Status> {
        let v1::ListConfigsRequest { page_size, page_token } = request.into_inner();
        let (configs, next_page_token) = part(&mut 0, &self.world().configs, page_size, page_token);
        Ok(Response::new(v1::ListConfigsResponse { configs, next_page_token }))
    }

    async fn update_config(
        &self,
        request: Request<v1::UpdateConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let v1::UpdateConfigRequest { id, name, spec } = request.into_inner();
        let mut world = self.world();
        let found = world.configs.iter_mut().find(|config| config.id.as_str() == id);
        let config = found.ok_or_else(|| not_found("config", &id, reason::CONFIG_NOT_FOUND))?;
        config.name = name;
        config.spec = JobSpec::try_from(spec.expect("a spec")).expect("a spec of core's");
        Ok(Response::new(config.clone().into()))
    }

    async fn delete_config(&self, request: Request<v1::DeleteConfigRequest>) -> Result<Response<()>, Status> {
        let id = request.into_inner().id;
        self.world().configs.retain(|config| config.id.as_str() != id);
        Ok(Response::new(()))
    }

    async fn clone_config(
        &self,
        request: Request<v1::CloneConfigRequest>,
    ) -> Result<Response<v1::Config>, Status> {
        let v1::CloneConfigRequest { id, name } = request.into_inner();
        let found = self.world().configs.iter().find(|config| config.id.as_str() == id).cloned();
        self.keep(name, found.ok_or_else(|| not_found("config", &id, reason::CONFIG_NOT_FOUND))?.spec)
    }

    async fn validate_config(
        &self,
        request: Request<v1::ValidateConfigRequest>,
    ) -> Result<Response<v1::ValidateConfigResponse>, Status> {
        let spec = request.into_inner().spec.expect("a spec");
        let spec = JobSpec::try_from(spec).expect("a spec of core's");
        Ok(Response::new(verdict_response(spec.check().map(|checked| checked.to_spec()))))
    }

    async fn list_presets(
        &self,
        _: Request<v1::ListPresetsRequest>,
    ) -> Result<Response<v1::ListPresetsResponse>, Status> {
        let presets = self.world().presets.iter().cloned().map(v1::Preset::from).collect();
        Ok(Response::new(v1::ListPresetsResponse { presets }))
    }

    async fn get_spec_schema(
        &self,
        _: Request<v1::GetSpecSchemaRequest>,
    ) -> Result<Response<v1::GetSpecSchemaResponse>, Status> {
        Ok(Response::new(v1::GetSpecSchemaResponse { json: JobSpec::json_schema().to_string() }))
    }
}

impl Service {
    fn keep(&self, name: String, spec: JobSpec) -> Result<Response<v1::Config>, Status> {
        let mut world = self.world();
        if world.configs.iter().any(|config| config.name == name) {
            let message = format!("another config is called `{name}`");
            let problem = Problem::new(ProblemKind::InvalidValue, message).at("name");
            return Err(refused(Code::AlreadyExists, problem));
        }
        let id = ConfigId::from_bits(4_000 + world.configs.len() as u64);
        let config = Config { id, name, spec, created_unix_ms: BEGIN, updated_unix_ms: BEGIN };
        world.configs.insert(0, config.clone());
        Ok(Response::new(config.into()))
    }
}

#[tonic::async_trait]
impl InferenceService for Service {
    type GenerateStream = Answers<v1::GenerateResponse>;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let request = InferenceRequest::try_from(request.into_inner()).expect("a request of core's");
        let mut parts = self.answer(request)?;
        Ok(Response::new(Box::pin(async_stream::stream! {
            while let Some(part) = tokio_stream::StreamExt::next(&mut parts).await {
                yield Ok(v1::GenerateResponse { part: Some(part.into()) });
            }
        })))
    }

    type ChatStream = Answers<v1::ChatResponse>;

    async fn chat(&self, request: Request<v1::ChatRequest>) -> Result<Response<Self::ChatStream>, Status> {
        let request = InferenceRequest::try_from(request.into_inner()).expect("a request of core's");
        let mut parts = self.answer(request)?;
        Ok(Response::new(Box::pin(async_stream::stream! {
            while let Some(part) = tokio_stream::StreamExt::next(&mut parts).await {
                yield Ok(v1::ChatResponse { part: Some(part.into()) });
            }
        })))
    }
}

impl Service {
    /// Says back what it was told. `endless` is never answered to the end, `impossible` is refused.
    fn answer(
        &self,
        request: InferenceRequest,
    ) -> Result<Pin<Box<dyn Stream<Item = InferencePart> + Send>>, Status> {
        let (said, n_messages) = match &request.prompt {
            Prompt::Text(text) => (text.clone(), 1),
            Prompt::Messages(messages) => {
                let ChatMessage { role, content } = messages.last().expect("a message");
                assert_eq!(role, "user");
                (content.clone(), messages.len() as u64)
            }
        };
        self.world().inferences.push(request);
        if said == "impossible" {
            let problem = Problem::new(ProblemKind::InvalidValue, "it is too long").at("messages");
            return Err(refused(Code::InvalidArgument, problem));
        }
        let dropped = CountsDrops { n: self.n_dropped_answers.clone(), is_whole: false };
        Ok(Box::pin(async_stream::stream! {
            let mut dropped = dropped;
            yield InferencePart::Started { device: "cpu".to_owned(), prompt_tokens: n_messages };
            yield InferencePart::Text { text: "you said ".to_owned() };
            if said == "endless" {
                std::future::pending::<()>().await;
            }
            yield InferencePart::Text { text: said };
            yield InferencePart::Finished { stop_reason: FinishReason::Eos, new_tokens: 2, elapsed_millis: 7 };
            dropped.is_whole = true;
        }))
    }
}

/// Counts answers that were not given to the end.
struct CountsDrops {
    n: Arc<AtomicUsize>,
    is_whole: bool,
}

impl Drop for CountsDrops {
    fn drop(&mut self) {
        if !self.is_whole {
            self.n.fetch_add(1, Ordering::SeqCst);
        }
    }
}
