//! `adapter_config.json`: what it says, and how it is written.

use std::path::Path;

use ftl_core::spec::resolved::{LoraScale, LoraShape, LoraVariant};
use serde_json::{Map, Value, json};

use crate::adapter::peft::{ADAPTER_CONFIG_JSON, KeptTensor, Modules};
use crate::error::TrainError;
use crate::model::config::DecoderConfig;
use crate::model::json_file;

/// The shape of a LoRA adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterConfig {
    /// Rank.
    pub r: usize,
    /// Scale: the update is multiplied by `lora_alpha / r`, or as `scale` says.
    pub lora_alpha: f64,
    /// Probability of dropping an input of A while training.
    pub lora_dropout_prob: f64,
    /// Which modules have one.
    pub target_modules: Modules,
    /// Of these, which have none.
    pub exclude_modules: Option<Modules>,
    /// How the scale follows from `lora_alpha` and the rank.
    pub scale: LoraScale,
    /// What is learned beside the factors.
    pub variant: LoraVariant,
    /// Ranks of particular modules: the first key, a regular expression, that fits the end of a full name decides.
    pub rank_pattern: Vec<(String, usize)>,
    /// The same for `lora_alpha`.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Only these layers; `None` or none: all.
    pub layers_to_transform: Option<Vec<usize>>,
    /// What the layers stand in; none: whatever has a number after it.
    pub layers_pattern: Vec<String>,
    /// Modules that are kept in full: those whose name ends in one of these.
    pub modules_to_save: Vec<String>,
    /// The model's own tensors that stand in the weights' file; adapter_config.json does not know them.
    pub kept: Vec<KeptTensor>,
    /// The model it was made for, as whoever made it called it.
    pub base_model_name_or_path: Option<String>,
}

/// PEFT's defaults, on every linear.
impl Default for AdapterConfig {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout_prob: 0.0,
            target_modules: Modules::AllLinear,
            exclude_modules: None,
            scale: LoraScale::ByRank,
            variant: LoraVariant::Plain,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            layers_to_transform: None,
            layers_pattern: Vec::new(),
            modules_to_save: Vec::new(),
            kept: Vec::new(),
            base_model_name_or_path: None,
        }
    }
}

impl AdapterConfig {
    /// The adapter that a spec asks for.
    pub fn of(shape: &LoraShape) -> Self {
        let LoraShape {
            r,
            lora_alpha,
            lora_dropout_prob,
            target_modules,
            scale,
            variant,
            rank_pattern,
            alpha_pattern,
            layers_to_transform,
            modules_to_save,
        } = shape.clone();
        let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            r: whole(r),
            lora_alpha,
            lora_dropout_prob,
            target_modules: target_modules.into(),
            exclude_modules: None,
            scale,
            variant,
            rank_pattern: rank_pattern.into_iter().map(|(name, r)| (name, whole(r))).collect(),
            alpha_pattern: alpha_pattern.into_iter().collect(),
            layers_to_transform: layers_to_transform.map(|layers| layers.into_iter().map(whole).collect()),
            layers_pattern: Vec::new(),
            modules_to_save,
            kept: Vec::new(),
            base_model_name_or_path: None,
        }
    }

    /// Writes `adapter_config.json`. Only keys that PEFT has had since 0.9 are written, and the targets by name, so
    /// that old and new versions read it.
    ///
    /// # Errors
    /// [`TrainError::File`] if the operating system refuses.
    pub fn write(&self, dir: &Path, model: &DecoderConfig) -> Result<(), TrainError> {
        let Self {
            r,
            lora_alpha,
            lora_dropout_prob,
            target_modules,
            exclude_modules,
            scale,
            variant,
            rank_pattern,
            alpha_pattern,
            layers_to_transform,
            layers_pattern,
            modules_to_save,
            kept: _,
            base_model_name_or_path,
        } = self;
        let list_or_null = |names: &[String]| if names.is_empty() { Value::Null } else { json!(names) };
        let mut json = json!({
            "alpha_pattern": map(alpha_pattern, |alpha| whole_if_possible(*alpha)),
            "auto_mapping": null,
            "base_model_name_or_path": base_model_name_or_path,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": list_or_null(layers_pattern),
            "layers_to_transform": layers_to_transform,
            "lora_alpha": whole_if_possible(*lora_alpha),
            "lora_dropout": lora_dropout_prob,
            "modules_to_save": list_or_null(modules_to_save),
            "peft_type": "LORA",
            "r": r,
            "rank_pattern": map(rank_pattern, |r| json!(r)),
            "revision": null,
            "target_modules": names_or_pattern(target_modules, model),
            "task_type": "CAUSAL_LM",
            "use_dora": *variant == LoraVariant::Dora,
            "use_rslora": *scale == LoraScale::ByRootOfRank,
        });
        // PEFT has it since 0.14; where nothing is excluded, older versions need not see it.
        if let Some(excluded) = exclude_modules {
            json["exclude_modules"] = names_or_pattern(excluded, model);
        }
        json_file::write(&dir.join(ADAPTER_CONFIG_JSON), &json)
    }
}

fn map<T>(pattern: &[(String, T)], value: impl Fn(&T) -> Value) -> Value {
    pattern.iter().map(|(name, of_name)| (name.clone(), value(of_name))).collect::<Map<_, _>>().into()
}

fn names_or_pattern(modules: &Modules, model: &DecoderConfig) -> Value {
    let mut names: Vec<&str> = match modules {
        Modules::AllLinear => model.family.linears.iter().map(|linear| linear.short_name()).collect(),
        Modules::Named(names) => names.iter().map(String::as_str).collect(),
        Modules::Pattern(pattern) => return json!(pattern),
    };
    names.sort_unstable();
    names.dedup();
    json!(names)
}

/// PEFT declares `lora_alpha` as a whole number, and writes it as one.
fn whole_if_possible(number: f64) -> Value {
    const EXACT: f64 = (1u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() < EXACT { json!(number as i64) } else { json!(number) }
}
