//! The angles of the rotary positions.

use std::path::Path;

use burn::tensor::Device;
use ftl_trainer::model::config::DecoderConfig;
use ftl_trainer::model::rope::{RopeTables, attention_factor, inverse_frequencies};
use serde_json::{Value, json};

use crate::golden::{directory, json, numbers};
use crate::outcome::{difference_of, values};

const CASES: [&str; 9] = [
    "default",
    "linear",
    "dynamic_short",
    "dynamic_long",
    "llama3",
    "yarn",
    "yarn_opts",
    "longrope_short",
    "longrope_long",
];

/// Frequencies are relative to the largest, 1; each is compared relative to itself, too. f32 holds 6e-8.
const FREQUENCY_TOLERANCE: f64 = 3e-7;
/// An angle of 900 is rounded to 3e-5 in f32; where both sides round alike, nothing of that is left.
const ANGLE_TOLERANCE: f64 = 5e-5;

#[test]
fn angles_are_those_of_transformers() {
    let Some(fixtures) = directory("FTL_FIXTURES") else { return };
    let cases = json(&fixtures.join("rope/cases.json"));
    let cases = cases["cases"].as_array().expect("a list");
    for name in CASES {
        let case = cases.iter().find(|case| case["name"] == name).expect("the fixture has the case");
        let count = |key: &str| case[key].as_u64().expect("a count") as usize;
        let (head_dim, position, n_tokens) = (count("head_dim"), count("position"), count("seq_len"));
        let config = config(case);
        let rope = &config.ropes[0];
        let factor = case["attention_scaling"].as_f64().expect("a number");
        assert!((attention_factor(rope) / factor - 1.0).abs() < 1e-12, "{name}");

        let frequencies: Vec<f64> =
            inverse_frequencies(rope, config.rotary_dim, n_tokens).into_iter().map(f64::from).collect();
        let want = numbers(&case["inv_freq"]);
        assert_eq!(frequencies.len(), want.len());
        let apart =
            frequencies.iter().zip(&want).map(|(got, want)| (got / want - 1.0).abs()).fold(0.0, f64::max);
        assert!(apart < FREQUENCY_TOLERANCE, "{name}: {apart:.1e}");

        let mut tables = RopeTables::new(&config, &Device::flex());
        tables.reserve(n_tokens + 1);
        let row = |position: usize| {
            let table = &tables.for_length(n_tokens)[0];
            values(&table.cos_sin.clone().narrow(0, position, 1))
        };
        let half = head_dim / 2;
        let want = [&numbers(&case["cos"])[..half], &numbers(&case["sin"])[..half]].concat();
        let seen = difference_of(&row(position), &want);
        println!("{name}: frequencies {apart:.1e}, cos and sin {seen:.1e}");
        assert!(seen < ANGLE_TOLERANCE, "{name}: {seen:.1e}");
        assert!(difference_of(&row(position - 1), &want) > 100.0 * ANGLE_TOLERANCE);
    }
}

fn config(case: &Value) -> DecoderConfig {
    let Value::Object(config) = json!({
        "model_type": "llama",
        "head_dim": case["head_dim"],
        "max_position_embeddings": case["max_position_embeddings"],
        "rope_parameters": case["rope_parameters"],
    }) else {
        unreachable!("the config is an object")
    };
    DecoderConfig::from_json(config, Path::new("config.json")).expect("the config is sound")
}
