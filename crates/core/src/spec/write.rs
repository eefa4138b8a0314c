//! The way back: a checked spec as the user could have written it, with every default in place.
//!
//! What a default has no value for (`data.max_samples`: all; `train.save_steps`: every epoch) stays absent, which
//! means the same.

use super::resolved::{
    AdamW, Adapter, CheckedSpec, Data, Device, DpoLoss, Duration, Eval, Every, FinalWeights, Lora,
    LoraExpectation, LoraScale, LoraShape, LoraVariant, LossOn, Method, Model, MomentFormat, PredictionTimes,
    Predictions, Quantization, Rows, SampleOrder, Scales, Schedule, Train, TrainFile, Wsd,
};
use super::{
    AdapterKind, AdapterSpec, DataSpec, DeviceSpec, EvalSpec, JobSpec, LossType, LrSchedulerKwargs,
    LrSchedulerType, MaxMemory, MethodKind, MethodSpec, ModelSpec, Optim, PredictionsSpec, QuantizationKind,
    QuantizationSpec, TrainFileSpec, TrainSpec,
};
use crate::error::{Problem, ProblemKind};

impl JobSpec {
    /// The spec as TOML, with the keys that are set.
    ///
    /// # Errors
    /// A [`Problem`] if it holds a path that is no UTF-8.
    pub fn to_toml(&self) -> Result<String, Problem> {
        toml::to_string_pretty(self).map_err(|error| {
            Problem::new(ProblemKind::InvalidValue, format!("the spec can't be written as TOML: {error}"))
        })
    }
}

impl CheckedSpec {
    /// The spec with every default written out. Checking it gives `self` again.
    pub fn to_spec(&self) -> JobSpec {
        let Self { name, model, data, method, adapter, quantization, train, predictions, device } = self;
        let Model { path, dtype, init } = model;
        let Device { kind: device_kind, max_memory_bytes } = device;
        JobSpec {
            name: Some(name.clone()),
            model: ModelSpec { path: Some(path.clone()), dtype: Some(*dtype), init: Some(*init) },
            data: data_spec(data),
            method: method_spec(*method),
            adapter: adapter_spec(adapter),
            quantization: quantization_spec(*quantization),
            train: train_spec(train, data.order),
            predictions: predictions.map(predictions_spec),
            device: DeviceSpec {
                max_memory: max_memory_bytes.map(MaxMemory::Bytes),
                kind: Some(device_kind.to_string()),
            },
        }
    }

    /// [`CheckedSpec::to_spec`] as indented JSON: the text of `spec.resolved.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.to_spec())
            .expect("a checked spec holds UTF-8 paths and text keys, which are all that JSON can refuse");
        text.push('\n');
        text
    }

    /// [`CheckedSpec::to_spec`] as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(&self.to_spec()).expect(
            "a checked spec holds UTF-8 paths and integers below 2^63, which are all that TOML can refuse",
        )
    }
}

fn method_spec(method: Method) -> MethodSpec {
    let of = |kind| MethodSpec { kind: Some(kind), ..MethodSpec::default() };
    match method {
        Method::Sft => of(MethodKind::Sft),
        Method::Cpt => of(MethodKind::Cpt),
        Method::Dpo { beta, loss } => {
            let (loss_type, label_smoothing) = match loss {
                DpoLoss::Sigmoid => (LossType::Sigmoid, None),
                DpoLoss::Ipo => (LossType::Ipo, None),
                DpoLoss::Hinge => (LossType::Hinge, None),
                DpoLoss::Cdpo { label_smoothing } => (LossType::Cdpo, Some(label_smoothing)),
            };
            MethodSpec {
                beta: Some(beta),
                loss_type: Some(loss_type),
                label_smoothing,
                ..of(MethodKind::Dpo)
            }
        }
        Method::Orpo { beta } => MethodSpec { beta: Some(beta), ..of(MethodKind::Orpo) },
    }
}

