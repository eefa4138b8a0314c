//! `[train]`.

use std::ops::{Bound, RangeBounds as _};

use super::findings::{Findings, NOT_NEGATIVE, POSITIVE, Range, SHARE_BELOW_ALL};
use super::schedule::{self, MAX_STEPS};
use crate::spec::resolved::{AdamW, Checkpointing, Duration, Every, FinalWeights, MomentFormat, Train};
use crate::spec::{AdapterKind, MethodKind, Optim, TrainSpec, defaults};

/// Largest batch and accumulation: 2^20 each, so that products of sizes fit 64 bits.
const MAX_BATCH: u64 = 1 << 20;
/// Largest seed: TOML's integers end there, and a spec must mean the same in all three formats.
const MAX_SEED: u64 = i64::MAX as u64;
/// More epochs than any run has.
const EPOCHS: Range = (Bound::Excluded(0.0), Bound::Included(1e6));
/// No optimizer of ours survives a rate above 1.
const LEARNING_RATE: Range = (Bound::Excluded(0.0), Bound::Included(1.0));

/// What the other sections say that matters here.
pub(super) struct Context {
    pub(super) method: MethodKind,
    pub(super) adapter: AdapterKind,
    pub(super) has_eval: bool,
}

/// Steps and rates.
pub(super) fn checked(train: &TrainSpec, context: Context, findings: &mut Findings) -> Train {
    let Context { method, adapter, has_eval } = context;
    let learning_rate = train.learning_rate.unwrap_or_else(|| default_learning_rate(method, adapter));
    let learning_rate =
        findings.number("train.learning_rate", learning_rate, LEARNING_RATE, "1e-5 to 5e-4 is usual");
    // A rate that is refused already is no limit for the floors of the schedules.
    let peak = if LEARNING_RATE.contains(&learning_rate) { learning_rate } else { 1.0 };
    Train {
        duration: duration(train, findings),
        per_device_train_batch_size: findings.count(
            "train.per_device_train_batch_size",
            train.per_device_train_batch_size.unwrap_or(defaults::BATCH_SIZE),
            1..=MAX_BATCH,
            "1 takes the least memory",
        ),
        gradient_accumulation_steps: findings.count(
            "train.gradient_accumulation_steps",
            train.gradient_accumulation_steps.unwrap_or(defaults::ACCUMULATION_STEPS),
            1..=MAX_BATCH,
            "1 updates after each microbatch",
        ),
        learning_rate,
        schedule: schedule::checked(train, peak, findings),
        warmup: schedule::checked_warmup(train, findings),
        adamw: adamw(train, findings),
        moments: match train.optim.unwrap_or(Optim::Adamw) {
            Optim::Adamw => MomentFormat::F32,
            Optim::Adamw8bit => MomentFormat::Blockwise8Bit,
        },
        max_grad_norm: max_grad_norm(train, findings),
        neftune_noise_alpha: neftune(train, findings),
        gradient_checkpointing: train.gradient_checkpointing.unwrap_or(Checkpointing::Auto),
        seed: findings.count(
            "train.seed",
            train.seed.unwrap_or(defaults::SEED),
            0..=MAX_SEED,
            "any smaller one will do",
        ),
        logging: every(
            "train.logging_steps",
            Some(train.logging_steps.unwrap_or(defaults::LOGGING_STEPS)),
            findings,
        ),
        eval: eval(train, has_eval, findings),
        save: every("train.save_steps", train.save_steps, findings),
        save_total_limit: Some(findings.count(
            "train.save_total_limit",
            train.save_total_limit.unwrap_or(defaults::SAVE_TOTAL_LIMIT),
            1..=MAX_STEPS,
            "1 keeps only the last and the best; `train.save_steps` = 0 writes none",
        )),
        result: result(train, has_eval, findings),
        early_stopping_patience: patience(train, has_eval, findings),
    }
}

fn default_learning_rate(method: MethodKind, adapter: AdapterKind) -> f64 {
    match (method, adapter) {
        (MethodKind::Sft, AdapterKind::Lora) => defaults::LEARNING_RATE_LORA,
        (MethodKind::Sft, AdapterKind::None) | (MethodKind::Cpt, _) => defaults::LEARNING_RATE_FULL,
        (MethodKind::Dpo, _) => defaults::LEARNING_RATE_DPO,
        (MethodKind::Orpo, _) => defaults::LEARNING_RATE_ORPO,
    }
}

