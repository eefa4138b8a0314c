//! The scaling that one section of config.json asks for.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{Reader, RopeScaling, Section, Yarn};

const FACTOR: RangeInclusive<f64> = 1.0..=1e6;
const FREQ_FACTOR: RangeInclusive<f64> = 1e-6..=1e6;
/// LongRoPE's factors are found by search and may be below 1.
const PAIR_FACTOR: RangeInclusive<f64> = 1e-6..=1e6;
const ATTENTION_FACTOR: RangeInclusive<f64> = 1e-6..=1e6;

/// Rotations that bound YaRN's interpolation, where a file gives none.
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;

/// What a section may hold without asking for scaling.
const HARMLESS: [&str; 2] = ["rope_theta", "partial_rotary_factor"];

const ORIGINAL: &str = "original_max_position_embeddings";

impl Reader<'_> {
    pub(super) fn scaling(&mut self, section: Section<'_>) -> RopeScaling {
        let Section { name, keys, .. } = section;
        let kind = match keys.get("rope_type").or_else(|| keys.get("type")) {
            None | Some(Value::Null) if keys.keys().all(|key| HARMLESS.contains(&key.as_str())) => "default",
            None | Some(Value::Null) => {
                self.broken(format!("`{name}` has no `rope_type`"));
                "default"
            }
            Some(Value::String(kind)) => kind,
            Some(other) => {
                self.broken(format!("`{name}.rope_type` is {other}, but must be a name"));
                "default"
            }
        };
        match kind {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: self.factor(section) },
            "dynamic" => self.dynamic(section),
            // Phi-3's first files call LongRoPE by these names.
            "longrope" | "su" => self.long(section),
            "yarn" if keys.contains_key("short_factor") => self.long(section),
            "yarn" => RopeScaling::Yarn(self.yarn(section)),
            "llama3" => self.llama3(section),
            other => {
                self.unsupported(format!(
                    "`{name}.rope_type` is `{other}`, but the engine has only default, linear, dynamic, yarn, \
                     longrope and llama3"
                ));
                RopeScaling::Default
            }
        }
    }

    fn factor(&mut self, section: Section<'_>) -> f64 {
        self.required(section.keys, "factor", &section.key("factor"), FACTOR)
    }

    /// The factor, by default how much longer the context is than before scaling.
    fn factor_or_ratio(&mut self, section: Section<'_>, original_max_positions: usize) -> f64 {
        let factor = self.number(section.keys, "factor", &section.key("factor"), FACTOR);
        factor.unwrap_or(self.facts.max_positions as f64 / original_max_positions as f64)
    }

    fn dynamic(&mut self, section: Section<'_>) -> RopeScaling {
        if section.rotary_dim <= 2 {
            let message = format!(
                "`{}.rope_type` is `dynamic`, which has no meaning for heads of one pair",
                section.name
            );
            self.broken(message);
        }
        RopeScaling::Dynamic {
            factor: self.factor(section),
            original_max_positions: self.facts.max_positions,
        }
    }

    fn yarn(&mut self, section: Section<'_>) -> Yarn {
        let Section { keys, .. } = section;
        let original_max_positions = self.original_max_positions(section);
        let factor = self.factor_or_ratio(section, original_max_positions);
        let mut number = |key: &str| self.number(keys, key, &section.key(key), 0.0..=1e6);
        let (mscale, mscale_all_dim) = (number("mscale"), number("mscale_all_dim"));
        // transformers takes 0 for missing, too.
        let [beta_fast, beta_slow] = [("beta_fast", BETA_FAST), ("beta_slow", BETA_SLOW)]
            .map(|(key, default)| number(key).filter(|beta| *beta > 0.0).unwrap_or(default));
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let by_factor = match (mscale, mscale_all_dim) {
            (Some(mscale), Some(all_dim)) if mscale != 0.0 && all_dim != 0.0 => {
                scale(mscale) / scale(all_dim)
            }
            (Some(_) | None, Some(_) | None) => scale(1.0),
        };
        let truncate = match keys.get("truncate") {
            None => true,
            Some(Value::Null) => false,
            Some(Value::Bool(truncate)) => *truncate,
            Some(other) => {
                self.broken(format!("`{}` is {other}, but must be true or false", section.key("truncate")));
                true
            }
        };
        let attention_factor = self.attention_factor(section).unwrap_or(by_factor);
        Yarn { factor, attention_factor, beta_fast, beta_slow, original_max_positions, truncate }
    }

    fn long(&mut self, section: Section<'_>) -> RopeScaling {
        let original_max_positions = self.original_max_positions(section);
        let factor = self.factor_or_ratio(section, original_max_positions);
        let by_factor = if factor <= 1.0 {
            1.0
        } else {
            (1.0 + factor.ln() / (original_max_positions as f64).ln()).sqrt()
        };
        RopeScaling::Long {
            short_factor: self.pair_factors(section, "short_factor"),
            long_factor: self.pair_factors(section, "long_factor"),
            attention_factor: self.attention_factor(section).unwrap_or(by_factor),
            original_max_positions,
        }
    }

    /// A list of factors, one for each pair.
    fn pair_factors(&mut self, section: Section<'_>, key: &str) -> Vec<f64> {
        let n_pairs = section.rotary_dim.div_ceil(2);
        let in_range = |value: &Value| value.as_f64().filter(|factor| PAIR_FACTOR.contains(factor));
        let list = section.keys.get(key).and_then(Value::as_array);
        let factors: Option<Vec<f64>> = list.and_then(|list| list.iter().map(in_range).collect());
        match factors {
            Some(factors) if factors.len() == n_pairs => factors,
            Some(_) | None => {
                let (low, high) = (PAIR_FACTOR.start(), PAIR_FACTOR.end());
                self.broken(format!(
                    "`{}` must be a list of {n_pairs} numbers from {low} to {high}, one for each pair of a head",
                    section.key(key)
                ));
                vec![1.0; n_pairs]
            }
        }
    }

    fn attention_factor(&mut self, section: Section<'_>) -> Option<f64> {
        let key = "attention_factor";
        self.number(section.keys, key, &section.key(key), ATTENTION_FACTOR)
    }

    fn llama3(&mut self, section: Section<'_>) -> RopeScaling {
        let Section { keys, .. } = section;
        let n_problems = self.problems.len();
        let factor = self.factor(section);
        let [low_freq_factor, high_freq_factor] = ["low_freq_factor", "high_freq_factor"]
            .map(|key| self.required(keys, key, &section.key(key), FREQ_FACTOR));
        let original_max_positions = self.original_max_positions(section);
        if self.problems.len() == n_problems && high_freq_factor <= low_freq_factor {
            self.broken(format!(
                "`{}` = {high_freq_factor} must be greater than `low_freq_factor` = {low_freq_factor}",
                section.key("high_freq_factor")
            ));
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }
    }

    /// The context before scaling. Beside the section it rules over the one inside, and where the family has it there,
    /// so does its default; without any it is the context.
    fn original_max_positions(&mut self, section: Section<'_>) -> usize {
        let beside = |map: &Map<String, Value>| map.get(ORIGINAL).cloned();
        let (name, value) = match (beside(section.file), self.facts.family.defaults.original_max_positions) {
            (Some(value), _) => (ORIGINAL.to_owned(), value),
            (None, Some(default)) => return default,
            (None, None) => match beside(section.keys) {
                Some(value) => (section.key(ORIGINAL), value),
                None => return self.facts.max_positions,
            },
        };
        match value.as_u64() {
            Some(count) if (2..=1 << 31).contains(&count) => count as usize,
            Some(_) | None => {
                self.broken(format!(
                    "`{name}` is {value}, but must be a whole number from 2 to {}",
                    1u64 << 31
                ));
                2
            }
        }
    }
}
