//! `adapter_config.json`: what is read from it, what must be off, and what is written.

use std::path::Path;

use ftl_core::spec::resolved::TargetModules;
use ftl_core::{Problem, ProblemKind};
use serde_json::{Map, Value, json};

use crate::adapter::peft::ADAPTER_CONFIG_JSON;
use crate::error::TrainError;
use crate::model::config::DecoderConfig;
use crate::model::json_file;

/// The shape of a LoRA adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// Rank.
    pub r: usize,
    /// Scale: the update is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Probability of dropping an input of A while training.
    pub lora_dropout_prob: f64,
    /// Which linears have one.
    pub target_modules: TargetModules,
    /// The model it was made for, as whoever made it called it.
    pub base_model_name_or_path: Option<String>,
}

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
const READ: [&str; 8] = [
    "bias",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "peft_type",
    "r",
    "target_modules",
    "task_type",
];

/// Known keys whose function this version does not have: they must be null, false or empty.
const NOT_AVAILABLE: [&str; 21] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "ensure_weight_tying",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "use_rslora",
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
        let config = Self {
            r: reader.rank(),
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

    /// Writes `adapter_config.json`. Only keys that PEFT has had since 0.9 are written, and the targets by name, so
    /// that old and new versions read it.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn write(&self, dir: &Path, model: &DecoderConfig) -> Result<(), TrainError> {
        let Self { r, lora_alpha, lora_dropout_prob, target_modules, base_model_name_or_path } = self;
        let mut names: Vec<&str> = match target_modules {
            TargetModules::AllLinear => {
                model.family.linears.iter().map(|linear| linear.short_name()).collect()
            }
            TargetModules::Named(names) => names.iter().map(String::as_str).collect(),
        };
        names.sort_unstable();
        names.dedup();
        let json = json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": base_model_name_or_path,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": whole_if_possible(*lora_alpha),
            "lora_dropout": lora_dropout_prob,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": r,
            "rank_pattern": {},
            "revision": null,
            "target_modules": names,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        });
        json_file::write(&dir.join(ADAPTER_CONFIG_JSON), &json)
    }
}

/// PEFT declares `lora_alpha` as a whole number, and writes it as one.
fn whole_if_possible(number: f64) -> Value {
    const EXACT: f64 = (1u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() < EXACT { json!(number as i64) } else { json!(number) }
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
    problems: Vec<Problem>,
}

impl Reader<'_> {
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
        match self.get("r") {
            None => 8,
            Some(value) => match value.as_u64() {
                Some(r) if (1..=MAX_RANK).contains(&r) => r as usize,
                _ => {
                    self.broken(format!("`r` is {value}, but must be a whole number from 1 to {MAX_RANK}"));
                    1
                }
            },
        }
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

    fn target_modules(&mut self) -> TargetModules {
        let names = match self.get("target_modules") {
            Some(Value::String(all)) if all == "all-linear" => return TargetModules::AllLinear,
            Some(Value::String(pattern)) => {
                self.unavailable(format!(
                    "`target_modules` is the pattern `{pattern}`, but only a list of names can be used"
                ));
                Vec::new()
            }
            Some(Value::Array(values)) if !values.is_empty() && values.iter().all(Value::is_string) => {
                values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            other => {
                let found = other.map_or_else(|| "missing".to_owned(), Value::to_string);
                self.broken(format!("`target_modules` is {found}, but must be a list of module names"));
                Vec::new()
            }
        };
        TargetModules::Named(names)
    }

    fn get(&self, key: &str) -> Option<&Value> {
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

/// Whether a value asks for nothing.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}
