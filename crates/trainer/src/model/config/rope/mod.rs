//! Rotary positions as config.json gives them, in both dialects.
//!
//! ```text
//! transformers 4   "rope_theta": 5e5, "rope_scaling": {"rope_type" (or "type"): "linear", "factor": 2.0}
//! transformers 5   "rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}
//! ```
//!
//! Where layers with a window turn by other angles (`gemma3_text`), transformers 4 has `rope_local_base_freq` for
//! them, and transformers 5 a section for each kind of layer inside `rope_parameters`.
//!
//! Reference: transformers 5.23, `modeling_rope_utils.py`. What a section says is [`scaling`]'s business, what is
//! computed from it that of [`model::rope`](crate::model::rope).

mod scaling;

use std::ops::RangeInclusive;
use std::path::Path;

use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use crate::model::families::{Family, Rotary};

/// Rotary positions (RoFormer, Su et al. 2021).
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// How they are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are changed for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All positions divided by `factor` (Chen et al. 2023).
    Linear {
        /// 1 or more.
        factor: f64,
    },
    /// A larger base for sequences beyond `original_max_positions`, the larger the longer they are ("NTK-aware").
    Dynamic {
        /// 1 or more.
        factor: f64,
        /// The context before scaling, in tokens.
        original_max_positions: usize,
    },
    /// Low frequencies divided by a factor, high ones kept, those between interpolated (Peng et al. 2023).
    Yarn(Yarn),
    /// Each frequency divided by a factor of its own (LongRoPE, Ding et al. 2024).
    Long {
        /// The factors for sequences up to `original_max_positions`, one for each pair.
        short_factor: Vec<f64>,
        /// Those for longer ones.
        long_factor: Vec<f64>,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// The context before scaling, in tokens.
        original_max_positions: usize,
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

/// The numbers of YaRN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// 1 or more.
    pub factor: f64,
    /// What cosines and sines are multiplied by.
    pub attention_factor: f64,
    /// Pairs that turn more often than this over the original context are kept.
    pub beta_fast: f64,
    /// Pairs that turn less often than this are divided by `factor`.
    pub beta_slow: f64,
    /// The context before scaling, in tokens.
    pub original_max_positions: usize,
    /// Whether the bounds between the two are whole pairs.
    pub truncate: bool,
}

/// What the rest of config.json says that matters here.
pub(super) struct RopeFacts<'a> {
    pub(super) family: &'a Family,
    pub(super) head_dim: usize,
    pub(super) max_positions: usize,
}

/// What is read.
pub(super) struct Ropes {
    pub(super) ropes: Vec<Rope>,
    pub(super) rotary_dim: usize,
    /// The longest sequence.
    pub(super) max_positions: usize,
}

const THETA: RangeInclusive<f64> = 1.0..=1e15;

/// The kinds of layers that have sections of their own.
const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

/// Reads it from config.json. Beside problems stand values to go on with.
pub(super) fn read(map: &Map<String, Value>, facts: &RopeFacts<'_>, path: &Path) -> (Ropes, Vec<Problem>) {
    let mut reader = Reader { facts, path, problems: Vec::new() };
    let rotary_dim = reader.rotary_dim(map);
    let ropes = match facts.family.rotary {
        Rotary::Whole | Rotary::Partial | Rotary::SomeLayers { .. } => vec![reader.rope(map, rotary_dim)],
        Rotary::LocalAndGlobal { local_theta } => reader.local_and_global(map, local_theta, rotary_dim),
    };
    // This scaling exists to go beyond what the file calls the longest sequence.
    let stretched = ropes.iter().filter_map(|rope| match rope.scaling {
        RopeScaling::Dynamic { factor, .. } => Some((facts.max_positions as f64 * factor) as usize),
        RopeScaling::Default
        | RopeScaling::Linear { .. }
        | RopeScaling::Yarn(_)
        | RopeScaling::Long { .. }
        | RopeScaling::Llama3 { .. } => None,
    });
    let max_positions = stretched.chain([facts.max_positions]).max().unwrap_or(facts.max_positions);
    (Ropes { ropes, rotary_dim, max_positions: max_positions.min(super::MAX_POSITIONS) }, reader.problems)
}

struct Reader<'a> {
    facts: &'a RopeFacts<'a>,
    path: &'a Path,
    problems: Vec<Problem>,
}

/// A section of config.json and what to call it.
#[derive(Clone, Copy)]
struct Section<'a> {
    /// The whole file.
    file: &'a Map<String, Value>,
    name: &'a str,
    keys: &'a Map<String, Value>,
    rotary_dim: usize,
}

