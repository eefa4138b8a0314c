//! Core's values at random. Every type is built whole, without `..`, so that a new field is drawn too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ftl_core::config::{Config, Preset};
use ftl_core::dataset::{
    Bar, CheckPart, CheckProgress, Code, CodeCount, Compression, Container, Cut, DataCheck, Dataset,
    DatasetFacts, DatasetReport, Duplicates, Encoding, FileOwner, FileReport, Finding, HeldOut, Histogram,
    KeptReport, Layout, PreviewRow, RenderedRow, RenderedText, RenderedToken, ReportSummary, RoleCount,
    RowCounts, Severity, Steps, TokenReport, Upload,
};
use ftl_core::event::{NoteLevel, Sampled};
use ftl_core::inference::{
    ChatMessage, FinishReason, InferencePart, InferenceRequest, JobWeights, Prompt, SamplingSpec, WeightsRef,
};
use ftl_core::job::{Artifact, Attempt, Checkpoint, Exit, Job, JobEvent, Phase, Progress, State};
use ftl_core::metrics::{Evaluated, Rewards, Stepped};
use ftl_core::model::{Model, ModelFacts, ModelSource};
use ftl_core::plan::{Change, MemoryParts, MemoryPlan, Proposal};
use ftl_core::spec::resolved::{
    Checkpointing, DataFormat, ExcessLength, ModelDtype, ModelInit, TargetModules, Warmup, WsdShape,
};
use ftl_core::spec::{
    AdapterKind, AdapterSpec, Columns, DataSpec, DeviceSpec, EvalSpec, Field, JobSpec, LossType,
    LrSchedulerKwargs, LrSchedulerType, MaxMemory, MethodKind, MethodSpec, ModelSpec, Optim, PredictionsSpec,
    QuantizationKind, QuantizationSpec, TrainFileSpec, TrainSpec,
};
use ftl_core::system::{GpuReading, Gpus, JobCount, SystemInfo};
use ftl_core::{ConfigId, DatasetId, Event, EventRecord, JobId, ModelId, Problem, ProblemKind};
use proptest::prelude::{Just, Rng as _, Strategy};
use proptest::test_runner::TestRng;

/// Random values of one type.
pub fn random<T: std::fmt::Debug>(draw: impl Fn(&mut Draw) -> T) -> impl Strategy<Value = T> {
    Just(()).prop_perturb(move |(), rng| draw(&mut Draw { rng, presence: Presence::Random }))
}

/// A value in which everything that may be absent is there.
pub fn full<T>(draw: impl Fn(&mut Draw) -> T) -> T {
    let rng = TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    draw(&mut Draw { rng, presence: Presence::All })
}

enum Presence {
    Random,
    All,
}

pub struct Draw {
    rng: TestRng,
    presence: Presence,
}

const KINDS: [ProblemKind; 18] = [
    ProblemKind::Syntax,
    ProblemKind::UnknownKey,
    ProblemKind::MissingKey,
    ProblemKind::InvalidValue,
    ProblemKind::NotAvailable,
    ProblemKind::NotFound,
    ProblemKind::BrokenModel,
    ProblemKind::UnsupportedModel,
    ProblemKind::BrokenAdapter,
    ProblemKind::BadData,
    ProblemKind::BadTemplate,
    ProblemKind::OutputExists,
    ProblemKind::BrokenCheckpoint,
    ProblemKind::Diverged,
    ProblemKind::Device,
    ProblemKind::OutOfMemory,
    ProblemKind::Worker,
    ProblemKind::Storage,
];

const PHASES: [Phase; 10] = [
    Phase::Validating,
    Phase::Planning,
    Phase::Downloading,
    Phase::Loading,
    Phase::Tokenizing,
    Phase::Training,
    Phase::Evaluating,
    Phase::Sampling,
    Phase::Saving,
    Phase::Exporting,
];

