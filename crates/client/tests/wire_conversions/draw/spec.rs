//! Specs, kept and preset ones too.

use ftl_core::ConfigId;
use ftl_core::config::{Config, Preset};
use ftl_core::spec::resolved::{Checkpointing, ModelDtype, ModelInit, TargetModules, Warmup, WsdShape};
use ftl_core::spec::{
    AdapterKind, AdapterSpec, Columns, DataSpec, DeviceSpec, EvalSpec, Field, JobSpec, LossType,
    LrSchedulerKwargs, LrSchedulerType, MaxMemory, MethodKind, MethodSpec, ModelSpec, Optim, PredictionsSpec,
    QuantizationKind, QuantizationSpec, TrainFileSpec, TrainSpec,
};
use std::collections::BTreeMap;

use super::{Draw, FORMATS, STRATEGIES};

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

const SHAPES: [WsdShape; 3] = [WsdShape::Linear, WsdShape::Cosine, WsdShape::OneMinusSqrt];

impl Draw {
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

    pub(super) fn data_spec(&mut self) -> DataSpec {
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

    pub(super) fn columns(&mut self) -> Columns {
        self.list(|draw| (draw.one(Field::ALL), draw.text())).into_iter().collect()
    }

    pub(super) fn adapter_spec(&mut self) -> AdapterSpec {
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

    pub(super) fn train_spec(&mut self) -> TrainSpec {
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
}