fn data_spec(data: &Data) -> DataSpec {
    let Data {
        train,
        format,
        columns,
        eval,
        max_length,
        excess_length_strategy,
        loss_on,
        rows,
        order,
        max_samples,
        chat_template,
    } = data;
    DataSpec {
        train: train
            .iter()
            .map(|TrainFile { path, weight, max_samples, columns, dataset }| TrainFileSpec {
                path: path.clone(),
                weight: *weight,
                max_samples: *max_samples,
                columns: columns.clone(),
                dataset: dataset.clone(),
            })
            .collect(),
        format: Some(*format),
        columns: columns.clone(),
        eval: match eval {
            Eval::Never => None,
            Eval::Fraction(fraction) => Some(EvalSpec { fraction: Some(*fraction), path: None }),
            Eval::File(path) => Some(EvalSpec { fraction: None, path: Some(path.clone()) }),
        },
        max_length: *max_length,
        excess_length_strategy: Some(*excess_length_strategy),
        assistant_only_loss: Some(match loss_on {
            LossOn::AssistantTokens => true,
            LossOn::AllTokens => false,
        }),
        packing: Some(match rows {
            Rows::Samples => false,
            Rows::Packed => true,
        }),
        shuffle: Some(match order {
            SampleOrder::Shuffled | SampleOrder::GroupedByLength => true,
            SampleOrder::File => false,
        }),
        max_samples: *max_samples,
        chat_template: chat_template.clone(),
    }
}

fn quantization_spec(quantization: Quantization) -> QuantizationSpec {
    let (kind, double_quant) = match quantization {
        Quantization::None => (QuantizationKind::None, None),
        Quantization::Nf4(Scales::F32) => (QuantizationKind::Nf4, Some(false)),
        Quantization::Nf4(Scales::Double) => (QuantizationKind::Nf4, Some(true)),
    };
    QuantizationSpec { kind: Some(kind), double_quant }
}

fn adapter_spec(adapter: &Adapter) -> AdapterSpec {
    let lora = AdapterSpec { kind: Some(AdapterKind::Lora), ..AdapterSpec::default() };
    match adapter {
        Adapter::None => AdapterSpec { kind: Some(AdapterKind::None), ..AdapterSpec::default() },
        Adapter::Lora(Lora::Fresh(shape)) => {
            let LoraShape {
                r,
                lora_alpha,
                lora_dropout_prob,
                target_modules,
                scale,
                variant,
                rank_pattern,
                alpha_pattern,
                layers_to_transform,
                modules_to_save,
            } = shape.clone();
            AdapterSpec {
                r: Some(r),
                lora_alpha: Some(lora_alpha),
                lora_dropout: Some(lora_dropout_prob),
                target_modules: Some(target_modules),
                use_rslora: Some(is_root(scale)),
                use_dora: Some(is_dora(variant)),
                rank_pattern: Some(rank_pattern).filter(|pattern| !pattern.is_empty()),
                alpha_pattern: Some(alpha_pattern).filter(|pattern| !pattern.is_empty()),
                layers_to_transform,
                modules_to_save: Some(modules_to_save).filter(|names| !names.is_empty()),
                ..lora
            }
        }
        Adapter::Lora(Lora::From { path, expected, lora_dropout_prob }) => {
            let LoraExpectation {
                r,
                lora_alpha,
                target_modules,
                scale,
                variant,
                rank_pattern,
                alpha_pattern,
                layers_to_transform,
                modules_to_save,
            } = expected.clone();
            AdapterSpec {
                r,
                lora_alpha,
                lora_dropout: Some(*lora_dropout_prob),
                target_modules,
                use_rslora: scale.map(is_root),
                use_dora: variant.map(is_dora),
                rank_pattern,
                alpha_pattern,
                layers_to_transform,
                modules_to_save,
                init_from: Some(path.clone()),
                ..lora
            }
        }
    }
}

fn is_root(scale: LoraScale) -> bool {
    match scale {
        LoraScale::ByRank => false,
        LoraScale::ByRootOfRank => true,
    }
}

fn is_dora(variant: LoraVariant) -> bool {
    match variant {
        LoraVariant::Plain => false,
        LoraVariant::Dora => true,
    }
}