impl Section<'_> {
    /// The full name of a key.
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }
}

impl Reader<'_> {
    /// The one section of a model whose layers all turn alike.
    fn rope(&mut self, file: &Map<String, Value>, rotary_dim: usize) -> Rope {
        let empty = Map::new();
        let (name, keys) = match (self.section(file, "rope_parameters"), self.section(file, "rope_scaling")) {
            (Some(new), Some(old)) if new != old => {
                self.broken("`rope_parameters` and `rope_scaling` contradict each other".to_owned());
                ("rope_parameters", new)
            }
            (Some(new), _) => ("rope_parameters", new),
            (None, Some(old)) => ("rope_scaling", old),
            (None, None) => ("rope_parameters", &empty),
        };
        let section = Section { file, name, keys, rotary_dim };
        Rope { theta: self.theta(section), scaling: self.scaling(section) }
    }

    /// The angles of most layers, and those of layers with a window.
    fn local_and_global(
        &mut self,
        file: &Map<String, Value>,
        local_theta: f64,
        rotary_dim: usize,
    ) -> Vec<Rope> {
        let Some(both) = self.section(file, "rope_parameters") else {
            let name = "rope_local_base_freq";
            let theta = self.number(file, name, name, THETA).unwrap_or(local_theta);
            return vec![self.rope(file, rotary_dim), Rope { theta, scaling: RopeScaling::Default }];
        };
        if both.keys().any(|key| key != GLOBAL && key != LOCAL) {
            self.broken(format!("`rope_parameters` must have the sections `{GLOBAL}` and `{LOCAL}`"));
        }
        let (empty, global_theta) = (Map::new(), self.facts.family.defaults.rope_theta);
        let mut one = |kind: &str, default_theta: f64| {
            let name = format!("rope_parameters.{kind}");
            let keys = self.section(both, kind).unwrap_or(&empty);
            let section = Section { file, name: &name, keys, rotary_dim };
            let theta = self.number(keys, "rope_theta", &section.key("rope_theta"), THETA);
            Rope { theta: theta.unwrap_or(default_theta), scaling: self.scaling(section) }
        };
        vec![one(GLOBAL, global_theta), one(LOCAL, local_theta)]
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

    fn theta(&mut self, section: Section<'_>) -> f64 {
        let outer = self.number(section.file, "rope_theta", "rope_theta", THETA);
        let inner = self.number(section.keys, "rope_theta", &section.key("rope_theta"), THETA);
        if let (Some(outer), Some(inner)) = (outer, inner)
            && outer != inner
        {
            self.broken(format!("`rope_theta` is {outer}, but `{}` is {inner}", section.key("rope_theta")));
        }
        inner.or(outer).unwrap_or(self.facts.family.defaults.rope_theta)
    }

    /// How many values at the start of a head are turned.
    fn rotary_dim(&mut self, file: &Map<String, Value>) -> usize {
        const KEY: &str = "partial_rotary_factor";
        let head_dim = self.facts.head_dim;
        let section = ["rope_parameters", "rope_scaling"]
            .iter()
            .find_map(|name| Some((format!("{name}.{KEY}"), file.get(*name)?.get(KEY)?)));
        let outer = file.get(KEY).map(|factor| (KEY.to_owned(), factor));
        let Some((name, value)) = section.or(outer).filter(|(_, factor)| !factor.is_null()) else {
            return head_dim;
        };
        let Some(factor) = value.as_f64().filter(|factor| *factor > 0.0 && *factor <= 1.0) else {
            self.broken(format!("`{name}` is {value}, but must be a number above 0 and up to 1"));
            return head_dim;
        };
        match self.facts.family.rotary {
            Rotary::Partial => {
                let rotary_dim = (head_dim as f64 * factor) as usize;
                if rotary_dim == 0 {
                    self.broken(format!("`{name}` = {value} leaves nothing of a head of {head_dim} to turn"));
                }
                rotary_dim.max(1)
            }
            Rotary::Whole | Rotary::SomeLayers { .. } | Rotary::LocalAndGlobal { .. } if factor == 1.0 => {
                head_dim
            }
            Rotary::Whole | Rotary::SomeLayers { .. } | Rotary::LocalAndGlobal { .. } => {
                let model_type = self.facts.family.model_type;
                self.unsupported(format!("`{name}` is {value}, but `{model_type}` turns whole heads"));
                head_dim
            }
        }
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
