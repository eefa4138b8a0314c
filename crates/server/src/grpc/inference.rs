//! `InferenceService`. A worker answers; this file says with which weights.

use std::path::{Path, PathBuf};

use async_stream::stream;
use ftl_client::wire::v1;
use ftl_client::wire::v1::inference_service_server::InferenceService;
use ftl_core::inference::{
    ChatMessage, InferencePart, InferenceRequest, JobWeights, Prompt, SamplingSpec, WeightsRef,
};
use ftl_core::job::{Job, State};
use ftl_core::spec::AdapterKind;
use ftl_core::spec::resolved::{DeviceKind, ModelInit};
use ftl_core::{JobId, Problem, ProblemKind};
use ftl_trainer::checkpoint::layout::FINAL;
use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status, async_trait};

use super::{Answers, Api};
use crate::error::ServiceError;
use crate::resolve::absolute;
use crate::worker::InferTask;

/// Who may speak in a conversation.
const ROLES: [&str; 4] = ["system", "user", "assistant", "tool"];

/// Which directories weights are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Weights {
    model: PathBuf,
    adapter: Option<PathBuf>,
}

impl Api {
    async fn infer(
        &self,
        request: InferenceRequest,
    ) -> Result<impl Stream<Item = Result<InferencePart, Status>> + use<>, ServiceError> {
        let InferenceRequest { weights, prompt, sampling, device } = request;
        check(&prompt, &sampling, device.as_deref())?;
        let Weights { model, adapter } = self.weights(weights).await?;
        let slot = self.slot()?;
        let task = InferTask { model, adapter, prompt, sampling, device };
        let answer = self.until_shutdown(self.0.parts.workers.infer(task)).await?;
        let shutdown = self.0.parts.shutdown.clone();
        Ok(stream! {
            let _slot = slot;
            let mut answer = std::pin::pin!(answer);
            loop {
                let part = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => Some(Err(ServiceError::ShuttingDown)),
                    part = answer.next() => part,
                };
                let Some(part) = part else { return };
                let is_last = part.is_err();
                yield part.map_err(Status::from);
                if is_last {
                    return;
                }
            }
        })
    }

    async fn weights(&self, weights: WeightsRef) -> Result<Weights, ServiceError> {
        match weights {
            WeightsRef::Model { model, adapter } => {
                if let Some(adapter) = &adapter {
                    absolute(adapter, "weights.model.adapter")?;
                }
                let model = self.0.parts.resolver.model_directory(&model, "weights.model.model").await?;
                Ok(Weights { model, adapter })
            }
            WeightsRef::Job { id, weights } => {
                let job = self.job(&id).await?;
                match weights {
                    JobWeights::Trained => trained(&job),
                    JobWeights::Base => base(&job),
                }
            }
        }
    }
}

/// What a job made: a model, or an adapter beside the model that it began with.
fn trained(job: &Job) -> Result<Weights, ServiceError> {
    if job.state != State::Succeeded {
        let message =
            format!("job `{}` is {}; what it makes is there when it is SUCCEEDED", job.id, job.state);
        return Err(ServiceError::Precondition(
            Problem::new(ProblemKind::InvalidValue, message)
                .at("weights.job.which")
                .hint("wait for it, or ask the weights that it began with (`base`)"),
        ));
    }
    let made = job.directory.join(FINAL);
    match job.spec.adapter.kind {
        Some(AdapterKind::None) => Ok(Weights { model: made, adapter: None }),
        Some(AdapterKind::Lora) | None => {
            Ok(Weights { model: model_of(job)?.to_owned(), adapter: Some(made) })
        }
    }
}

/// What a job began with.
fn base(job: &Job) -> Result<Weights, ServiceError> {
    Ok(Weights { model: model_of(job)?.to_owned(), adapter: job.spec.adapter.init_from.clone() })
}