fn train_spec(train: &Train, order: SampleOrder) -> TrainSpec {
    let Train {
        duration,
        per_device_train_batch_size,
        gradient_accumulation_steps,
        learning_rate,
        schedule,
        warmup,
        adamw: AdamW { beta1, beta2, epsilon, weight_decay },
        moments,
        max_grad_norm,
        neftune_noise_alpha,
        gradient_checkpointing,
        seed,
        logging,
        eval,
        save,
        save_total_limit,
        result,
        early_stopping_patience,
    } = train;
    let (num_train_epochs, max_steps) = match duration {
        Duration::Epochs(epochs) => (Some(*epochs), None),
        Duration::Steps(steps) => (None, Some(*steps)),
    };
    let (lr_scheduler_type, lr_scheduler_kwargs) = schedule_spec(*schedule);
    TrainSpec {
        num_train_epochs,
        max_steps,
        per_device_train_batch_size: Some(*per_device_train_batch_size),
        gradient_accumulation_steps: Some(*gradient_accumulation_steps),
        group_by_length: Some(order == SampleOrder::GroupedByLength),
        learning_rate: Some(*learning_rate),
        lr_scheduler_type: Some(lr_scheduler_type),
        lr_scheduler_kwargs: Some(lr_scheduler_kwargs)
            .filter(|kwargs| *kwargs != LrSchedulerKwargs::default()),
        warmup_steps: Some(*warmup),
        optim: Some(match moments {
            MomentFormat::F32 => Optim::Adamw,
            MomentFormat::Blockwise8Bit => Optim::Adamw8bit,
        }),
        adam_beta1: Some(*beta1),
        adam_beta2: Some(*beta2),
        adam_epsilon: Some(*epsilon),
        weight_decay: Some(*weight_decay),
        max_grad_norm: Some(max_grad_norm.unwrap_or(0.0)),
        neftune_noise_alpha: Some(neftune_noise_alpha.unwrap_or(0.0)),
        gradient_checkpointing: Some(*gradient_checkpointing),
        seed: Some(*seed),
        logging_steps: steps_of(*logging),
        eval_steps: steps_of(*eval),
        save_steps: steps_of(*save),
        save_total_limit: *save_total_limit,
        load_best_model_at_end: Some(*result == FinalWeights::Best),
        early_stopping_patience: Some(early_stopping_patience.unwrap_or(0)),
    }
}

fn predictions_spec(predictions: Predictions) -> PredictionsSpec {
    let Predictions { count, times, max_new_tokens } = predictions;
    PredictionsSpec {
        count: Some(count),
        every_steps: match times {
            PredictionTimes::Evaluations => None,
            PredictionTimes::Steps(steps) => Some(steps),
        },
        max_new_tokens: Some(max_new_tokens),
    }
}

fn steps_of(every: Every) -> Option<u64> {
    match every {
        Every::Never => Some(0),
        Every::Epoch => None,
        Every::Steps(steps) => Some(steps),
    }
}

fn schedule_spec(schedule: Schedule) -> (LrSchedulerType, LrSchedulerKwargs) {
    let none = LrSchedulerKwargs::default();
    match schedule {
        Schedule::Constant => (LrSchedulerType::Constant, none),
        Schedule::ConstantWithWarmup => (LrSchedulerType::ConstantWithWarmup, none),
        Schedule::Linear => (LrSchedulerType::Linear, none),
        Schedule::Cosine { num_cycles } => {
            (LrSchedulerType::Cosine, LrSchedulerKwargs { num_cycles: Some(num_cycles), ..none })
        }
        Schedule::CosineWithRestarts { num_cycles } => (
            LrSchedulerType::CosineWithRestarts,
            LrSchedulerKwargs { num_cycles: Some(num_cycles as f64), ..none },
        ),
        Schedule::CosineWithMinLr { min_lr_rate, num_cycles } => (
            LrSchedulerType::CosineWithMinLr,
            LrSchedulerKwargs { min_lr_rate: Some(min_lr_rate), num_cycles: Some(num_cycles), ..none },
        ),
        Schedule::Polynomial { lr_end, power } => (
            LrSchedulerType::Polynomial,
            LrSchedulerKwargs { lr_end: Some(lr_end), power: Some(power), ..none },
        ),
        Schedule::InverseSqrt { timescale } => {
            (LrSchedulerType::InverseSqrt, LrSchedulerKwargs { timescale, ..none })
        }
        Schedule::Wsd(Wsd {
            num_stable_steps,
            num_decay_steps,
            warmup_type,
            decay_type,
            min_lr_ratio,
            num_cycles,
        }) => (
            LrSchedulerType::Wsd,
            LrSchedulerKwargs {
                num_stable_steps,
                num_decay_steps: Some(num_decay_steps),
                warmup_type: Some(warmup_type),
                decay_type: Some(decay_type),
                min_lr_ratio: Some(min_lr_ratio),
                num_cycles: Some(num_cycles),
                ..none
            },
        ),
    }
}
