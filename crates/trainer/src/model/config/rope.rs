//! Rotary positions as config.json gives them, in both dialects.
//!
//! ```text
//! transformers 4   "rope_theta": 5e5, "rope_scaling": {"rope_type" (or "type"): "linear", "factor": 2.0}
//! transformers 5   "rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}
//! ```
//!
//! Reference: transformers 5.23, `modeling_rope_utils.py`. What is computed from it is `ops`' business.

use std::ops::RangeInclusive;
use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

/// Rotary positions (RoFormer, Su et al. 2021).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// How they are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are changed for longer contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All positions divided by `factor` (Chen et al. 2023).
    Linear {
        /// 1 or more.
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, those between interpolated (Llama 3.1).
    Llama3 {
        /// 1 or more.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` count as low.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` count as high; above `low_freq_factor`.
        high_freq_factor: f64,
        /// The context before scaling, in tokens.
        original_max_positions: usize,
    },
}

const THETA: RangeInclusive<f64> = 1.0..=1e15;
const FACTOR: RangeInclusive<f64> = 1.0..=1e6;
const FREQ_FACTOR: RangeInclusive<f64> = 1e-6..=1e6;

/// Reads it from config.json. Beside problems stands a value to go on with.
pub(super) fn read(map: &Map<String, Value>, default_theta: f64, path: &Path) -> (Rope, Vec<Problem>) {
    let mut reader = Reader { path, problems: Vec::new() };
    let rope = reader.rope(map, default_theta);
    (rope, reader.problems)
}

struct Reader<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn rope(&mut self, map: &Map<String, Value>, default_theta: f64) -> Rope {
        let empty = Map::new();
        let (section, parameters) =
            match (self.section(map, "rope_parameters"), self.section(map, "rope_scaling")) {
                (Some(new), Some(old)) if new != old => {
                    self.broken("`rope_parameters` and `rope_scaling` contradict each other".to_owned());
                    ("rope_parameters", new)
                }
                (Some(new), _) => ("rope_parameters", new),
                (None, Some(old)) => ("rope_scaling", old),
                (None, None) => ("rope_parameters", &empty),
            };
        Rope {
            theta: self.theta(map, section, parameters, default_theta),
            scaling: self.scaling(map, section, parameters),
        }
    }

    fn section<'a>(&mut self, map: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
        match map.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Object(section)) => Some(section),
            Some(other) => {
                self.broken(format!("`{key}` is {other}, but must be an object"));
                None
            }
        }
    }

    fn theta(
        &mut self,
        map: &Map<String, Value>,
        section: &str,
        parameters: &Map<String, Value>,
        default: f64,
    ) -> f64 {
        let outer = self.number(map, "rope_theta", "rope_theta", THETA);
        let inner = self.number(parameters, "rope_theta", &format!("{section}.rope_theta"), THETA);
        if let (Some(outer), Some(inner)) = (outer, inner)
            && outer != inner
        {
            self.broken(format!("`rope_theta` is {outer}, but `{section}.rope_theta` is {inner}"));
        }
        inner.or(outer).unwrap_or(default)
    }

    fn scaling(
        &mut self,
        map: &Map<String, Value>,
        section: &str,
        parameters: &Map<String, Value>,
    ) -> RopeScaling {
        for (holder, name) in [
            (map, "partial_rotary_factor".to_owned()),
            (parameters, format!("{section}.partial_rotary_factor")),
        ] {
            if let Some(factor) = holder.get("partial_rotary_factor")
                && !factor.is_null()
                && factor.as_f64() != Some(1.0)
            {
                self.unsupported(format!("`{name}` is {factor}, but only whole heads are rotated here"));
            }
        }
        let kind = match parameters.get("rope_type").or_else(|| parameters.get("type")) {
            None | Some(Value::Null) if parameters.keys().all(|key| HARMLESS.contains(&key.as_str())) => {
                "default"
            }
            None | Some(Value::Null) => {
                self.broken(format!("`{section}` has no `rope_type`"));
                "default"
            }
            Some(Value::String(kind)) => kind,
            Some(other) => {
                self.broken(format!("`{section}.rope_type` is {other}, but must be a name"));
                "default"
            }
        };
        let key = |name: &str| format!("{section}.{name}");
        match kind {
            "default" => RopeScaling::Default,
            "linear" => {
                RopeScaling::Linear { factor: self.required(parameters, "factor", &key("factor"), FACTOR) }
            }
            "llama3" => self.llama3(section, parameters),
            other => {
                self.unsupported(format!(
                    "`{section}.rope_type` is `{other}`, but the engine has only default, linear and llama3"
                ));
                RopeScaling::Default
            }
        }
    }

    fn llama3(&mut self, section: &str, parameters: &Map<String, Value>) -> RopeScaling {
        let key = |name: &str| format!("{section}.{name}");
        let n_problems = self.problems.len();
        let factor = self.required(parameters, "factor", &key("factor"), FACTOR);
        let low_freq_factor =
            self.required(parameters, "low_freq_factor", &key("low_freq_factor"), FREQ_FACTOR);
        let high_freq_factor =
            self.required(parameters, "high_freq_factor", &key("high_freq_factor"), FREQ_FACTOR);
        let name = "original_max_position_embeddings";
        let original_max_positions = match parameters.get(name).and_then(Value::as_u64) {
            Some(count) if (1..=1 << 31).contains(&count) => count as usize,
            _ => {
                let found = found(parameters.get(name));
                self.broken(format!(
                    "`{}` is {found}, but must be a whole number from 1 to {}",
                    key(name),
                    1u64 << 31
                ));
                1
            }
        };
        if self.problems.len() == n_problems && high_freq_factor <= low_freq_factor {
            self.broken(format!(
                "`{}` = {high_freq_factor} must be greater than `low_freq_factor` = {low_freq_factor}",
                key("high_freq_factor")
            ));
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }
    }

    fn required(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> f64 {
        if map.get(key).is_none_or(Value::is_null) {
            self.broken(format!("`{name}` is missing"));
            return 1.0;
        }
        self.number(map, key, name, range).unwrap_or(1.0)
    }

    /// The number under a key, if there is one; outside of the range it is refused.
    fn number(
        &mut self,
        map: &Map<String, Value>,
        key: &str,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let value = map.get(key).filter(|value| !value.is_null())?;
        let number = value.as_f64().filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            self.broken(format!("`{name}` is {value}, but must be a number from {low} to {high}"));
        }
        number
    }

    fn broken(&mut self, message: String) {
        self.problems
            .push(Problem::new(ProblemKind::BrokenModel, message).at(self.path.display().to_string()));
    }

    fn unsupported(&mut self, message: String) {
        self.problems
            .push(Problem::new(ProblemKind::UnsupportedModel, message).at(self.path.display().to_string()));
    }
}

/// What a section may hold without asking for scaling.
const HARMLESS: [&str; 2] = ["rope_theta", "partial_rotary_factor"];

fn found(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), Value::to_string)
}
