//! The learning-rate schedule with its options, as transformers' `get_scheduler` takes them.

use std::ops::Bound;

use super::findings::{Findings, NOT_NEGATIVE, POSITIVE, SHARE};
use crate::spec::resolved::{Schedule, Warmup, Wsd, WsdShape};
use crate::spec::{LrSchedulerKwargs, LrSchedulerType, TrainSpec, defaults};

/// Largest number of steps anywhere in a spec: 2^40, so that products with sizes fit 64 bits.
pub(super) const MAX_STEPS: u64 = 1 << 40;

const KEY: &str = "train.lr_scheduler_kwargs";

/// The schedule. Options that it does not have are refused by name.
pub(super) fn checked(train: &TrainSpec, learning_rate: f64, findings: &mut Findings) -> Schedule {
    let kind = train.lr_scheduler_type.unwrap_or(LrSchedulerType::Cosine);
    let options = train.lr_scheduler_kwargs.clone().unwrap_or_default();
    refuse_options_of_others(kind, &options, findings);
    match kind {
        LrSchedulerType::Constant => Schedule::Constant,
        LrSchedulerType::ConstantWithWarmup => Schedule::ConstantWithWarmup,
        LrSchedulerType::Linear => Schedule::Linear,
        LrSchedulerType::Cosine => Schedule::Cosine { num_cycles: waves(&options, findings) },
        LrSchedulerType::CosineWithRestarts => {
            Schedule::CosineWithRestarts { num_cycles: restarts(&options, findings) }
        }
        LrSchedulerType::CosineWithMinLr => Schedule::CosineWithMinLr {
            min_lr_rate: min_lr_rate(&options, learning_rate, findings),
            num_cycles: waves(&options, findings),
        },
        LrSchedulerType::Polynomial => polynomial(&options, learning_rate, findings),
        LrSchedulerType::InverseSqrt => Schedule::InverseSqrt {
            timescale: options.timescale.map(|steps| {
                findings.count(
                    &format!("{KEY}.timescale"),
                    steps,
                    1..=MAX_STEPS,
                    "drop it to take the warm-up's length",
                )
            }),
        },
        LrSchedulerType::Wsd => Schedule::Wsd(wsd(&options, train.max_steps, findings)),
    }
}

/// The warm-up, in steps from 1 on and as a share below.
pub(super) fn checked_warmup(train: &TrainSpec, findings: &mut Findings) -> Warmup {
    let key = "train.warmup_steps";
    let hint = "give a whole number of steps, or a share of all steps below 1";
    let warmup = match train.warmup_steps {
        None => Warmup::Steps(0),
        Some(Warmup::Steps(steps)) => Warmup::Steps(findings.count(key, steps, 0..=MAX_STEPS, hint)),
        Some(Warmup::Fraction(share)) if share > 0.0 && share < 1.0 => Warmup::Fraction(share),
        // Formats without a difference between 10 and 10.0 may have made a fraction of a count.
        Some(Warmup::Fraction(steps)) => {
            let is_whole = steps.fract() == 0.0;
            let steps =
                findings.number(key, steps, (Bound::Included(0.0), Bound::Included(MAX_STEPS as f64)), hint);
            if steps.is_finite() && !is_whole && steps > 1.0 {
                findings.refuse(
                    key,
                    format!("{steps:?} is neither a number of steps nor a share of all steps"),
                    hint,
                );
            }
            Warmup::Steps(steps as u64)
        }
    };
    if train.lr_scheduler_type == Some(LrSchedulerType::Constant) && warmup != Warmup::Steps(0) {
        findings.refuse(
            key,
            "the schedule `constant` has no warm-up",
            "set `train.lr_scheduler_type` to `constant_with_warmup`, or drop the key",
        );
    }
    warmup
}

fn refuse_options_of_others(kind: LrSchedulerType, options: &LrSchedulerKwargs, findings: &mut Findings) {
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
    } = options;
    let given = [
        ("min_lr", min_lr.is_some()),
        ("min_lr_rate", min_lr_rate.is_some()),
        ("num_cycles", num_cycles.is_some()),
        ("power", power.is_some()),
        ("lr_end", lr_end.is_some()),
        ("timescale", timescale.is_some()),
        ("num_stable_steps", num_stable_steps.is_some()),
        ("num_decay_steps", num_decay_steps.is_some()),
        ("warmup_type", warmup_type.is_some()),
        ("decay_type", decay_type.is_some()),
        ("min_lr_ratio", min_lr_ratio.is_some()),
    ];
    let own: &[&str] = match kind {
        LrSchedulerType::Constant | LrSchedulerType::ConstantWithWarmup | LrSchedulerType::Linear => &[],
        LrSchedulerType::Cosine | LrSchedulerType::CosineWithRestarts => &["num_cycles"],
        LrSchedulerType::CosineWithMinLr => &["min_lr", "min_lr_rate", "num_cycles"],
        LrSchedulerType::Polynomial => &["power", "lr_end"],
        LrSchedulerType::InverseSqrt => &["timescale"],
        LrSchedulerType::Wsd => &[
            "num_stable_steps",
            "num_decay_steps",
            "warmup_type",
            "decay_type",
            "min_lr_ratio",
            "num_cycles",
        ],
    };
    for (name, _) in given.into_iter().filter(|(name, is_given)| *is_given && !own.contains(name)) {
        let hint = if own.is_empty() {
            "it takes no options".to_owned()
        } else {
            format!("it has: {}", own.join(", "))
        };
        let message = format!("the schedule `{}` has no option `{name}`", kind.name());
        findings.refuse(&format!("{KEY}.{name}"), message, hint);
    }
}

