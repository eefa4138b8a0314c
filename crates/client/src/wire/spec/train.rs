//! `[train]`: steps, rates, and what happens when.

use ftl_core::spec::resolved::{Checkpointing, Warmup, WsdShape};
use ftl_core::spec::{LrSchedulerKwargs, LrSchedulerType, Optim, TrainSpec};

use crate::wire::error::optional;
use crate::wire::numbered::{number_or_unspecified, numbered};
use crate::wire::{Numbered as _, WireError, v1};
use v1::train_spec::Warmup as WireWarmup;

numbered!(Optim, v1::train_spec::Optim, "TrainSpec.Optim": Adamw, Adamw8bit);
numbered!(
    Checkpointing, v1::train_spec::GradientCheckpointing, "TrainSpec.GradientCheckpointing":
    Auto, None, Block,
);
numbered!(
    LrSchedulerType, v1::train_spec::LrSchedulerType, "TrainSpec.LrSchedulerType":
    Constant, ConstantWithWarmup, Linear, Cosine, CosineWithRestarts, CosineWithMinLr, Polynomial, InverseSqrt, Wsd,
);
numbered!(
    WsdShape, v1::lr_scheduler_kwargs::WsdShape, "LrSchedulerKwargs.WsdShape":
    Linear, Cosine, OneMinusSqrt,
);

impl From<TrainSpec> for v1::TrainSpec {
    fn from(spec: TrainSpec) -> Self {
        let TrainSpec {
            num_train_epochs,
            max_steps,
            per_device_train_batch_size,
            gradient_accumulation_steps,
            group_by_length,
            learning_rate,
            lr_scheduler_type,
            lr_scheduler_kwargs,
            warmup_steps,
            optim,
            adam_beta1,
            adam_beta2,
            adam_epsilon,
            weight_decay,
            max_grad_norm,
            neftune_noise_alpha,
            gradient_checkpointing,
            seed,
            logging_steps,
            eval_steps,
            save_steps,
            save_total_limit,
            load_best_model_at_end,
            early_stopping_patience,
        } = spec;
        Self {
            num_train_epochs,
            max_steps,
            per_device_train_batch_size,
            gradient_accumulation_steps,
            group_by_length,
            learning_rate,
            lr_scheduler_type: number_or_unspecified(lr_scheduler_type),
            lr_scheduler_kwargs: lr_scheduler_kwargs.map(v1::LrSchedulerKwargs::from),
            warmup: warmup_steps.map(|warmup| match warmup {
                Warmup::Steps(steps) => WireWarmup::WarmupSteps(steps),
                Warmup::Fraction(fraction) => WireWarmup::WarmupFraction(fraction),
            }),
            optim: number_or_unspecified(optim),
            adam_beta1,
            adam_beta2,
            adam_epsilon,
            weight_decay,
            max_grad_norm,
            neftune_noise_alpha,
            gradient_checkpointing: number_or_unspecified(gradient_checkpointing),
            seed,
            logging_steps,
            eval_steps,
            save_steps,
            save_total_limit,
            load_best_model_at_end,
            early_stopping_patience,
        }
    }
}

impl TryFrom<v1::TrainSpec> for TrainSpec {
    type Error = WireError;

    fn try_from(spec: v1::TrainSpec) -> Result<Self, WireError> {
        const NAME: &str = "TrainSpec";
        let v1::TrainSpec {
            num_train_epochs,
            max_steps,
            per_device_train_batch_size,
            gradient_accumulation_steps,
            group_by_length,
            learning_rate,
            lr_scheduler_type,
            lr_scheduler_kwargs,
            warmup,
            optim,
            adam_beta1,
            adam_beta2,
            adam_epsilon,
            weight_decay,
            max_grad_norm,
            neftune_noise_alpha,
            gradient_checkpointing,
            seed,
            logging_steps,
            eval_steps,
            save_steps,
            save_total_limit,
            load_best_model_at_end,
            early_stopping_patience,
        } = spec;
        Ok(Self {
            num_train_epochs,
            max_steps,
            per_device_train_batch_size,
            gradient_accumulation_steps,
            group_by_length,
            learning_rate,
            lr_scheduler_type: LrSchedulerType::optional(NAME, "lr_scheduler_type", lr_scheduler_type)?,
            lr_scheduler_kwargs: optional(NAME, "lr_scheduler_kwargs", lr_scheduler_kwargs)?,
            warmup_steps: warmup.map(|warmup| match warmup {
                WireWarmup::WarmupSteps(steps) => Warmup::Steps(steps),
                WireWarmup::WarmupFraction(fraction) => Warmup::Fraction(fraction),
            }),
            optim: Optim::optional(NAME, "optim", optim)?,
            adam_beta1,
            adam_beta2,
            adam_epsilon,
            weight_decay,
            max_grad_norm,
            neftune_noise_alpha,
            gradient_checkpointing: Checkpointing::optional(
                NAME,
                "gradient_checkpointing",
                gradient_checkpointing,
            )?,
            seed,
            logging_steps,
            eval_steps,
            save_steps,
            save_total_limit,
            load_best_model_at_end,
            early_stopping_patience,
        })
    }
}

impl From<LrSchedulerKwargs> for v1::LrSchedulerKwargs {
    fn from(kwargs: LrSchedulerKwargs) -> Self {
        let LrSchedulerKwargs {
            min_lr,
            min_lr_rate,
            num_cycles,
            power,
            lr_end,
            timescale,
            num_stable_steps,
            num_decay_steps,
            warmup_type,
            decay_type,
            min_lr_ratio,
        } = kwargs;
        Self {
            min_lr,
            min_lr_rate,
            num_cycles,
            power,
            lr_end,
            timescale,
            num_stable_steps,
            num_decay_steps,
            warmup_type: number_or_unspecified(warmup_type),
            decay_type: number_or_unspecified(decay_type),
            min_lr_ratio,
        }
    }
}

impl TryFrom<v1::LrSchedulerKwargs> for LrSchedulerKwargs {
    type Error = WireError;

    fn try_from(kwargs: v1::LrSchedulerKwargs) -> Result<Self, WireError> {
        const NAME: &str = "LrSchedulerKwargs";
        let v1::LrSchedulerKwargs {
            min_lr,
            min_lr_rate,
            num_cycles,
            power,
            lr_end,
            timescale,
            num_stable_steps,
            num_decay_steps,
            warmup_type,
            decay_type,
            min_lr_ratio,
        } = kwargs;
        Ok(Self {
            min_lr,
            min_lr_rate,
            num_cycles,
            power,
            lr_end,
            timescale,
            num_stable_steps,
            num_decay_steps,
            warmup_type: WsdShape::optional(NAME, "warmup_type", warmup_type)?,
            decay_type: WsdShape::optional(NAME, "decay_type", decay_type)?,
            min_lr_ratio,
        })
    }
}
