//! Reading `adapter_config.json`: what every key means, and what must be off.

use std::path::Path;

use ftl_core::spec::resolved::{LoraScale, LoraVariant};
use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value};

use crate::adapter::peft::{ADAPTER_CONFIG_JSON, AdapterConfig, Modules};
use crate::model::json_file;

/// Far above any use; keeps sizes from overflowing.
const MAX_RANK: u64 = 1 << 16;

/// Keys that change nothing about a trained adapter.
const IRRELEVANT: [&str; 12] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Keys that [`Reader`] reads one by one.
const READ: [&str; 16] = [
    "alpha_pattern",
    "bias",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// Known keys whose function this version does not have: they must be null, false or empty.
const NOT_AVAILABLE: [&str; 13] = [
    "alora_invocation_tokens",
    "arrow_config",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
];

/// Ways to start that leave the base's weights alone. The others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) take what the
/// adapter starts with out of the base, so that the trained adapter does not fit the base as it is on disk.
const BASE_KEEPING_INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

impl AdapterConfig {
    /// Reads and checks `adapter_config.json` in an adapter directory.
    ///
    /// # Errors
    /// Every problem at once: `NotFound` where there is no file, `NotAvailable` for a function that this version does
    /// not have, `BrokenAdapter` for a value that makes no sense.
    pub fn read(dir: &Path) -> Result<Self, Vec<Problem>> {
        let path = dir.join(ADAPTER_CONFIG_JSON);
        let map =
            json_file::read_object(&path, ProblemKind::BrokenAdapter).map_err(|problem| vec![problem])?;
        let mut reader = Reader { map: &map, path: &path, problems: Vec::new() };
        reader.refuse_other_kinds();
        reader.refuse_unavailable();
        let (layers_to_transform, layers_pattern) = reader.layers();
        let config = Self {
            r: reader.rank(),
            scale: if reader.flag("use_rslora") { LoraScale::ByRootOfRank } else { LoraScale::ByRank },
            variant: if reader.flag("use_dora") { LoraVariant::Dora } else { LoraVariant::Plain },
            rank_pattern: reader.pattern("rank_pattern", RANK, rank_of),
            alpha_pattern: reader.pattern("alpha_pattern", POSITIVE, positive),
            exclude_modules: reader.exclude_modules(),
            layers_to_transform,
            layers_pattern,
            modules_to_save: reader.names("modules_to_save"),
            kept: Vec::new(),
            lora_alpha: reader.number("lora_alpha", 8.0, |alpha| alpha > 0.0, "a number above 0"),
            lora_dropout_prob: reader.number(
                "lora_dropout",
                0.0,
                |prob| (0.0..1.0).contains(&prob),
                "a probability from 0 to below 1",
            ),
            target_modules: reader.target_modules(),
            base_model_name_or_path: map
                .get("base_model_name_or_path")
                .and_then(Value::as_str)
                .map(str::to_owned),
        };
        if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
    }
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn refuse_other_kinds(&mut self) {
        match self.map.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            Some(other) => self.unavailable(format!("`peft_type` is `{other}`, but only LORA can be used")),
            None => self.broken("has no `peft_type`".to_owned()),
        }
        match self.get("task_type") {
            None => {}
            Some(Value::String(task)) if task == "CAUSAL_LM" => {}
            Some(other) => {
                self.unavailable(format!("`task_type` is {other}, but only CAUSAL_LM can be used"));
            }
        }
        match self.get("bias") {
            None => {}
            Some(Value::String(bias)) if bias == "none" => {}
            Some(other) => self.unavailable(format!("`bias` is {other}, but only \"none\" can be used")),
        }
        match self.get("init_lora_weights") {
            None | Some(Value::Bool(_)) => {}
            Some(Value::String(init)) if BASE_KEEPING_INITS.contains(&init.as_str()) => {}
            Some(other) => self.problems.push(
                Problem::new(
                    ProblemKind::NotAvailable,
                    format!("`init_lora_weights` is {other}, a start that changes the base's weights"),
                )
                .at(self.path.display().to_string())
                .hint(
                    "convert it with PEFT: `save_pretrained(…, path_initial_model_for_weight_conversion=…)`",
                ),
            ),
        }
    }

    fn refuse_unavailable(&mut self) {
        for (key, value) in self.map {
            let key = key.as_str();
            if IRRELEVANT.contains(&key) || READ.contains(&key) || is_off(value) {
                continue;
            }
            if NOT_AVAILABLE.contains(&key) {
                self.unavailable(format!("`{key}` is {value}, which this version can't do"));
            } else {
                self.unavailable(format!("`{key}` is {value}, a key that this version does not know"));
            }
        }
    }

    fn rank(&mut self) -> usize {
        let Some(value) = self.get("r") else { return Self::default_rank() };
        rank_of(value).unwrap_or_else(|| {
            self.broken(format!("`r` is {value}, but must be {RANK}"));
            1
        })
    }

    fn default_rank() -> usize {
        AdapterConfig::default().r
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(Value::Bool(is_on)) => *is_on,
            Some(other) => {
                self.broken(format!("`{key}` is {other}, but must be true or false"));
                false
            }
        }
    }

    fn pattern<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Vec<(String, T)> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Object(map)) => {
                let mut pattern = Vec::with_capacity(map.len());
                for (name, value) in map {
                    match read(value) {
                        Some(value) => pattern.push((name.clone(), value)),
                        None => self.broken(format!("`{key}.{name}` is {value}, but must be {expected}")),
                    }
                }
                pattern
            }
            Some(other) => {
                self.broken(format!("`{key}` is {other}, but must be a table of module names"));
                Vec::new()
            }
        }
    }

    fn names(&mut self, key: &str) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(values)) if values.iter().all(Value::is_string) => {
                values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(other) => {
                self.broken(format!("`{key}` is {other}, but must be a list of module names"));
                Vec::new()
            }
        }
    }

    fn exclude_modules(&mut self) -> Option<Modules> {
        if let Some(Value::String(pattern)) = self.get("exclude_modules") {
            return Some(Modules::Pattern(pattern.clone())).filter(|_| !pattern.is_empty());
        }
        Some(self.names("exclude_modules")).filter(|names| !names.is_empty()).map(Modules::Named)
    }

    fn layers(&mut self) -> (Option<Vec<usize>>, Vec<String>) {
        let index = |value: &Value| value.as_u64().and_then(|index| usize::try_from(index).ok());
        let layers = match self.get("layers_to_transform") {
            None => None,
            Some(Value::Array(values)) if values.iter().all(|value| index(value).is_some()) => {
                Some(values.iter().filter_map(index).collect())
            }
            Some(value) => match index(value) {
                Some(index) => Some(vec![index]),
                None => {
                    let message =
                        format!("`layers_to_transform` is {value}, but must be layers counted from 0");
                    self.broken(message);
                    None
                }
            },
        };
        let pattern = match self.get("layers_pattern") {
            Some(Value::String(pattern)) if pattern.is_empty() => Vec::new(),
            Some(Value::String(pattern)) => vec![pattern.clone()],
            Some(_) | None => self.names("layers_pattern"),
        };
        (layers, pattern)
    }

    fn number(&mut self, key: &str, default: f64, fits: impl Fn(f64) -> bool, expected: &str) -> f64 {
        let Some(value) = self.get(key) else { return default };
        match value.as_f64() {
            Some(number) if number.is_finite() && fits(number) => number,
            _ => {
                self.broken(format!("`{key}` is {value}, but must be {expected}"));
                default
            }
        }
    }

    fn target_modules(&mut self) -> Modules {
        let names = match self.get("target_modules") {
            Some(Value::String(all)) if all == "all-linear" => return Modules::AllLinear,
            Some(Value::String(pattern)) => return Modules::Pattern(pattern.clone()),
            Some(Value::Array(values)) if !values.is_empty() && values.iter().all(Value::is_string) => {
                values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            other => {
                let found = other.map_or_else(|| "missing".to_owned(), Value::to_string);
                self.broken(format!("`target_modules` is {found}, but must be a list of module names"));
                Vec::new()
            }
        };
        Modules::Named(names)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn broken(&mut self, message: String) {
        self.refuse(ProblemKind::BrokenAdapter, message);
    }

    fn unavailable(&mut self, message: String) {
        self.refuse(ProblemKind::NotAvailable, message);
    }

    fn refuse(&mut self, kind: ProblemKind, message: String) {
        self.problems.push(Problem::new(kind, message).at(self.path.display().to_string()));
    }
}

/// What a rank must be.
const RANK: &str = "a whole number from 1 to 65536";
/// What a scale must be.
const POSITIVE: &str = "a number above 0";

fn rank_of(value: &Value) -> Option<usize> {
    value.as_u64().filter(|r| (1..=MAX_RANK).contains(r)).map(|r| r as usize)
}

fn positive(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite() && *number > 0.0)
}

/// Whether a value asks for nothing.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}