fn model_of(job: &Job) -> Result<&Path, ServiceError> {
    if job.spec.model.init == Some(ModelInit::Random) {
        let message = format!("job `{}` began with random weights, which are not kept", job.id);
        return Err(ServiceError::Precondition(
            Problem::new(ProblemKind::NotFound, message).at("weights.job.which"),
        ));
    }
    job.spec.model.path.as_deref().ok_or_else(|| no_model(&job.id))
}

/// A job's spec was judged when the job was made.
fn no_model(id: &JobId) -> ServiceError {
    ServiceError::Internal(format!("the spec of job `{id}` names no model").into())
}

/// Judges everything that needs no file.
fn check(prompt: &Prompt, sampling: &SamplingSpec, device: Option<&str>) -> Result<(), ServiceError> {
    let mut problems = Vec::new();
    match prompt {
        Prompt::Text(text) if text.is_empty() => {
            problems.push(Problem::new(ProblemKind::MissingKey, "the prompt is empty").at("prompt"));
        }
        Prompt::Text(_) => {}
        Prompt::Messages(messages) => problems.extend(check_messages(messages)),
    }
    problems.extend(check_sampling(sampling));
    if let Some(Err(problem)) = device.map(str::parse::<DeviceKind>) {
        problems.push(problem.at("device"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
}

fn check_messages(messages: &[ChatMessage]) -> Vec<Problem> {
    if messages.is_empty() {
        return vec![
            Problem::new(ProblemKind::MissingKey, "the conversation is empty")
                .at("messages")
                .hint("send at least one message"),
        ];
    }
    let mut problems = Vec::new();
    for (place, ChatMessage { role, content: _ }) in messages.iter().enumerate() {
        if !ROLES.contains(&role.as_str()) {
            let message = format!("`{role}` is no role, expected one of: {}", ROLES.join(", "));
            problems
                .push(Problem::new(ProblemKind::InvalidValue, message).at(format!("messages[{place}].role")));
        }
    }
    problems
}

/// The ranges of the engine's `GenerateOptions`, at the request's fields.
fn check_sampling(sampling: &SamplingSpec) -> Vec<Problem> {
    let SamplingSpec { max_new_tokens, temperature, top_p, top_k: _, seed: _ } = sampling;
    let mut problems = Vec::new();
    let mut refuse = |field: &str, message: String| {
        problems.push(Problem::new(ProblemKind::InvalidValue, message).at(format!("sampling.{field}")));
    };
    if *max_new_tokens == Some(0) {
        refuse("max_new_tokens", "an answer of 0 tokens is none; choose 1 or more".to_owned());
    }
    if let Some(temperature) = temperature.filter(|value| !(value.is_finite() && *value >= 0.0)) {
        refuse(
            "temperature",
            format!("{temperature} is out of range; choose a number above 0, or 0 for greedy"),
        );
    }
    if let Some(top_p) = top_p.filter(|value| !(*value > 0.0 && *value <= 1.0)) {
        refuse("top_p", format!("{top_p} is no share of probability; choose one above 0 and up to 1"));
    }
    problems
}

#[async_trait]
impl InferenceService for Api {
    type GenerateStream = Answers<v1::GenerateResponse>;
    type ChatStream = Answers<v1::ChatResponse>;

    async fn generate(
        &self,
        request: Request<v1::GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let asked = InferenceRequest::try_from(request.into_inner()).map_err(ServiceError::from)?;
        let parts = self.infer(asked).await?;
        let answers = parts.map(|part| part.map(|part| v1::GenerateResponse { part: Some(part.into()) }));
        Ok(Response::new(answers.boxed()))
    }

    async fn chat(&self, request: Request<v1::ChatRequest>) -> Result<Response<Self::ChatStream>, Status> {
        let asked = InferenceRequest::try_from(request.into_inner()).map_err(ServiceError::from)?;
        let parts = self.infer(asked).await?;
        let answers = parts.map(|part| part.map(|part| v1::ChatResponse { part: Some(part.into()) }));
        Ok(Response::new(answers.boxed()))
    }
}
