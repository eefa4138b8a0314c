//! What is asked of a model, and its answer.

use std::path::PathBuf;

use ftl_core::inference::{
    ChatMessage, FinishReason, InferencePart, InferenceRequest, JobWeights, Prompt, SamplingSpec, WeightsRef,
};

use super::error::id;
use super::numbered::numbered;
use super::{Numbered as _, WireError, required, v1};
use v1::inference_part::Kind as Part;
use v1::weights::Kind as WeightsKind;

numbered!(JobWeights, v1::job_weights::Which, "JobWeights.Which": Trained, Base);
numbered!(
    FinishReason, v1::inference_finished::Reason, "InferenceFinished.Reason":
    Eos, MaxNewTokens, ContextFull, Stopped,
);

/// An [`InferenceRequest`] as the call that it is on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum InferenceCall {
    /// A text is gone on with.
    Generate(v1::GenerateRequest),
    /// A conversation is answered.
    Chat(v1::ChatRequest),
}

impl From<InferenceRequest> for InferenceCall {
    fn from(request: InferenceRequest) -> Self {
        let InferenceRequest { weights, prompt, sampling, device } = request;
        let (weights, sampling) = (Some(weights.into()), Some(sampling.into()));
        match prompt {
            Prompt::Text(prompt) => Self::Generate(v1::GenerateRequest { weights, prompt, sampling, device }),
            Prompt::Messages(messages) => {
                let messages = messages.into_iter().map(v1::ChatMessage::from).collect();
                Self::Chat(v1::ChatRequest { weights, messages, sampling, device })
            }
        }
    }
}

impl TryFrom<v1::GenerateRequest> for InferenceRequest {
    type Error = WireError;

    fn try_from(request: v1::GenerateRequest) -> Result<Self, WireError> {
        let v1::GenerateRequest { weights, prompt, sampling, device } = request;
        Ok(Self {
            weights: required("GenerateRequest", "weights", weights)?,
            prompt: Prompt::Text(prompt),
            sampling: sampling.map(SamplingSpec::from).unwrap_or_default(),
            device,
        })
    }
}

impl TryFrom<v1::ChatRequest> for InferenceRequest {
    type Error = WireError;

    fn try_from(request: v1::ChatRequest) -> Result<Self, WireError> {
        let v1::ChatRequest { weights, messages, sampling, device } = request;
        Ok(Self {
            weights: required("ChatRequest", "weights", weights)?,
            prompt: Prompt::Messages(messages.into_iter().map(ChatMessage::from).collect()),
            sampling: sampling.map(SamplingSpec::from).unwrap_or_default(),
            device,
        })
    }
}

impl TryFrom<InferenceCall> for InferenceRequest {
    type Error = WireError;

    fn try_from(call: InferenceCall) -> Result<Self, WireError> {
        match call {
            InferenceCall::Generate(request) => request.try_into(),
            InferenceCall::Chat(request) => request.try_into(),
        }
    }
}

impl From<WeightsRef> for v1::Weights {
    fn from(weights: WeightsRef) -> Self {
        let kind = match weights {
            WeightsRef::Model { model, adapter } => {
                WeightsKind::Model(v1::ModelWeights { model, adapter: adapter.map(super::text) })
            }
            WeightsRef::Job { id, weights } => {
                WeightsKind::Job(v1::JobWeights { id: id.into(), which: weights.number() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::Weights> for WeightsRef {
    type Error = WireError;

    fn try_from(weights: v1::Weights) -> Result<Self, WireError> {
        const NAME: &str = "Weights";
        let v1::Weights { kind } = weights;
        match kind {
            Some(WeightsKind::Model(v1::ModelWeights { model, adapter })) => {
                Ok(Self::Model { model, adapter: adapter.map(PathBuf::from) })
            }
            Some(WeightsKind::Job(v1::JobWeights { id: text, which })) => Ok(Self::Job {
                id: id(NAME, "job.id", text)?,
                weights: JobWeights::optional(NAME, "job.which", which)?.unwrap_or(JobWeights::Trained),
            }),
            None => Err(WireError::new(NAME, "kind", "must be given, `model` or `job`")),
        }
    }
}

impl From<SamplingSpec> for v1::Sampling {
    fn from(sampling: SamplingSpec) -> Self {
        let SamplingSpec { max_new_tokens, temperature, top_p, top_k, seed } = sampling;
        Self { max_new_tokens, temperature, top_p, top_k, seed }
    }
}

impl From<v1::Sampling> for SamplingSpec {
    fn from(sampling: v1::Sampling) -> Self {
        let v1::Sampling { max_new_tokens, temperature, top_p, top_k, seed } = sampling;
        Self { max_new_tokens, temperature, top_p, top_k, seed }
    }
}

impl From<ChatMessage> for v1::ChatMessage {
    fn from(message: ChatMessage) -> Self {
        let ChatMessage { role, content } = message;
        Self { role, content }
    }
}

impl From<v1::ChatMessage> for ChatMessage {
    fn from(message: v1::ChatMessage) -> Self {
        let v1::ChatMessage { role, content } = message;
        Self { role, content }
    }
}

impl From<InferencePart> for v1::InferencePart {
    fn from(part: InferencePart) -> Self {
        let kind = match part {
            InferencePart::Started { device, prompt_tokens } => {
                Part::Started(v1::InferenceStarted { device, prompt_tokens })
            }
            InferencePart::Text { text } => Part::Text(text),
            InferencePart::Finished { stop_reason, new_tokens, elapsed_millis } => {
                Part::Finished(v1::InferenceFinished {
                    reason: stop_reason.number(),
                    new_tokens,
                    elapsed_millis,
                })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::InferencePart> for InferencePart {
    type Error = WireError;

    fn try_from(part: v1::InferencePart) -> Result<Self, WireError> {
        const NAME: &str = "InferencePart";
        let v1::InferencePart { kind } = part;
        match kind {
            Some(Part::Started(v1::InferenceStarted { device, prompt_tokens })) => {
                Ok(Self::Started { device, prompt_tokens })
            }
            Some(Part::Text(text)) => Ok(Self::Text { text }),
            Some(Part::Finished(v1::InferenceFinished { reason, new_tokens, elapsed_millis })) => {
                Ok(Self::Finished {
                    stop_reason: FinishReason::required(NAME, "finished.reason", reason)?,
                    new_tokens,
                    elapsed_millis,
                })
            }
            None => Err(WireError::new(NAME, "kind", "must be given, `started`, `text` or `finished`")),
        }
    }
}