fn waves(options: &LrSchedulerKwargs, findings: &mut Findings) -> f64 {
    let num_cycles = options.num_cycles.unwrap_or(defaults::NUM_CYCLES);
    findings.number(&format!("{KEY}.num_cycles"), num_cycles, POSITIVE, "0.5 falls once")
}

fn restarts(options: &LrSchedulerKwargs, findings: &mut Findings) -> u64 {
    let Some(num_cycles) = options.num_cycles else { return defaults::NUM_RESTARTS };
    let key = format!("{KEY}.num_cycles");
    let range = (Bound::Included(1.0), Bound::Included(MAX_STEPS as f64));
    let num_cycles = findings.number(&key, num_cycles, range, "1 falls once");
    if num_cycles.fract() != 0.0 && num_cycles > 1.0 {
        findings.refuse(&key, format!("{num_cycles} is not a whole number of restarts"), "1 falls once");
    }
    num_cycles as u64
}

fn min_lr_rate(options: &LrSchedulerKwargs, learning_rate: f64, findings: &mut Findings) -> f64 {
    let key = format!("{KEY}.min_lr_rate");
    match (options.min_lr_rate, options.min_lr) {
        (Some(rate), None) => findings.number(&key, rate, SHARE, "0.1 ends at a tenth of the peak"),
        (None, Some(min_lr)) => {
            let range = (Bound::Included(0.0), Bound::Included(learning_rate));
            findings.number(
                &format!("{KEY}.min_lr"),
                min_lr,
                range,
                "the floor is at most `train.learning_rate`",
            ) / learning_rate
        }
        (Some(_), Some(_)) => {
            findings.refuse(
                &key,
                "both `min_lr` and `min_lr_rate` are given, expected one of them",
                "drop one of them",
            );
            0.0
        }
        (None, None) => {
            findings.missing(&key, "`cosine_with_min_lr` needs its floor, as in `min_lr_rate = 0.1`");
            0.0
        }
    }
}

fn polynomial(options: &LrSchedulerKwargs, learning_rate: f64, findings: &mut Findings) -> Schedule {
    let power = options.power.unwrap_or(defaults::POWER);
    let lr_end = options.lr_end.unwrap_or(defaults::LR_END);
    let end_range = (Bound::Included(0.0), Bound::Excluded(learning_rate));
    Schedule::Polynomial {
        lr_end: findings.number(
            &format!("{KEY}.lr_end"),
            lr_end,
            end_range,
            "the floor must be below `train.learning_rate`",
        ),
        power: findings.number(&format!("{KEY}.power"), power, POSITIVE, "1 is a line"),
    }
}

fn wsd(options: &LrSchedulerKwargs, max_steps: Option<u64>, findings: &mut Findings) -> Wsd {
    let key = format!("{KEY}.num_decay_steps");
    let num_decay_steps = match options.num_decay_steps {
        Some(steps) => findings.count(&key, steps, 1..=MAX_STEPS, "a tenth of all steps is usual"),
        None => {
            findings.missing(&key, "`wsd` needs the length of its decay, as in `num_decay_steps = 100`");
            1
        }
    };
    if let Some(max_steps) = max_steps.filter(|max_steps| num_decay_steps > *max_steps) {
        let message = format!("the decay of {num_decay_steps} steps is longer than the run of {max_steps}");
        findings.refuse(&key, message, "shorten the decay, or raise `train.max_steps`");
    }
    let num_stable_steps = options.num_stable_steps.map(|steps| {
        findings.count(
            &format!("{KEY}.num_stable_steps"),
            steps,
            0..=MAX_STEPS,
            "drop it to take what is left",
        )
    });
    let ratio = options.min_lr_ratio.unwrap_or(defaults::MIN_LR_RATIO);
    let num_cycles = options.num_cycles.unwrap_or(defaults::NUM_CYCLES);
    Wsd {
        num_stable_steps,
        num_decay_steps,
        warmup_type: options.warmup_type.unwrap_or(WsdShape::Linear),
        decay_type: options.decay_type.unwrap_or(WsdShape::Cosine),
        min_lr_ratio: findings.number(&format!("{KEY}.min_lr_ratio"), ratio, SHARE, "0 falls to 0"),
        num_cycles: findings.number(&format!("{KEY}.num_cycles"), num_cycles, NOT_NEGATIVE, "0.5 falls once"),
    }
}
