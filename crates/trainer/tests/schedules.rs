//! Learning rates against transformers.
//!
//! `cases.json` and `options.json` hold the rates that `transformers.get_scheduler` 5.23.0 gave to each optimizer
//! step; `make_options.py` beside them made the second. Tolerance 1e-12 relative: both sides compute in f64, and
//! only cos, sqrt and pow may round differently.

use ftl_core::spec::resolved::{Schedule, Warmup, Wsd, WsdShape};
use ftl_trainer::optim::schedule::LearningRate;
use serde::Deserialize;
use serde_json::{Map, Value};

const RELATIVE_TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Case {
    name: String,
    base_lr: f64,
    warmup_steps: u64,
    total_steps: u64,
    options: Map<String, Value>,
    lr_used_per_step: Vec<f64>,
}

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[test]
fn every_schedule_gives_the_rates_of_transformers() {
    for case in cases() {
        let rate = learning_rate(&case);
        assert_eq!(case.lr_used_per_step.len() as u64, case.total_steps);
        for (step_index, &expected) in (0..).zip(&case.lr_used_per_step) {
            let got = rate.at(step_index);
            assert!(
                is_close(got, expected),
                "{}: step index {step_index}: {got} for {expected}",
                title(&case)
            );
        }
    }
}

#[test]
fn rates_shifted_by_one_step_are_noticed() {
    let shifted = |case: &Case| {
        let rate = learning_rate(case);
        (1..)
            .zip(&case.lr_used_per_step)
            .any(|(step_index, &expected)| !is_close(rate.at(step_index), expected))
    };
    for case in cases() {
        let is_flat = case.lr_used_per_step.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(is_flat || shifted(&case), "{} does not notice a shift", title(&case));
    }
}

#[test]
fn every_schedule_with_a_warm_up_starts_at_rate_zero() {
    for case in cases() {
        let has_floor = case.options.contains_key("min_lr_ratio");
        if case.warmup_steps > 0 && case.name != "constant" && !has_floor {
            assert_eq!(learning_rate(&case).at(0), 0.0, "{}", title(&case));
        }
    }
}

#[test]
fn a_fraction_of_warm_up_is_rounded_up_to_whole_steps() {
    for (fraction, total_steps, warmup_steps) in [(0.1, 25, 3), (0.25, 20, 5), (0.001, 10, 1), (0.0, 10, 0)] {
        let rate = |warmup| LearningRate::new(&Schedule::Linear, 1e-3, warmup, total_steps);
        let by_fraction = rate(Warmup::Fraction(fraction));
        for step_index in 0..total_steps {
            assert_eq!(by_fraction.at(step_index), rate(Warmup::Steps(warmup_steps)).at(step_index));
        }
        assert_ne!(by_fraction.at(1), rate(Warmup::Steps(warmup_steps + 1)).at(1));
    }
}

#[test]
fn a_run_without_steps_after_its_warm_up_has_finite_rates() {
    let schedules = [
        Schedule::Linear,
        Schedule::Cosine { num_cycles: 0.5 },
        Schedule::CosineWithRestarts { num_cycles: 2 },
        Schedule::CosineWithMinLr { min_lr_rate: 0.1, num_cycles: 0.5 },
        Schedule::Polynomial { lr_end: 1e-7, power: 1.0 },
        Schedule::InverseSqrt { timescale: None },
    ];
    for schedule in schedules {
        let rate = LearningRate::new(&schedule, 1e-3, Warmup::Steps(4), 4);
        for step_index in 0..=5 {
            let lr = rate.at(step_index);
            assert!((0.0..=1e-3).contains(&lr), "{schedule:?}: step index {step_index}: {lr}");
        }
    }
}

fn cases() -> Vec<Case> {
    [include_str!("fixtures/schedules/cases.json"), include_str!("fixtures/schedules/options.json")]
        .into_iter()
        .flat_map(|text| serde_json::from_str::<Fixture>(text).expect("fixtures are JSON").cases)
        .collect()
}

fn learning_rate(case: &Case) -> LearningRate {
    LearningRate::new(&schedule(case), case.base_lr, Warmup::Steps(case.warmup_steps), case.total_steps)
}

fn schedule(case: &Case) -> Schedule {
    let number =
        |key: &str, default: f64| case.options.get(key).map_or(default, |v| v.as_f64().expect("a number"));
    let count = |key: &str| case.options.get(key).map(|v| v.as_u64().expect("a count"));
    let shape = |key: &str, default| {
        case.options.get(key).map_or(default, |v| WsdShape::deserialize(v).expect("a shape of transformers"))
    };
    match case.name.as_str() {
        "constant" => Schedule::Constant,
        "constant_with_warmup" => Schedule::ConstantWithWarmup,
        "linear" => Schedule::Linear,
        "cosine" => Schedule::Cosine { num_cycles: number("num_cycles", 0.5) },
        "cosine_with_restarts" => {
            Schedule::CosineWithRestarts { num_cycles: count("num_cycles").unwrap_or(1) }
        }
        "cosine_with_min_lr" => Schedule::CosineWithMinLr {
            min_lr_rate: number("min_lr_rate", 0.0),
            num_cycles: number("num_cycles", 0.5),
        },
        "polynomial" => Schedule::Polynomial { lr_end: number("lr_end", 1e-7), power: number("power", 1.0) },
        "inverse_sqrt" => Schedule::InverseSqrt { timescale: count("timescale") },
        "warmup_stable_decay" => Schedule::Wsd(Wsd {
            num_stable_steps: count("num_stable_steps"),
            num_decay_steps: count("num_decay_steps").expect("transformers asks for it"),
            warmup_type: shape("warmup_type", WsdShape::Linear),
            decay_type: shape("decay_type", WsdShape::Cosine),
            min_lr_ratio: number("min_lr_ratio", 0.0),
            num_cycles: number("num_cycles", 0.5),
        }),
        name => panic!("unknown schedule `{name}`"),
    }
}

fn title(case: &Case) -> String {
    format!("{} with {}, warm-up {}", case.name, Value::from(case.options.clone()), case.warmup_steps)
}

fn is_close(got: f64, expected: f64) -> bool {
    (got - expected).abs() <= RELATIVE_TOLERANCE * expected.abs().max(f64::MIN_POSITIVE)
}