const FORMATS: [DataFormat; 9] = [
    DataFormat::Messages,
    DataFormat::Auto,
    DataFormat::Sharegpt,
    DataFormat::Alpaca,
    DataFormat::PromptCompletion,
    DataFormat::QuestionAnswer,
    DataFormat::Text,
    DataFormat::Preference,
    DataFormat::Tokens,
];

const SCHEDULES: [LrSchedulerType; 9] = [
    LrSchedulerType::Constant,
    LrSchedulerType::ConstantWithWarmup,
    LrSchedulerType::Linear,
    LrSchedulerType::Cosine,
    LrSchedulerType::CosineWithRestarts,
    LrSchedulerType::CosineWithMinLr,
    LrSchedulerType::Polynomial,
    LrSchedulerType::InverseSqrt,
    LrSchedulerType::Wsd,
];

const STRATEGIES: [ExcessLength; 4] =
    [ExcessLength::Error, ExcessLength::Drop, ExcessLength::Truncate, ExcessLength::Split];

const SHAPES: [WsdShape; 3] = [WsdShape::Linear, WsdShape::Cosine, WsdShape::OneMinusSqrt];

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        (self.rng.next_u64() % limit as u64) as usize
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    fn one<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match self.presence {
            Presence::All => Some(draw(self)),
            Presence::Random => self.flag().then(|| draw(self)),
        }
    }

    fn list<T>(&mut self, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n_items = match self.presence {
            Presence::All => 2,
            Presence::Random => self.below(4),
        };
        (0..n_items).map(|_| draw(self)).collect()
    }

    /// Any of 2^64, and the ends often.
    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => u64::MAX,
            1 => 1,
            _ => self.rng.next_u64(),
        }
    }

    fn small(&mut self) -> u32 {
        self.rng.next_u64() as u32
    }

    /// Also no number and infinities. Not -0: prost leaves it out as if it were 0, where a field can't be absent.
    fn float(&mut self) -> f64 {
        match self.below(8) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => 0.0,
            3 => f64::MIN_POSITIVE / 2.0,
            _ => f64::from_bits(self.rng.next_u64() | 1),
        }
    }

    fn text(&mut self) -> String {
        const SAMPLES: [&str; 6] = ["", "train.jsonl", "Ünïcode 🦀", "two\nlines\0", " spaces ", "`tick`"];
        let sample = self.one(&SAMPLES);
        format!("{sample}{}", self.below(1_000))
    }

    fn path(&mut self) -> PathBuf {
        PathBuf::from("/data").join(self.text().trim_start_matches('/'))
    }

    /// Up to the end of the year 9999.
    fn time(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => 253_402_300_799_999,
            _ => self.rng.next_u64() % 253_402_300_800_000,
        }
    }

    pub fn problem(&mut self) -> Problem {
        Problem {
            kind: self.one(&KINDS),
            field: self.maybe(Self::text),
            message: self.text(),
            hint: self.maybe(Self::text),
        }
    }

    pub fn spec(&mut self) -> JobSpec {
        JobSpec {
            name: self.maybe(Self::text),
            model: ModelSpec {
                path: self.maybe(Self::path),
                dtype: self.maybe(|draw| {
                    draw.one(&[ModelDtype::Auto, ModelDtype::Bf16, ModelDtype::F16, ModelDtype::F32])
                }),
                init: self.maybe(|draw| draw.one(&[ModelInit::Pretrained, ModelInit::Random])),
            },
            data: self.data_spec(),
            method: MethodSpec {
                kind: self.maybe(|draw| {
                    draw.one(&[MethodKind::Sft, MethodKind::Cpt, MethodKind::Dpo, MethodKind::Orpo])
                }),
                beta: self.maybe(Self::float),
                loss_type: self.maybe(|draw| {
                    draw.one(&[LossType::Sigmoid, LossType::Ipo, LossType::Hinge, LossType::Cdpo])
                }),
                label_smoothing: self.maybe(Self::float),
            },
            adapter: self.adapter_spec(),
            quantization: QuantizationSpec {
                kind: self.maybe(|draw| draw.one(&[QuantizationKind::None, QuantizationKind::Nf4])),
                double_quant: self.maybe(Self::flag),
            },
            train: self.train_spec(),
            predictions: self.maybe(|draw| PredictionsSpec {
                count: draw.maybe(Self::number),
                every_steps: draw.maybe(Self::number),
                max_new_tokens: draw.maybe(Self::number),
            }),
            device: DeviceSpec {
                max_memory: self.maybe(|draw| match draw.flag() {
                    true => MaxMemory::Bytes(draw.number()),
                    false => MaxMemory::Text(draw.text()),
                }),
                kind: self.maybe(Self::text),
            },
        }
    }

    fn data_spec(&mut self) -> DataSpec {
        DataSpec {
            train: self.list(|draw| TrainFileSpec {
                path: draw.path(),
                weight: draw.maybe(Self::float),
                max_samples: draw.maybe(Self::number),
                columns: draw.columns(),
                dataset: draw.maybe(Self::text),
            }),
            columns: self.columns(),
            format: self.maybe(|draw| draw.one(&FORMATS)),
            eval: self
                .maybe(|draw| EvalSpec { fraction: draw.maybe(Self::float), path: draw.maybe(Self::path) }),
            max_length: self.maybe(Self::number),
            excess_length_strategy: self.maybe(|draw| draw.one(&STRATEGIES)),
            assistant_only_loss: self.maybe(Self::flag),
            packing: self.maybe(Self::flag),
            shuffle: self.maybe(Self::flag),
            max_samples: self.maybe(Self::number),
            chat_template: self.maybe(Self::path),
        }
    }

    fn columns(&mut self) -> Columns {
        self.list(|draw| (draw.one(Field::ALL), draw.text())).into_iter().collect()
    }

    fn adapter_spec(&mut self) -> AdapterSpec {
        AdapterSpec {
            kind: self.maybe(|draw| draw.one(&[AdapterKind::Lora, AdapterKind::None])),
            r: self.maybe(Self::number),
            lora_alpha: self.maybe(Self::float),
            lora_dropout: self.maybe(Self::float),
            target_modules: self.maybe(|draw| match draw.flag() {
                true => TargetModules::AllLinear,
                false => TargetModules::Named(draw.list(Self::text)),
            }),
            use_rslora: self.maybe(Self::flag),
            use_dora: self.maybe(Self::flag),
            rank_pattern: self.maybe(|draw| {
                draw.list(|draw| (draw.text(), draw.number())).into_iter().collect::<BTreeMap<_, _>>()
            }),
            alpha_pattern: self.maybe(|draw| {
                draw.list(|draw| (draw.text(), draw.float())).into_iter().collect::<BTreeMap<_, _>>()
            }),
            layers_to_transform: self.maybe(|draw| draw.list(Self::number)),
            modules_to_save: self.maybe(|draw| draw.list(Self::text)),
            init_from: self.maybe(Self::path),
        }
    }

    fn train_spec(&mut self) -> TrainSpec {
        const CHECKPOINTING: [Checkpointing; 3] =
            [Checkpointing::Auto, Checkpointing::None, Checkpointing::Block];
        TrainSpec {
            num_train_epochs: self.maybe(Self::float),
            max_steps: self.maybe(Self::number),
            per_device_train_batch_size: self.maybe(Self::number),
            gradient_accumulation_steps: self.maybe(Self::number),
            group_by_length: self.maybe(Self::flag),
            learning_rate: self.maybe(Self::float),
            lr_scheduler_type: self.maybe(|draw| draw.one(&SCHEDULES)),
            lr_scheduler_kwargs: self.maybe(|draw| LrSchedulerKwargs {
                min_lr: draw.maybe(Self::float),
                min_lr_rate: draw.maybe(Self::float),
                num_cycles: draw.maybe(Self::float),
                power: draw.maybe(Self::float),
                lr_end: draw.maybe(Self::float),
                timescale: draw.maybe(Self::number),
                num_stable_steps: draw.maybe(Self::number),
                num_decay_steps: draw.maybe(Self::number),
                warmup_type: draw.maybe(|draw| draw.one(&SHAPES)),
                decay_type: draw.maybe(|draw| draw.one(&SHAPES)),
                min_lr_ratio: draw.maybe(Self::float),
            }),
            warmup_steps: self.maybe(|draw| match draw.flag() {
                true => Warmup::Steps(draw.number()),
                false => Warmup::Fraction(draw.float()),
            }),
            optim: self.maybe(|draw| draw.one(&[Optim::Adamw, Optim::Adamw8bit])),
            adam_beta1: self.maybe(Self::float),
            adam_beta2: self.maybe(Self::float),
            adam_epsilon: self.maybe(Self::float),
            weight_decay: self.maybe(Self::float),
            max_grad_norm: self.maybe(Self::float),
            neftune_noise_alpha: self.maybe(Self::float),
            gradient_checkpointing: self.maybe(|draw| draw.one(&CHECKPOINTING)),
            seed: self.maybe(Self::number),
            logging_steps: self.maybe(Self::number),
            eval_steps: self.maybe(Self::number),
            save_steps: self.maybe(Self::number),
            save_total_limit: self.maybe(Self::number),
            load_best_model_at_end: self.maybe(Self::flag),
            early_stopping_patience: self.maybe(Self::number),
        }
    }

    pub fn job(&mut self) -> Job {
        Job {
            id: JobId::from_bits(self.number()),
            name: self.text(),
            spec: self.spec(),
            state: self.one(&State::ALL),
            reason: self.maybe(Self::text),
            problems: self.list(Self::problem),
            phase: self.maybe(|draw| draw.one(&PHASES)),
            progress: Progress {
                step: self.number(),
                total_steps: self.maybe(Self::number),
                loss_nats: self.maybe(Self::float),
                eval_loss_before_nats: self.maybe(Self::float),
                eval_loss_nats: self.maybe(Self::float),
            },
            n_attempts: self.small(),
            seq: self.number(),
            directory: self.path(),
            created_unix_ms: self.time(),
            started_unix_ms: self.maybe(Self::time),
            ended_unix_ms: self.maybe(Self::time),
        }
    }

    pub fn attempt(&mut self) -> Attempt {
        Attempt {
            number: self.small(),
            started_unix_ms: self.time(),
            ended_unix_ms: self.maybe(Self::time),
            exit: self.maybe(|draw| match draw.below(10) {
                0 => Exit::Crashed {
                    signal: draw.maybe(|draw| draw.small() as i32),
                    code: draw.maybe(|draw| draw.small() as i32),
                },
                1 => Exit::Ok,
                2 => Exit::Stopped,
                3 => Exit::Data,
                4 => Exit::Nan,
                5 => Exit::OomGpu,
                6 => Exit::OomHost,
                7 => Exit::SpawnFailed,
                8 => Exit::Lost,
                _ => Exit::Cancelled,
            }),
            log_tail: self.maybe(Self::text),
        }
    }

    pub fn checkpoint(&mut self) -> Checkpoint {
        Checkpoint {
            step: self.number(),
            attempt: self.small(),
            path: self.path(),
            bytes: self.number(),
            created_unix_ms: self.time(),
        }
    }

    pub fn artifact(&mut self) -> Artifact {
        Artifact { kind: self.text(), path: self.path(), bytes: self.number(), created_unix_ms: self.time() }
    }

    pub fn event(&mut self) -> JobEvent {
        let event = match self.below(8) {
            0 => Event::State { state: self.one(&State::ALL), reason: self.maybe(Self::text) },
            1 => Event::Phase {
                phase: self.one(&PHASES),
                done: self.maybe(Self::number),
                total: self.maybe(Self::number),
                unit: self.maybe(Self::text),
            },
            2 => {
                Event::Note { level: self.one(&[NoteLevel::Info, NoteLevel::Warning]), message: self.text() }
            }
            3 => Event::Stepped(Stepped {
                step: self.number(),
                epoch: self.float(),
                loss_nats: self.float(),
                grad_norm: self.float(),
                learning_rate: self.float(),
                tokens: self.number(),
                supervised_tokens: self.number(),
                samples: self.number(),
                tokens_per_sec: self.float(),
                samples_per_sec: self.float(),
                step_millis: self.float(),
                data_millis: self.float(),
                rewards: self.maybe(Self::rewards),
            }),
            4 => Event::Evaluated(Evaluated {
                step: self.number(),
                loss_nats: self.float(),
                perplexity: self.float(),
                token_accuracy: self.float(),
                tokens: self.number(),
                rewards: self.maybe(Self::rewards),
            }),
            5 => Event::Sampled(Sampled {
                step: self.number(),
                prompt: self.text(),
                text: self.text(),
                reference: self.maybe(Self::text),
            }),
            6 => Event::Saved { step: self.number(), path: self.text(), bytes: self.number() },
            _ => Event::Exported { path: self.text(), kind: self.text() },
        };
        let record = EventRecord { seq: self.number(), time_unix_ms: self.time(), event };
        JobEvent { attempt: self.small(), record }
    }

    fn rewards(&mut self) -> Rewards {
        Rewards {
            rewards_chosen: self.float(),
            rewards_rejected: self.float(),
            reward_margin: self.float(),
            reward_accuracy: self.float(),
        }
    }

    pub fn dataset(&mut self) -> Dataset {
        Dataset {
            id: DatasetId::from_bits(self.number()),
            name: self.text(),
            path: self.path(),
            owner: self.one(&[FileOwner::User, FileOwner::Service]),
            facts: DatasetFacts {
                format: self.one(&FORMATS),
                n_rows: self.number(),
                bytes: self.number(),
                sha256: self.text(),
            },
            report: self.maybe(Self::report_summary),
            created_unix_ms: self.time(),
        }
    }

    fn report_summary(&mut self) -> ReportSummary {
        ReportSummary {
            number: self.number(),
            created_unix_ms: self.time(),
            model: self.maybe(Self::text),
            is_fit: self.flag(),
            rows: self.row_counts(),
            n_errors: self.number(),
            n_warnings: self.number(),
        }
    }

    fn row_counts(&mut self) -> RowCounts {
        RowCounts {
            read: self.number(),
            accepted: self.number(),
            rejected: self.number(),
            dropped: self.number(),
        }
    }

    pub fn kept_report(&mut self) -> KeptReport {
        KeptReport {
            summary: self.report_summary(),
            check: DataCheck { data: self.data_spec(), model: self.maybe(Self::text) },
            report: self.report(),
        }
    }

    pub fn report(&mut self) -> DatasetReport {
        const SEVERITIES: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];
        DatasetReport {
            files: self.list(Self::file_report),
            rows: self.row_counts(),
            counts: self.list(|draw| CodeCount {
                code: draw.one(Code::ALL),
                severity: draw.one(&SEVERITIES),
                rows: draw.number(),
            }),
            findings: self.list(|draw| Finding {
                code: draw.one(Code::ALL),
                severity: draw.one(&SEVERITIES),
                path: draw.text(),
                row: draw.maybe(Self::number),
                line: draw.maybe(Self::number),
                message: draw.text(),
                hint: draw.maybe(Self::text),
            }),
            duplicates: Duplicates { exact: self.number(), near: self.number() },
            characters: self.histogram(),
            turns: self.histogram(),
            roles: self.list(|draw| RoleCount { role: draw.text(), messages: draw.number() }),
            tokens: self.maybe(Self::token_report),
            held_out: self.maybe(|draw| HeldOut {
                train: draw.number(),
                eval: draw.number(),
                overlap: draw.number(),
            }),
            steps: self.maybe(|draw| Steps {
                per_epoch: draw.number(),
                total: draw.number(),
                epochs: draw.float(),
            }),
        }
    }

    fn file_report(&mut self) -> FileReport {
        const CONTAINERS: [Container; 7] = [
            Container::JsonLines,
            Container::JsonArray,
            Container::JsonObject,
            Container::Csv,
            Container::Tsv,
            Container::Parquet,
            Container::Text,
        ];
        const ENCODINGS: [Encoding; 4] =
            [Encoding::Utf8, Encoding::Utf8Bom, Encoding::Utf16Le, Encoding::Utf16Be];
        FileReport {
            path: self.path(),
            bytes: self.number(),
            sha256: self.maybe(Self::text),
            layout: self.maybe(|draw| Layout {
                container: draw.one(&CONTAINERS),
                compression: draw.maybe(|draw| draw.one(&[Compression::Gzip, Compression::Zstd])),
                encoding: draw.one(&ENCODINGS),
            }),
            format: self.maybe(|draw| draw.one(&FORMATS)),
            confidence: self.float(),
            notes: self.list(Self::text),
            rows: self.row_counts(),
        }
    }

    fn histogram(&mut self) -> Histogram {
        Histogram {
            n: self.number(),
            total: self.number(),
            min: self.number(),
            p50: self.number(),
            p90: self.number(),
            p99: self.number(),
            max: self.number(),
            bars: self.list(|draw| Bar { from: draw.number(), below: draw.number(), rows: draw.number() }),
        }
    }

    fn token_report(&mut self) -> TokenReport {
        TokenReport {
            max_length: self.number(),
            template: self.maybe(Self::text),
            per_row: self.histogram(),
            samples: self.number(),
            total: self.number(),
            supervised: self.number(),
            rows_without_supervised: self.number(),
            rows_with_end: self.number(),
            rows_with_special_tokens_in_text: self.number(),
            cut: Cut {
                strategy: self.one(&STRATEGIES),
                rows: self.number(),
                tokens: self.number(),
                supervised_tokens: self.number(),
                ends: self.number(),
            },
        }
    }

    pub fn check_part(&mut self) -> CheckPart {
        match self.flag() {
            true => CheckPart::Progress(CheckProgress {
                phase: self.one(&PHASES),
                done: self.maybe(Self::number),
                total: self.maybe(Self::number),
                unit: self.maybe(Self::text),
            }),
            false => CheckPart::Report(Box::new(self.report())),
        }
    }

    pub fn upload(&mut self) -> Upload {
        Upload { sha256: self.text(), received_bytes: self.number(), is_complete: self.flag() }
    }

    pub fn rendered_row(&mut self) -> RenderedRow {
        RenderedRow {
            number: self.number(),
            texts: self.list(|draw| RenderedText {
                role: draw.text(),
                text: draw.text(),
                tokens: draw.list(|draw| RenderedToken {
                    id: draw.small(),
                    text: draw.text(),
                    is_trained: draw.flag(),
                }),
            }),
        }
    }

    pub fn row(&mut self) -> PreviewRow {
        PreviewRow { number: self.number(), json: self.text(), problem: self.maybe(Self::text) }
    }

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

    pub fn config(&mut self) -> Config {
        Config {
            id: ConfigId::from_bits(self.number()),
            name: self.text(),
            spec: self.spec(),
            created_unix_ms: self.time(),
            updated_unix_ms: self.time(),
        }
    }

    pub fn preset(&mut self) -> Preset {
        Preset { name: self.text(), description: self.text(), spec: self.spec() }
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
