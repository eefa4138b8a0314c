//! Models, inference, plans and the machine.

use ftl_core::event::Sampled;
use ftl_core::inference::{
    ChatMessage, FinishReason, InferencePart, InferenceRequest, JobWeights, Prompt, SamplingSpec, WeightsRef,
};
use ftl_core::job::{Prediction, State};
use ftl_core::model::{Model, ModelFacts, ModelSource};
use ftl_core::plan::{Change, MemoryParts, MemoryPlan, Proposal};
use ftl_core::spec::resolved::Checkpointing;
use ftl_core::system::{
    GpuReading, GpuSample, Gpus, JobCount, JobStorage, SampleFilter, Storage, SystemInfo,
};
use ftl_core::{JobId, ModelId};

use super::Draw;

impl Draw {
    pub fn facts(&mut self) -> ModelFacts {
        ModelFacts {
            architecture: self.text(),
            model_type: self.text(),
            parameters: self.number(),
            weight_bytes: self.maybe(Self::number),
            context_tokens: self.number(),
            vocab_size: self.number(),
            n_layers: self.number(),
            hidden_size: self.number(),
            lora_targets: self.list(Self::text),
            chat_template: self.maybe(Self::text),
        }
    }

    pub fn model(&mut self) -> Model {
        let source = match self.flag() {
            true => ModelSource::Imported {
                id: ModelId::from_bits(self.number()),
                facts: self.facts(),
                created_unix_ms: self.time(),
            },
            false => ModelSource::HuggingFaceCache { revision: self.text() },
        };
        Model { name: self.text(), path: self.path(), source }
    }

    pub fn inference_request(&mut self) -> InferenceRequest {
        InferenceRequest {
            weights: match self.flag() {
                true => WeightsRef::Model { model: self.text(), adapter: self.maybe(Self::path) },
                false => WeightsRef::Job {
                    id: JobId::from_bits(self.number()),
                    weights: self.one(&[JobWeights::Trained, JobWeights::Base]),
                },
            },
            prompt: match self.flag() {
                true => Prompt::Text(self.text()),
                false => Prompt::Messages(
                    self.list(|draw| ChatMessage { role: draw.text(), content: draw.text() }),
                ),
            },
            sampling: SamplingSpec {
                max_new_tokens: self.maybe(Self::number),
                temperature: self.maybe(Self::float),
                top_p: self.maybe(Self::float),
                top_k: self.maybe(Self::number),
                seed: self.maybe(Self::number),
            },
            device: self.maybe(Self::text),
        }
    }

    pub fn inference_part(&mut self) -> InferencePart {
        const REASONS: [FinishReason; 4] =
            [FinishReason::Eos, FinishReason::MaxNewTokens, FinishReason::ContextFull, FinishReason::Stopped];
        match self.below(3) {
            0 => InferencePart::Started { device: self.text(), prompt_tokens: self.number() },
            1 => InferencePart::Text { text: self.text() },
            _ => InferencePart::Finished {
                stop_reason: self.one(&REASONS),
                new_tokens: self.number(),
                elapsed_millis: self.number(),
            },
        }
    }

    pub fn system_info(&mut self) -> SystemInfo {
        SystemInfo {
            version: self.text(),
            pid: self.small(),
            started_unix_ms: self.time(),
            data_directory: self.path(),
            free_disk_bytes: self.maybe(Self::number),
            cpu: self.maybe(Self::text),
            n_threads: self.number(),
            memory_bytes: self.maybe(Self::number),
            available_bytes: self.maybe(Self::number),
            is_built_with_cuda: self.flag(),
            jobs: self.list(|draw| JobCount { state: draw.one(&State::ALL), n_jobs: draw.number() }),
        }
    }

    pub fn memory_plan(&mut self) -> MemoryPlan {
        MemoryPlan {
            fits: self.flag(),
            peak_bytes: self.number(),
            available_bytes: self.maybe(Self::number),
            parts: MemoryParts {
                weights: self.number(),
                adapter: self.number(),
                optimizer: self.number(),
                gradients: self.number(),
                activations: self.number(),
                block: self.number(),
                logits: self.number(),
                dequantize: self.number(),
                runtime: self.number(),
                gaps: self.number(),
            },
            device: self.text(),
            gradient_checkpointing: self.one(&[Checkpointing::None, Checkpointing::Block]),
            most_tokens: self.number(),
            proposals: self.list(|draw| Proposal {
                changes: draw.list(|draw| Change { key: draw.text(), value: draw.text() }),
                peak_bytes: draw.number(),
            }),
        }
    }

    pub fn gpu_sample(&mut self) -> GpuSample {
        GpuSample {
            job: JobId::from_bits(self.number()),
            time_unix_ms: self.time(),
            index: self.small(),
            uuid: self.text(),
            memory_total_bytes: self.number(),
            memory_used_bytes: self.number(),
            utilization_percent: self.maybe(Self::small),
            temperature_celsius: self.maybe(Self::small),
            power_watts: self.maybe(Self::float),
        }
    }

    pub fn sample_filter(&mut self) -> SampleFilter {
        SampleFilter {
            job: self.maybe(|draw| JobId::from_bits(draw.number())),
            from_unix_ms: self.maybe(Self::time),
            until_unix_ms: self.maybe(Self::time),
        }
    }

    pub fn storage(&mut self) -> Storage {
        Storage {
            database_bytes: self.number(),
            backups_bytes: self.number(),
            jobs_bytes: self.number(),
            datasets_bytes: self.number(),
            uploads_bytes: self.number(),
            other_bytes: self.number(),
            free_bytes: self.maybe(Self::number),
            largest_jobs: self
                .list(|draw| JobStorage { job: JobId::from_bits(draw.number()), bytes: draw.number() }),
        }
    }

    pub fn prediction(&mut self) -> Prediction {
        Prediction {
            seq: self.number(),
            attempt: self.small(),
            time_unix_ms: self.time(),
            sampled: Sampled {
                step: self.number(),
                prompt: self.text(),
                text: self.text(),
                reference: self.maybe(Self::text),
            },
        }
    }

    pub fn gpus(&mut self) -> Gpus {
        if self.below(4) == 0 {
            return Gpus::Absent { reason: self.text() };
        }
        let driver_version = self.text();
        let gpus = self.list(|draw| GpuReading {
            index: draw.small(),
            uuid: draw.text(),
            name: draw.text(),
            compute_capability: draw.maybe(Self::text),
            memory_total_bytes: draw.number(),
            memory_used_bytes: draw.number(),
            utilization_percent: draw.maybe(Self::small),
            temperature_celsius: draw.maybe(Self::small),
            power_watts: draw.maybe(Self::float),
        });
        Gpus::Present { driver_version, gpus }
    }
}