fn duration(train: &TrainSpec, findings: &mut Findings) -> Duration {
    let epochs = train.num_train_epochs.unwrap_or(defaults::NUM_TRAIN_EPOCHS);
    let epochs =
        findings.number("train.num_train_epochs", epochs, EPOCHS, "3 is usual, 0.5 is half the data");
    match train.max_steps {
        Some(steps) => Duration::Steps(findings.count(
            "train.max_steps",
            steps,
            1..=MAX_STEPS,
            "drop the key to go by epochs",
        )),
        None => Duration::Epochs(epochs),
    }
}

fn adamw(train: &TrainSpec, findings: &mut Findings) -> AdamW {
    let beta1 = train.adam_beta1.unwrap_or(defaults::ADAM_BETA1);
    let beta2 = train.adam_beta2.unwrap_or(defaults::ADAM_BETA2);
    let epsilon = train.adam_epsilon.unwrap_or(defaults::ADAM_EPSILON);
    let weight_decay = train.weight_decay.unwrap_or(defaults::WEIGHT_DECAY);
    AdamW {
        beta1: findings.number("train.adam_beta1", beta1, SHARE_BELOW_ALL, "0.9 is usual"),
        beta2: findings.number("train.adam_beta2", beta2, SHARE_BELOW_ALL, "0.999 is usual"),
        epsilon: findings.number("train.adam_epsilon", epsilon, POSITIVE, "1e-8 is usual"),
        weight_decay: findings.number("train.weight_decay", weight_decay, NOT_NEGATIVE, "0 turns it off"),
    }
}

fn max_grad_norm(train: &TrainSpec, findings: &mut Findings) -> Option<f64> {
    let norm = train.max_grad_norm.unwrap_or(defaults::MAX_GRAD_NORM);
    let norm = findings.number("train.max_grad_norm", norm, NOT_NEGATIVE, "1 is usual, 0 turns clipping off");
    (norm != 0.0).then_some(norm)
}

fn neftune(train: &TrainSpec, findings: &mut Findings) -> Option<f64> {
    let alpha = train.neftune_noise_alpha.unwrap_or(0.0);
    let hint = "5 to 15 are usual, 0 means no noise";
    let alpha = findings.number("train.neftune_noise_alpha", alpha, NOT_NEGATIVE, hint);
    (alpha != 0.0).then_some(alpha)
}

fn eval(train: &TrainSpec, has_eval: bool, findings: &mut Findings) -> Every {
    if has_eval {
        return every("train.eval_steps", train.eval_steps, findings);
    }
    if let Some(steps) = train.eval_steps.filter(|&steps| steps > 0) {
        findings.refuse(
            "train.eval_steps",
            format!("nothing is held out to be scored every {steps} steps"),
            "set `data.eval`, or drop the key",
        );
    }
    Every::Never
}

fn result(train: &TrainSpec, has_eval: bool, findings: &mut Findings) -> FinalWeights {
    if train.load_best_model_at_end != Some(true) {
        return FinalWeights::Last;
    }
    needs_scores("train.load_best_model_at_end", train, has_eval, findings);
    FinalWeights::Best
}

fn patience(train: &TrainSpec, has_eval: bool, findings: &mut Findings) -> Option<u64> {
    const KEY: &str = "train.early_stopping_patience";
    let patience = train.early_stopping_patience.filter(|&patience| patience > 0)?;
    needs_scores(KEY, train, has_eval, findings);
    Some(findings.count(KEY, patience, 0..=MAX_STEPS, "0 means never"))
}

/// Refuses a key that goes by the scores of held-out data where there are none.
fn needs_scores(key: &str, train: &TrainSpec, has_eval: bool, findings: &mut Findings) {
    if !has_eval {
        let message = "nothing is held out whose loss would say which weights are better";
        findings.refuse(key, message, "set `data.eval`, or drop the key");
    } else if train.eval_steps == Some(0) {
        let message = "the held-out data is never scored (`train.eval_steps` = 0)";
        findings.refuse(key, message, "drop one of the two");
    }
}

fn every(key: &str, steps: Option<u64>, findings: &mut Findings) -> Every {
    match steps {
        None => Every::Epoch,
        Some(0) => Every::Never,
        Some(steps) => Every::Steps(findings.count(key, steps, 0..=MAX_STEPS, "0 means never")),
    }
}
